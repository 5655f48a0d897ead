// SPDX-License-Identifier: Apache-2.0

import Foundation
import RDRR
@testable import Swarm
import Testing

/// What a node does while nobody is there.
@Suite("A node without peers")
struct WaitingTests {
    /// Makes no connections.
    private struct NoTransport: SwarmTransport {
        struct Unavailable: Error {}

        let certificateDigest = certificate(1)
        func makeOffer() async throws -> (link: any OfferedLink, sdp: String) { throw Unavailable() }
        func answer(offer: String) async throws -> (link: any PeerLink, sdp: String) { throw Unavailable() }
        func nodeID(inOffer sdp: String) -> NodeID? { nil }
    }

    /// Tells that it was asked for the manifest, and has none.
    private struct AskedOrigin: FallbackOrigin {
        struct Missing: Error {}

        let asked: AsyncStream<Void>.Continuation
        func manifest(limit: Int) async throws -> [UInt8] {
            asked.finish()
            throw Missing()
        }
        func proof(of name: String, byteCount: Int) async throws -> [UInt8]? { nil }
        func fetch(
            _ name: String, range: Range<Int64>, fileSize: Int64?,
            consume: @escaping @Sendable ([UInt8], Int64) async throws -> Void
        ) async throws { throw Missing() }
    }

    private func node(
        origin: (any FallbackOrigin)? = nil, configuration: P2PSwarm.Configuration = .init()
    ) throws -> P2PSwarm {
        let folder = FileManager.default.temporaryDirectory.appending(path: "dreamer-node-\(UUID().uuidString)").path
        let link = MagnetLink(manifestDigest: Model(sizes: [1]).digest)
        return try P2PSwarm(link: link, folder: folder, transport: NoTransport(), origin: origin, configuration: configuration)
    }

    @Test("a node that knows the link alone asks HTTP for the manifest though no peer ever comes", .timeLimit(.minutes(1)))
    func manifestWithoutPeers() async throws {
        let (asked, continuation) = AsyncStream<Void>.makeStream()
        var configuration = P2PSwarm.Configuration()
        configuration.core.originGrace = .zero
        let swarm = try node(origin: AskedOrigin(asked: continuation), configuration: configuration)
        try await swarm.join()
        for await _ in asked {}
        await swarm.leave()
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
        let ready = Task { _ = try await swarm.ready() }
        let shard = Task { _ = try await swarm.requestShard(0) }
        await swarm.leave()
        await #expect(throws: CancellationError.self) { try await ready.value }
        await #expect(throws: CancellationError.self) { try await shard.value }
    }
}
