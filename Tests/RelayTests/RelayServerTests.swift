// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import NetIO
import Synchronization
import Testing
import Wire

@testable import Relay

/// Real sockets on the loopback interface.
@Suite("A server on sockets", .timeLimit(.minutes(2)), .serialized)
struct RelayServerTests {
    private static let user = LongTermCredentials(username: "alice", password: "wonderland")
    private static let realm = "relay.example"

    private static func configuration(loops: Int = 2) -> RelayServer.Configuration {
        var relay = RelayConfiguration(users: RelayUsers(realm: realm, users: [user]))
        relay.relayedV4 = .init(.loopbackV4)
        relay.ports = 50_000...59_999
        relay.peers.allowed = [IPRange(.loopbackV4, prefixLength: 32)].compactMap { $0 }
        relay.limits.unprovenBurst = 100_000
        relay.limits.allocationsPerUser = 10_000
        relay.limits.allocationsPerAddress = 10_000
        var configuration = RelayServer.Configuration(relay)
        configuration.loops = loops
        configuration.udp = [SocketAddress(ip: .loopbackV4, port: 0)]
        return configuration
    }

    /// A client on a socket: requests one after the other, each repeated until it is answered.
    private final class Client: Sendable {
        let socket: UDPSocket
        let server: SocketAddress
        private let inbox: PacketQueue
        private let state = Mutex((nonce: [UInt8](), entropy: SystemEntropy.make()))

        init(_ loop: EventLoop, _ server: SocketAddress) throws {
            socket = try UDPSocket(bind: SocketAddress(ip: server.ip, port: 0))
            self.server = server
            let inbox = PacketQueue()
            self.inbox = inbox
            try socket.start(on: loop, onReceive: { inbox.take($0) })
        }

        func ask(_ method: STUNMessage.Method, _ attributes: [STUNAttribute] = []) async -> STUNMessage? {
            var message = STUNMessage(
                .request, method, transactionID: state.withLock { STUNTransactionID(using: &$0.entropy) },
                attributes: attributes)
            let nonce = state.withLock { $0.nonce }
            var integrity: STUNIntegrity?
            if !nonce.isEmpty {
                message.append(.username, user.username)
                message.append(.realm, realm)
                message.attributes.append(STUNAttribute(.nonce, nonce))
                integrity = STUNIntegrity(key: user.key(realm: realm))
            }
            send(message.encoded(integrity: integrity))
            let answer = await inbox.first { bytes in
                STUNMessage.transactionID(in: bytes.span.bytes) == message.transactionID
            }.flatMap { try? STUNMessage(decoding: $0.span.bytes) }
            if answer?.code == 401, nonce.isEmpty, let fresh = answer?.first(.nonce) {
                state.withLock { $0.nonce = fresh }
                return await ask(method, attributes)
            }
            return answer
        }

        func allocate() async -> SocketAddress? {
            await ask(.allocate, [STUNAttribute(.requestedTransport, [17, 0, 0, 0])])?.relayed.first
        }

        func bind(_ channel: UInt16, to peer: SocketAddress) async -> STUNMessage? {
            var message = STUNMessage(.request, transactionID: STUNTransactionID(high: 0, low: 0))
            message.append(.channelNumber, UInt32(channel) << 16)
            // Masked with the transaction's number, but IPv4 only with the cookie.
            message.append(xorAddress: peer, as: .xorPeerAddress)
            return await ask(.channelBind, message.attributes)
        }

        func send(_ bytes: [UInt8]) { socket.send(bytes.span.bytes, to: server) }
        func next(_ suits: @escaping ([UInt8]) -> Bool) async -> [UInt8]? { await inbox.first(suits) }
    }

    private func withServer(
        _ configuration: RelayServer.Configuration, _ body: (RelayServer, EventLoop) async throws -> Void
    ) async throws {
        let server = try RelayServer(configuration)
        let loop = try EventLoop(name: "clients")
        defer {
            server.stop()
            loop.stop()
        }
        try await body(server, loop)
    }

