// SPDX-License-Identifier: Apache-2.0
import Foundation
import NetIO
import Testing
import Wire

/// Sends back what comes to either of two ports that follow each other: what coturn's client expects of a peer.
private final class EchoPeer: Sendable {
    /// The lower port, which is even.
    let port: UInt16
    private let loop: EventLoop
    private let sockets: [UDPSocket]

    init() throws {
        loop = try EventLoop(name: "echo")
        for _ in 0..<100 {
            let first = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let port = first.localAddress.port
            guard port % 2 == 0, let second = try? UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: port + 1))
            else {
                first.close()
                continue
            }
            sockets = [first, second]
            self.port = port
            for socket in sockets {
                try socket.start(
                    on: loop,
                    onReceive: { train in
                        for index in 0..<train.count { socket.send(train[index], to: train.source) }
                    })
            }
            return
        }
        throw LineProcess.Failure(description: "no two free ports in a row")
    }

    func stop() {
        for socket in sockets { socket.close() }
        loop.stop()
    }
}

/// Another project's client talks to our server: Debian's coturn brings one.
@Suite("coturn's client", .serialized, .timeLimit(.minutes(5)))
struct CoturnClientTests {
    /// Where Debian puts it.
    private static let path = "/usr/bin/turnutils_uclient"

    /// What its data goes through.
    enum Way: String, CaseIterable {
        case channels
        case indications
        /// Two of its clients are each other's peers.
        case clientToClient

        var flags: [String] {
            switch self {
            case .channels: []
            case .indications: ["-s"]
            case .clientToClient: ["-y"]
            }
        }
    }

    /// What a run of it came to.
    private struct Outcome {
        let status: Int32
        let text: String

        /// Packets sent and packets that came back.
        var counts: (sent: Int, received: Int)? {
            guard let line = text.split(separator: "\n").last(where: { $0.contains("start_mclient: tot_send_msgs=") })
            else { return nil }
            let numbers = line.split(separator: ",").compactMap { $0.split(separator: "=").last.flatMap { Int($0) } }
            return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
        }
    }

    private static let clients = 2
    private static let packets = 10
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
    }

    /// It chooses channel numbers as before RFC 8656.
    private func server(tls: (certificate: String, key: String)? = nil) async throws -> RelayProgram {
        guard FileManager.default.isExecutableFile(atPath: Self.path) else {
            try Test.cancel("coturn is not installed: apt-get install coturn")
        }
        return try await RelayProgram(.dreamer, scratch, tls: tls, ["--older-channels", "--secret", "north"])
    }

    private func run(
        _ server: RelayProgram, _ flags: [String], over transport: RelayProgram.Transport = .udp,
        peer: String = "127.0.0.1", port: UInt16
    ) async throws -> Outcome {
        let ways: [RelayProgram.Transport: [String]] = [.udp: [], .tcp: ["-t"], .tls: ["-t", "-S"]]
        let process = try LineProcess(
            Self.path,
            (ways[transport] ?? []) + flags + [
                "-e", peer, "-r", "\(port)", "-p", "\(try server.port(transport))", "-n", "\(Self.packets)", "-m",
                "\(Self.clients)", "127.0.0.1",
            ])
        let status = try await process.exit()
        try await process.waitForOutputEnd()
        return Outcome(status: status, text: process.output + process.errors)
    }

    private func expectAll(_ outcome: Outcome, _ server: RelayProgram) async throws {
        let counts = try #require(outcome.counts, "\(outcome.text)")
        #expect(outcome.status == 0)
        #expect(counts.sent >= Self.clients * Self.packets && counts.received == counts.sent, "\(outcome.text)")
        #expect(outcome.text.contains("Total lost packets 0 (0.000000%), total send dropped 0"), "\(outcome.text)")
        server.process.interrupt()
        let metrics = try await server.process.json(where: ["event": "metrics"])
        #expect(try #require(metrics["packetsToPeers"]?.integer) >= Int64(counts.sent))
        #expect(try #require(metrics["packetsToClients"]?.integer) >= Int64(counts.sent))
        #expect(metrics["drops"] == .object([:]), "\(metrics)")
    }

    @Test(
        "what it sends comes back over every transport and in every way",
        arguments: RelayProgram.Transport.allCases, Way.allCases)
    func everything(transport: RelayProgram.Transport, way: Way) async throws {
        let tls = transport == .tls ? try await RelayProgram.certificate(in: scratch) : nil
        guard transport != .tls || tls != nil else { try Test.cancel("there is no openssl to make a certificate with") }
        let server = try await server(tls: tls)
        defer { server.process.kill() }
        let peer = try EchoPeer()
        defer { peer.stop() }
        // Over TLS it tries versions by chance, and begins anew after each that is refused; a second connection for RTCP
        // then comes with the reservation of a first that it has given up.
        let trust = tls.map { ["-E", $0.certificate, "-c"] } ?? []
        let outcome = try await run(
            server, way.flags + trust + ["-u", "alice", "-w", "secret"], over: transport, port: peer.port)
        try await expectAll(outcome, server)
    }

    @Test("a secret that both know makes its credentials")
    func sharedSecret() async throws {
        let server = try await server()
        defer { server.process.kill() }
        let peer = try EchoPeer()
        defer { peer.stop() }
        try await expectAll(try await run(server, ["-u", "bob", "-W", "north"], port: peer.port), server)
    }

    @Test(
        "without the right password or secret it gets nothing",
        arguments: [
            ["-u", "alice", "-w", "wrong"], ["-u", "nobody", "-w", "secret"], ["-u", "bob", "-W", "south"],
            ["-u", "1000000000:bob", "-w", "secret"],
        ])
    func wrongPassword(flags: [String]) async throws {
        let server = try await server()
        defer { server.process.kill() }
        let outcome = try await run(server, flags, port: 9)
        #expect(outcome.status != 0 && outcome.text.contains("Cannot complete Allocation"), "\(outcome.text)")
        server.process.interrupt()
        let metrics = try await server.process.json(where: ["event": "metrics"])
        #expect(metrics["allocationsMade"]?.integer == 0 && metrics["packetsToPeers"]?.integer == 0)
        #expect(try #require(metrics["errors"]?["401"]?.integer) > 0)
    }

    @Test("a peer on the server's own host is refused, though it is another address of loopback")
    func deniedPeer() async throws {
        let server = try await server()
        defer { server.process.kill() }
        let outcome = try await run(server, ["-u", "alice", "-w", "secret"], peer: "127.0.0.2", port: 9)
        #expect(outcome.status != 0 && outcome.text.contains("403"), "\(outcome.text)")
        server.process.interrupt()
        let metrics = try await server.process.json(where: ["event": "metrics"])
        #expect(metrics["packetsToPeers"]?.integer == 0)
    }
}
