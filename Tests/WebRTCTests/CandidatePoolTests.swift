// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Relay
import SDP
import Testing
import WebRTC
import Wire

@Suite("Candidates gathered ahead of the offer", .serialized)
struct CandidatePoolTests {
    private static func names(_ events: [PeerCore.Event]) -> [String] {
        events.compactMap { event in
            switch event {
            case .localCandidate(let candidate): "\(candidate.kind)"
            case .gatheringComplete: "complete"
            default: nil
            }
        }
    }

    @Test("what was found ahead is told with the description, and either side connects", arguments: [true, false])
    func core(byOfferer: Bool) throws {
        var pair = try CorePair(seed: 31)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        let isPrepared =
            byOfferer
            ? pair.offerer.prepare(localAddresses: [CorePair.addresses.0], servers: [], now: pair.now)
            : pair.answerer.prepare(localAddresses: [CorePair.addresses.1], servers: [], now: pair.now)
        #expect(isPrepared)
        _ = pair.run(for: .seconds(20)) { _ in false }
        #expect(Self.names(pair.events.0 + pair.events.1).isEmpty)
        try pair.signal()
        #expect(try pair.offerer.localDescription.endOfCandidates)
        let isConnected = pair.run(for: .seconds(10)) { $0.areConnected }
        #expect(isConnected)
        #expect(Self.names(pair.events.0) == ["host", "complete"])
        #expect(Self.names(pair.events.1) == ["host", "complete"])
        let isLate = pair.offerer.prepare(localAddresses: [CorePair.addresses.0], servers: [], now: pair.now)
        #expect(!isLate)
    }

    /// Waits until the relay has so many allocations; whether it came to that.
    private func allocations(_ count: Int, of relay: RelayServer) async throws -> Bool {
        for _ in 0..<500 {
            if await relay.metrics().allocations == count { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    @Test("an offer that trickles has a relay's candidate at once")
    func offer() async throws {
        try await withLoopbackRelay([.v4]) { relay, server in
            let first = try LoopbackHost([.loopbackV4]) {
                $0.iceServers = [server]
                $0.iceCandidatePoolSize = 1
            }
            #expect(try await allocations(1, of: relay))
            let second = try LoopbackHost([.loopbackV4]) { $0.iceCandidatePoolSize = 1 }
            let channel = try first.connection.createDataChannel("test")
            // The answer to the allocation may still be on its way.
            try await Task.sleep(for: .milliseconds(200))
            let offer = try await first.connection.createOffer(trickling: true)
            #expect(offer.candidates.compactMap { ICECandidate(sdp: $0)?.kind } == [.host, .relayed])
            let answer = try await second.connection.accept(offer: offer, trickling: true)
            #expect(answer.candidates.count == 1)
            try first.connection.accept(answer: answer)
            try await channel.opened()
            await first.end()
            await second.end()
        }
    }

    @Test("what was gathered and not used is given back when the connection ends")
    func release() async throws {
        try await withLoopbackRelay([.v4]) { relay, server in
            let host = try LoopbackHost([.loopbackV4]) {
                $0.iceServers = [server]
                $0.iceCandidatePoolSize = 2
            }
            #expect(try await allocations(1, of: relay))
            host.connection.abort()
            await host.connection.closed()
            #expect(try await allocations(0, of: relay))
            await #expect(throws: PeerConnectionError.self) { _ = try await host.connection.createOffer() }
            host.endpoint.close()
        }
    }
}
