// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing

/// Runs two clients over a real tracker on loopback.
@Suite("Tracker and clients on loopback", .timeLimit(.minutes(1)))
struct TrackerServerTests {
    @Test("a fetcher's offer reaches the seeder and the answer comes back", arguments: [false, true])
    func offerAndAnswer(seederFirst: Bool) async throws {
        let server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
        let url = try #require(TrackerURL("ws://127.0.0.1:\(server.port)/announce"))
        let infoHash = try #require(Bytes20(Array(0xF0..<0xFF) + [0, 13, 10, 34, 92]))

        let seeder = TrackerClient(url: url, infoHash: infoHash)
        let fetcher = TrackerClient(url: url, infoHash: infoHash)
        let answered = Task {
            for await event in fetcher.events {
                switch event {
                case .answer(let id, _, let sdp): return "\(id) \(sdp)"
                case .offer(let offer): offer.answer(sdp: "fetcher's answer to \(offer.sdp)")
                default: break
                }
            }
            return "nothing"
        }
        let seederAnswered = Task {
            for await event in seeder.events {
                switch event {
                case .answer(let id, _, let sdp): return "\(id) \(sdp)"
                case .offer(let offer): offer.answer(sdp: "seeder's answer to \(offer.sdp)")
                default: break
                }
            }
            return "nothing"
        }
        for client in seederFirst ? [seeder, fetcher] : [fetcher, seeder] {
            let isSeeder = client === seeder
            client.start(TrackerStatus(left: isSeeder ? 0 : 1000, wantedOffers: isSeeder ? 0 : 5)) { count in
                (0..<count).map { TrackerOffer(id: UInt64($0), sdp: (isSeeder ? "s" : "f") + "\($0)") }
            }
            try await until { await server.statistics().peers >= (client === (seederFirst ? seeder : fetcher) ? 1 : 2) }
        }
        if seederFirst {
            #expect(await answered.value == "0 seeder's answer to f0")
        } else {
            #expect(await seederAnswered.value == "0 fetcher's answer to s0")
        }
        await seeder.stop()
        try await until { await server.statistics().peers == 1 }
        await fetcher.stop()
        try await until { await server.statistics().connections == 0 }
        await server.stop()
    }
}

/// Looks again and again until something holds.
func until(_ condition: () async -> Bool) async throws {
    while await !condition() { try await Task.sleep(for: .milliseconds(2)) }
}