    @Test("two clients talk through two allocations, and a closed port is told of", arguments: [1, 2])
    func datagrams(loops: Int) async throws {
        try await withServer(Self.configuration(loops: loops)) { server, loop in
            let address = try #require(server.udpAddresses.first)
            let (alice, bob) = (try Client(loop, address), try Client(loop, address))
            let own = await alice.ask(.binding)
            #expect(own?.xorMappedAddress == alice.socket.localAddress)
            let (relayedA, relayedB) = (try #require(await alice.allocate()), try #require(await bob.allocate()))
            #expect(await alice.bind(0x4000, to: relayedB)?.messageClass == .success)
            #expect(await bob.bind(0x4001, to: relayedA)?.messageClass == .success)
            alice.send(channelData(0x4000, Array("from alice".utf8)))
            #expect(await bob.next { $0[0] == 0x40 } == channelData(0x4001, Array("from alice".utf8)))
            bob.send(channelData(0x4001, []))
            #expect(await alice.next { $0[0] == 0x40 } == channelData(0x4000, []))

            // A port that nobody listens at: ICMP says so.
            let closed = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let dead = closed.localAddress
            closed.close()
            #expect(await alice.bind(0x4002, to: dead)?.messageClass == .success)
            alice.send(channelData(0x4002, [1]))
            let report = await alice.next { $0[1] == 0x17 }
            let message = report.flatMap { try? STUNMessage(decoding: $0.span.bytes) }
            #expect(message?.first(.icmp) == [0, 0, 6, 3, 0, 0, 0, 0])
            #expect(message?.addresses(.xorPeerAddress) == [dead])

            let metrics = await server.metrics()
            #expect(metrics.allocations == 2 && metrics.toPeers.packets == 3 && metrics.toClients.packets == 2)
            #expect(await alice.ask(.refresh, [STUNAttribute(.lifetime, [0, 0, 0, 0])])?.lifetime == 0)
            #expect(await server.metrics().allocations == 1)
        }
    }

    @Test("no range opens the host that the server runs on")
    func ownHost() async throws {
        var configuration = Self.configuration(loops: 1)
        configuration.relay.peers = .everything
        configuration.relay.relayedV4 = .init(.loopbackV4, external: .v4(0x0102_0304))
        try await withServer(configuration) { server, loop in
            let alice = try Client(loop, try #require(server.udpAddresses.first))
            #expect(await alice.allocate() != nil)
            for ip in try NetworkInterface.everyAddress() where ip.family == .v4 && ip != .loopbackV4 {
                #expect(await alice.bind(0x4000, to: SocketAddress(ip: ip, port: 9))?.code == 403, "\(ip)")
            }
            for ip in [IPAddress.v4(0x7F00_0002), .anyV4, .loopbackV4] {
                #expect(await alice.bind(0x4000, to: SocketAddress(ip: ip, port: 9))?.code == 403, "\(ip)")
            }
        }
    }

    @Test("trains of packets pass whole in both directions")
    func trains() async throws {
        try await withServer(Self.configuration()) { server, loop in
            let alice = try Client(loop, try #require(server.udpAddresses.first))
            let peer = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let inbox = PacketQueue()
            try peer.start(on: loop, onReceive: { inbox.take($0) })
            defer { peer.close() }
            let relayed = try #require(await alice.allocate())
            #expect(await alice.bind(0x4000, to: peer.localAddress)?.messageClass == .success)
            var out = PacketBuffer()
            var back = PacketBuffer()
            for number in 0..<60 as Range<UInt8> {
                let payload = [UInt8](repeating: number, count: 1000)
                out.append(channelData(0x4000, payload).span.bytes)
                back.append(payload.span.bytes)
            }
            alice.socket.send(out, to: alice.server)
            peer.send(back, to: relayed)
            for number in 0..<60 as Range<UInt8> {
                let payload = [UInt8](repeating: number, count: 1000)
                #expect(await inbox.first { _ in true } == payload)
                #expect(await alice.next { $0[0] == 0x40 } == channelData(0x4000, payload))
            }
        }
    }

    @Test("a server with two addresses and two ports answers from each of its ends")
    func discovery() async throws {
        var configuration = Self.configuration()
        let second = IPAddress.v4(0x7F00_0002)
        // Two ports that are free on both addresses.
        let ports = try (0..<2).map { _ in
            let probe = try UDPSocket(bind: SocketAddress(ip: second, port: 0))
            defer { probe.close() }
            return probe.localAddress.port
        }
        configuration.udp = [IPAddress.loopbackV4, second].flatMap { ip in
            ports.map { SocketAddress(ip: ip, port: $0) }
        }
        try await withServer(configuration) { server, loop in
            let inbox = SourceQueue()
            let socket = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            try socket.start(on: loop, onReceive: { inbox.take($0) })
            defer { socket.close() }
            for flags in [0, 2, 4, 6] as [UInt32] {
                var message = STUNMessage(.request, transactionID: STUNTransactionID(high: flags, low: 1))
                message.append(.changeRequest, flags)
                socket.send(message.encoded().span.bytes, to: server.udpAddresses[0])
                let expected = server.udpAddresses[(flags & 4 != 0 ? 2 : 0) + (flags & 2 != 0 ? 1 : 0)]
                #expect(await inbox.next() == expected)
            }
        }
    }

    @Test("streams carry requests and data in pieces of any size, plain and encrypted", arguments: [false, true])
    func streams(encrypted: Bool) async throws {
        let certificate = try DTLSCertificate.generate(commonName: "relay.example")
        var configuration = Self.configuration()
        let place = [SocketAddress(ip: .loopbackV4, port: 0)]
        if encrypted {
            configuration.tls = place
            configuration.tlsContext = try .server(
                certificatesPEM: certificate.certificatePEM, privateKeyPEM: certificate.privateKeyPEM)
        } else {
            configuration.tcp = place
        }
        try await withServer(configuration) { server, loop in
            let address = try #require(encrypted ? server.tlsAddresses.first : server.tcpAddresses.first)
            let trust: TLSContext? = encrypted ? try .client(trust: .authorities(pem: certificate.certificatePEM)) : nil
            let client = try StreamClient(loop, address, trust, name: "relay.example")
            let peer = try UDPSocket(bind: SocketAddress(ip: .loopbackV4, port: 0))
            let inbox = PacketQueue()
            try peer.start(on: loop, onReceive: { inbox.take($0) })
            defer { peer.close() }

            let challenge = STUNMessage(.request, .allocate, transactionID: STUNTransactionID(high: 1, low: 1))
            client.send(challenge.encoded())
            let nonce = try #require((await client.next()).flatMap { $0.first(.nonce) })
            func ask(_ method: STUNMessage.Method, _ fill: (inout STUNMessage) -> Void) async -> STUNMessage? {
                var message = STUNMessage(.request, method, transactionID: STUNTransactionID(high: 2, low: 2))
                fill(&message)
                message.append(.username, Self.user.username)
                message.append(.realm, Self.realm)
                message.attributes.append(STUNAttribute(.nonce, nonce))
                let bytes = message.encoded(integrity: STUNIntegrity(key: Self.user.key(realm: Self.realm)))
                // In pieces.
                for start in stride(from: 0, to: bytes.count, by: 7) {
                    client.send(Array(bytes[start..<min(start + 7, bytes.count)]))
                }
                return await client.next()
            }
            let answer = await ask(.allocate) {
                $0.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0]))
            }
            let relayed = try #require(answer?.relayed.first)
            #expect(answer?.xorMappedAddress == client.stream.localAddress)
            let bound = await ask(.channelBind) { message in
                message.append(.channelNumber, UInt32(0x4000 << 16))
                message.append(xorAddress: peer.localAddress, as: .xorPeerAddress)
            }
            #expect(bound?.messageClass == .success)
            // Several messages in one write, padded.
            client.send(channelData(0x4000, [1]) + [0, 0, 0] + channelData(0x4000, [1, 2, 3, 4]))
            #expect(await inbox.first { _ in true } == [1])
            #expect(await inbox.first { _ in true } == [1, 2, 3, 4])
            peer.send(([7, 8, 9] as [UInt8]).span.bytes, to: relayed)
            let received = await client.nextBytes(count: 8)
            #expect(received == channelData(0x4000, [7, 8, 9]) + [0])
            #expect(await server.metrics().streams == 1)
            // What is no message ends the stream, and with it the allocation.
            client.send([0xFF, 0xFF, 0xFF, 0xFF])
            await client.closed()
            var metrics = await server.metrics()
            while metrics.allocations > 0 { metrics = await server.metrics() }
            #expect(metrics.streams == 0)
        }
    }

