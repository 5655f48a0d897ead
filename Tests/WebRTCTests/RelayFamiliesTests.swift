// SPDX-License-Identifier: Apache-2.0
import ICE
import Relay
import SDP
import Testing
import WebRTC
import Wire

@Suite("Relayed addresses of both families", .serialized)
struct RelayFamiliesTests {
    /// A relay on loopback that lends addresses of these families; `body` gets the server as a connection wants it.
    private func withRelay(_ families: [IPAddress.Family], _ body: (ICEServer) async throws -> Void) async throws {
        let user = LongTermCredentials(username: "user", password: "pass")
        var relay = RelayConfiguration(users: RelayUsers(realm: "test", users: [user]))
        relay.relayedV4 = families.contains(.v4) ? .init(.loopbackV4) : nil
        relay.relayedV6 = families.contains(.v6) ? .init(.loopbackV6) : nil
        relay.peers = .everything
        var configuration = RelayServer.Configuration(relay)
        configuration.udp = [SocketAddress(ip: .loopbackV4, port: 0)]
        configuration.loops = 1
        let server = try RelayServer(configuration)
        defer { server.stop() }
        let address = try #require(server.udpAddresses.first)
        try await body(
            ICEServer(
                kind: .turn, host: "127.0.0.1", port: address.port, transport: .udp, username: "user", password: "pass"))
    }

    private func relayed(_ description: SessionDescription) -> [IPAddress] {
        description.candidates.compactMap { ICECandidate(sdp: $0) }.filter { $0.kind == .relayed }
            .compactMap { $0.address?.ip }
    }

    /// A connection with an endpoint of its own.
    private struct Host {
        let endpoint: RTCEndpoint
        let connection: PeerConnection

        init(_ addresses: [IPAddress], _ servers: [ICEServer]) throws {
            endpoint = try RTCEndpoint(configuration: .init(addresses: addresses))
            var configuration = PeerConnection.Configuration()
            configuration.iceServers = servers
            connection = PeerConnection(endpoint: endpoint, configuration: configuration)
        }

        func end() async {
            connection.abort()
            await connection.closed()
            endpoint.close()
        }
    }

    @Test(
        "a host with IPv6 gets what the server has, a host without gets IPv4",
        arguments: [
            (host: [IPAddress.loopbackV4, .loopbackV6], server: [IPAddress.Family.v4, .v6]),
            (host: [.loopbackV4, .loopbackV6], server: [.v4]),
            (host: [.loopbackV4], server: [.v4, .v6]),
        ])
    func offered(host: [IPAddress], server: [IPAddress.Family]) async throws {
        try await withRelay(server) { relay in
            let first = try Host(host, [relay])
            let offer = try await first.connection.createOffer()
            let wanted: [IPAddress] = host.count == 2 && server.count == 2 ? [.loopbackV4, .loopbackV6] : [.loopbackV4]
            #expect(Set(relayed(offer)) == Set(wanted))
            await first.end()
        }
    }

    @Test("a host without IPv6 reaches a peer without IPv4 over a relay")
    func bridge() async throws {
        try await withRelay([.v4, .v6]) { relay in
            let (first, second) = (try Host([.loopbackV6], []), try Host([.loopbackV4], [relay]))
            let channel = try first.connection.createDataChannel("test")
            let answer = try await second.connection.accept(offer: try await first.connection.createOffer())
            #expect(Set(relayed(answer)) == [.loopbackV4, .loopbackV6])
            try first.connection.accept(answer: answer)
            try await channel.opened()
            await first.end()
            await second.end()
        }
    }
}
