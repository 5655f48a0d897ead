// SPDX-License-Identifier: Apache-2.0
import ICE
import SDP
import Testing
import WebRTC
import Wire

@Suite("Relayed addresses of both families", .serialized)
struct RelayFamiliesTests {
    private func relayed(_ description: SessionDescription) -> [IPAddress] {
        description.candidates.compactMap { ICECandidate(sdp: $0) }.filter { $0.kind == .relayed }
            .compactMap { $0.address?.ip }
    }

    @Test(
        "a host with IPv6 gets what the server has, a host without gets IPv4",
        arguments: [
            (host: [IPAddress.loopbackV4, .loopbackV6], server: [IPAddress.Family.v4, .v6]),
            (host: [.loopbackV4, .loopbackV6], server: [.v4]),
            (host: [.loopbackV4], server: [.v4, .v6]),
        ])
    func offered(host: [IPAddress], server: [IPAddress.Family]) async throws {
        try await withLoopbackRelay(server) { _, relay in
            let first = try LoopbackHost(host) { $0.iceServers = [relay] }
            let offer = try await first.connection.createOffer()
            let wanted: [IPAddress] = host.count == 2 && server.count == 2 ? [.loopbackV4, .loopbackV6] : [.loopbackV4]
            #expect(Set(relayed(offer)) == Set(wanted))
            await first.end()
        }
    }

    @Test("a host without IPv6 reaches a peer without IPv4 over a relay")
    func bridge() async throws {
        try await withLoopbackRelay([.v4, .v6]) { _, relay in
            let first = try LoopbackHost([.loopbackV6])
            let second = try LoopbackHost([.loopbackV4]) { $0.iceServers = [relay] }
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