    /// What a stream without an allocation may bring.
    enum Idle: CaseIterable {
        case silence
        case rubbish
        case indications
        case channelData

        var bytes: [UInt8] {
            let id = STUNTransactionID(high: 1, low: 1)
            return switch self {
            case .silence: []
            // Framed like STUN, without its cookie.
            case .rubbish: [0, 1, 0, 0] + [UInt8](repeating: 7, count: 16)
            case .indications: STUNMessage(.indication, transactionID: id).encoded()
            case .channelData: [0x40, 0, 0, 0]
            }
        }
    }

    @Test("a stream that asks for nothing is closed in time, whatever else it brings", arguments: Idle.allCases)
    func idleStreams(kind: Idle) async throws {
        var configuration = Self.configuration(loops: 1)
        configuration.tcp = [SocketAddress(ip: .loopbackV4, port: 0)]
        configuration.relay.limits.streamSilence = .seconds(1)
        try await withServer(configuration) { server, loop in
            let address = try #require(server.tcpAddresses.first)
            // The server counts from when it has the stream, which is no earlier.
            let begin = loop.now
            let idle = try StreamClient(loop, address, nil, name: "")
            let asking = try StreamClient(loop, address, nil, name: "")
            let request = STUNMessage(.request, transactionID: STUNTransactionID(high: 2, low: 2)).encoded()
            let timer = Mutex<LoopTimer?>(nil)
            let tick = loop.makeTimer {
                idle.send(kind.bytes)
                asking.send(request)
                timer.withLock { $0 }?.arm(at: loop.now + .milliseconds(20))
            }
            timer.withLock { $0 = tick }
            tick.arm(at: begin)
            await idle.closed()
            timer.withLock { $0?.cancel() }
            let lasted = loop.now - begin
            #expect(lasted >= .seconds(1) && lasted < .seconds(5), "\(lasted)")
            // Who asks is answered all the while.
            while await server.metrics().streams > 1 {}
            #expect(await server.metrics().streams == 1)
            #expect(await asking.next()?.messageClass == .success)
        }
    }
}
