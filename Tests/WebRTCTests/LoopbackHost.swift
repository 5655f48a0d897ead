// SPDX-License-Identifier: Apache-2.0
import ICE
import Relay
import Testing
import WebRTC
import Wire

/// A relay on loopback that lends addresses of these families; `body` gets it, and as a connection wants it.
func withLoopbackRelay(
    _ families: [IPAddress.Family], _ body: (RelayServer, ICEServer) async throws -> Void
) async throws {
    let user = LongTermCredentials(username: "user", password: "pass")
    var relay = RelayConfiguration(users: RelayUsers(realm: "test", users: [user]))
    relay.relayedV4 = families.contains(.v4) ? .init(.loopbackV4) : nil
    relay.relayedV6 = families.contains(.v6) ? .init(.loopbackV6) : nil
    // The host itself is a peer here, which only being named allows.
    relay.peers.allowed = [(IPAddress.loopbackV4, 32), (.loopbackV6, 128)].compactMap { IPRange($0, prefixLength: $1) }
    var configuration = RelayServer.Configuration(relay)
    configuration.udp = [SocketAddress(ip: .loopbackV4, port: 0)]
    configuration.loops = 1
    let server = try RelayServer(configuration)
    defer { server.stop() }
    let address = try #require(server.udpAddresses.first)
    try await body(
        server,
        ICEServer(
            kind: .turn, host: "127.0.0.1", port: address.port, transport: .udp, username: "user", password: "pass"))
}

/// A connection with an endpoint of its own.
struct LoopbackHost {
    let endpoint: RTCEndpoint
    let connection: PeerConnection

    init(
        _ addresses: [IPAddress], configure: (inout PeerConnection.Configuration) -> Void = { _ in }
    ) throws {
        endpoint = try RTCEndpoint(configuration: .init(addresses: addresses))
        var configuration = PeerConnection.Configuration()
        configure(&configuration)
        connection = PeerConnection(endpoint: endpoint, configuration: configuration)
    }

    func end() async {
        connection.abort()
        await connection.closed()
        endpoint.close()
    }
}
