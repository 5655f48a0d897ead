// SPDX-License-Identifier: Apache-2.0
import Foundation
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
        try await process.expectExit()
        return (certificate, key)
    }

    /// Starts one for the user alice, and waits until it listens; our own with more arguments where wanted.
    init(
        _ kind: Kind, _ scratch: Scratch, tls: (certificate: String, key: String)? = nil, _ more: [String] = []
    ) async throws {
        switch kind {
        case .dreamer:
            var arguments =
                [
                    "relay", "--listen", "127.0.0.1:0", "--user", "alice:secret", "--allow-peer", "127.0.0.1/32",
                    "--json",
                ] + more
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

    /// The port on 127.0.0.1 where a transport is taken.
    func port(_ transport: Transport) throws -> UInt16 { try #require(ports[transport]) }

    /// The server as `--ice-server` takes it.
    func url(_ transport: Transport) throws -> String {
        let port = try port(transport)
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
