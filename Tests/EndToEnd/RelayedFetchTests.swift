// SPDX-License-Identifier: Apache-2.0
import Foundation
import RDRR
import Testing
import Wire

/// A STUN and TURN server, running.
struct RelayProgram: Sendable {
    enum Kind: String, CaseIterable, Sendable, CustomTestStringConvertible {
        case dreamer
        case coturn

        var testDescription: String { rawValue }
        /// Where Debian puts coturn's server.
        static let coturnPath = "/usr/bin/turnserver"
        static let hasCoturn = FileManager.default.isExecutableFile(atPath: coturnPath)
    }

    enum Transport: String, CaseIterable, Sendable { case udp, tcp, tls }

    let process: LineProcess
    private let ports: [Transport: UInt16]

    /// A certificate for 127.0.0.1 and its key; `nil` where there is no `openssl` to make one.
    static func certificate(in scratch: Scratch) async throws -> (certificate: String, key: String)? {
        let openssl = "/usr/bin/openssl"
        guard FileManager.default.isExecutableFile(atPath: openssl) else { return nil }
        let (certificate, key) = (scratch("relay.pem"), scratch("relay.key"))
        let process = try LineProcess(
            openssl,
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=relay", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
            ])
        #expect(try await process.exit() == 0, "\(process.errors)")
        return (certificate, key)
    }

    init(_ kind: Kind, _ scratch: Scratch, tls: (certificate: String, key: String)? = nil) async throws {
        switch kind {
        case .dreamer:
            var arguments = [
                "relay", "--listen", "127.0.0.1:0", "--user", "alice:secret", "--allow-peer", "127.0.0.1/32", "--json",
            ]
            if let tls {
                arguments += [
                    "--listen-tls", "127.0.0.1:0", "--certificate", tls.certificate, "--key", tls.key,
                ]
            }
            process = try LineProcess(Programs.dreamer, arguments)
            let urls = try await process.json(where: ["event": "listening"])["urls"]?.array?.compactMap(\.string) ?? []
            func port(_ matches: (String) -> Bool) -> UInt16? {
                urls.first(where: matches).flatMap { $0.split(separator: "?")[0].split(separator: ":").last }
                    .flatMap { UInt16($0) }
            }
            var ports: [Transport: UInt16] = [:]
            ports[.udp] = port { $0.hasSuffix("transport=udp") }
            ports[.tcp] = port { $0.hasPrefix("turn:") && $0.hasSuffix("transport=tcp") }
            ports[.tls] = port { $0.hasPrefix("turns:") }
            self.ports = ports
        case .coturn:
            // It cannot be asked which port it took.
            let port = try Self.freePort()
            let tlsPort = try Self.freePort()
            var arguments = [
                "-n", "-L", "127.0.0.1", "-E", "127.0.0.1", "-p", "\(port)", "--tls-listening-port", "\(tlsPort)", "-a",
                "-u", "alice:secret", "-r", "example.org", "--allow-loopback-peers", "--no-cli", "--no-dtls",
                "--log-file", "stdout", "--pidfile", scratch("coturn.pid"), "--userdb", scratch("coturn.db"),
            ]
            arguments += tls.map { ["--cert", $0.certificate, "--pkey", $0.key] } ?? ["--no-tls"]
            process = try LineProcess(Kind.coturnPath, arguments)
            ports = [.udp: port, .tcp: port, .tls: tlsPort]
            try await Self.listens(at: port)
        }
    }

    /// The server as `--ice-server` takes it.
    func url(_ transport: Transport) throws -> String {
        let port = try #require(ports[transport])
        return transport == .tls
            ? "turns:alice:secret@127.0.0.1:\(port)" : "turn:alice:secret@127.0.0.1:\(port)?transport=\(transport)"
    }

    private static func address(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private static func onSocket(
        _ port: UInt16, _ call: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32
    ) -> (result: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = address(port)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutableBytes(of: &address) { bytes in
            let pointer = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
            let result = call(descriptor, pointer, length)
            getsockname(descriptor, pointer, &length)
            return (result, UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: 2, as: UInt16.self)))
        }
    }

    private static func freePort() throws -> UInt16 {
        let (result, port) = onSocket(0, bind)
        try #require(result == 0)
        return port
    }

    private static func listens(at port: UInt16) async throws {
        for _ in 0..<500 {
            if onSocket(port, connect).result == 0 { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("coturn does not listen at port \(port)")
    }
}

/// The model goes over relays, where peers show each other no address of their own.
@Suite("over a relay", .serialized, .wholeModel, .timeLimit(.minutes(3)))
struct RelayedFetchTests {
    private let model: WholeModel
    private let scratch: Scratch

    init() throws {
        model = try #require(WholeModel.current)
        scratch = try Scratch()
    }

    private func options(_ server: String) -> [String] { ["--ice-server", server, "--ice-policy", "relay"] }

    @Test(
        "the whole model comes through a server over UDP, TCP and TLS",
        arguments: RelayProgram.Kind.allCases, RelayProgram.Transport.allCases)
    func relayed(kind: RelayProgram.Kind, transport: RelayProgram.Transport) async throws {
        guard kind == .dreamer || RelayProgram.Kind.hasCoturn else {
            try Test.cancel("coturn is not installed: apt-get install coturn")
        }
        let tls = try await RelayProgram.certificate(in: scratch)
        guard transport != .tls || tls != nil else { try Test.cancel("there is no openssl to make a certificate with") }
        let packing = model.usual
        let relay = try await RelayProgram(kind, scratch, tls: tls)
        defer { relay.process.kill() }
        let tracker = try await Tracker()
        var more = options(try relay.url(transport))
        if let tls, transport == .tls { more += ["--turn-ca", tls.certificate] }
        let seeder = try await Seeder(packing.folder, tracker, more)
        let trace = scratch("trace.jsonl")
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, more + ["--trace", trace])
        let line = try await fetcher.process.json(within: .seconds(100), where: ["event": "done"])
        let done = Fetcher.Progress(line)
        #expect(try await fetcher.process.exit() == 0)
        print("\(kind), \(transport): \(done)")
        #expect(done.verified == done.total && done.fromPeers >= packing.size)
        #expect(try #require(line["bytesRelayed"]?.integer) >= Int64(packing.size))
        _ = try await seeder.stop()
        try await packing.expectCopy(in: fetcher.folder)
        // Every pair has a relayed address at this end, and no candidate tells one of this host's sockets.
        let decisions = try String(contentsOfFile: trace, encoding: .utf8)
        #expect(decisions.contains("relay") && !decisions.contains("typ host") && !decisions.contains("typ srflx"))
        relay.process.interrupt()
        if kind == .dreamer {
            let metrics = try await relay.process.json(where: ["event": "metrics"])
            #expect(try #require(metrics["bytesToClients"]?.integer) >= Int64(packing.size))
            #expect(metrics["allocations"]?.integer == 0, "what was lent was given back")
        }
    }

    @Test("the budget ends the connection at the set number of bytes, with a warning before")
    func budget() async throws {
        let packing = model.usual
        let limit = 20_000_000
        let relay = try await RelayProgram(.dreamer, scratch)
        defer { relay.process.kill() }
        let tracker = try await Tracker()
        let more = options(try relay.url(.udp))
        let seeder = try await Seeder(packing.folder, tracker, more)
        let fetcher = try await Fetcher(
            packing.magnet, into: scratch("copy"), tracker, more + ["--relay-budget", "\(limit)", "--stall-timeout", "3"])
        let warning = try await fetcher.process.json(where: ["event": "relay", "state": "warning"])
        let end = try await fetcher.process.json(where: ["event": "relay", "state": "spent"])
        #expect(warning["nodeId"]?.string == seeder.nodeID && end["nodeId"]?.string == seeder.nodeID)
        let bytes = Int(try #require(end["bytes"]?.integer))
        print("the budget of \(limit) bytes ended the connection at \(bytes)")
        #expect(Int(try #require(warning["bytes"]?.integer)) < limit)
        // What was sent at once is counted as one.
        #expect(bytes <= limit && bytes > limit - 100_000)
        #expect(try await fetcher.process.exit() == 1)
        _ = try await seeder.stop()
    }
}
