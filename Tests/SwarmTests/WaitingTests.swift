// SPDX-License-Identifier: Apache-2.0

import Foundation
import RDRR
@testable import Swarm
import Testing

/// The node around the core, without connections.
@Suite("Waiting for a swarm")
struct WaitingTests {
    /// Makes no connections.
    private struct NoTransport: SwarmTransport {
        struct Unavailable: Error {}

        let certificateDigest = certificate(1)
        func makeOffer() async throws -> (link: any OfferedLink, sdp: String) { throw Unavailable() }
        func answer(offer: String) async throws -> (link: any PeerLink, sdp: String) { throw Unavailable() }
        func nodeID(inOffer sdp: String) -> NodeID? { nil }
    }

    private func node() throws -> P2PSwarm {
        let folder = FileManager.default.temporaryDirectory.appending(path: "dreamer-node-\(UUID().uuidString)").path
        let link = MagnetLink(manifestDigest: Model(sizes: [1]).digest)
        return try P2PSwarm(link: link, folder: folder, transport: NoTransport())
    }

    @Test("whoever waits for the end is let go when its task is cancelled", arguments: [true, false])
    func cancelledWait(isEarly: Bool) async throws {
        let swarm = try node()
        try await swarm.join()
        let (started, continuation) = AsyncStream<Void>.makeStream()
        let waiting = Task {
            if isEarly { while !Task.isCancelled { await Task.yield() } }
            continuation.finish()
            try await swarm.completed()
        }
        if isEarly { waiting.cancel() }
        for await _ in started {}
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        await swarm.leave()
    }

    @Test("whoever waits is let go when the node leaves")
    func leaving() async throws {
        let swarm = try node()
        try await swarm.join()
        async let ready = swarm.ready()
        async let shard = swarm.requestShard(0)
        await swarm.leave()
        await #expect(throws: CancellationError.self) { _ = try await ready }
        await #expect(throws: CancellationError.self) { _ = try await shard }
    }
}
