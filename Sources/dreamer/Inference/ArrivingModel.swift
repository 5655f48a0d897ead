// SPDX-License-Identifier: Apache-2.0
import Inference
import Origin
import RDRR
import Swarm
import Synchronization
import WebRTC

/// A model that is fetched from peers while it is used already.
struct ArrivingModel {
    /// A link, the address of a manifest, as `dreamer fetch` takes them.
    let source: String
    /// The folder that it comes into; named by the link unless given.
    let output: String?
    let options: SwarmOptions

    /// Whether the words name something to fetch, not a folder.
    static func isLink(_ words: String) -> Bool {
        ["magnet:", "http://", "https://"].contains { words.hasPrefix($0) }
    }

    /// Joins the swarm, and has `body` use the model: its shards are asked for in the order in which the network needs
    /// them. What has come by the end stays in the folder, and a later fetch goes on from there.
    func use(
        note: @escaping @Sendable (String) -> Void,
        _ body: (ModelFolder, ModelPipeline) async throws -> Void
    ) async throws {
        let target = try await FetchTarget.resolve(source, output: output, http: nil)
        let endpoint = try options.connection.makeEndpoint()
        defer { endpoint.close() }
        let budget = options.connection.makeRelayBudget(json: false)
        let transport = try options.transport(endpoint, budget)
        let discovery = try options.discovery(target.link)
        let origin = try target.httpBase.map { try HTTPOrigin(base: $0) }
        guard !discovery.isEmpty || origin != nil else {
            await origin?.shutdown()
            throw CommandFailure("the link names no tracker and no web address; give --tracker")
        }
        var configuration = options.configuration
        // The vocabulary and its like; shards are asked for as the network needs them, and nothing comes in their way.
        configuration.wanted = {
            Array($0.entries.indices.dropFirst(max(0, min($0.shards.count, $0.entries.count - 1))))
        }
        // Nobody to wait for.
        if discovery.isEmpty { configuration.core.originGrace = .zero }
        let swarm = try P2PSwarm(
            link: target.link, manifest: target.manifest, folder: target.folder, transport: transport,
            discovery: discovery, origin: origin, configuration: configuration)
        let outcome: Result<Void, any Error>
        do {
            try await swarm.join()
            let manifest = try await swarm.ready()
            note("\(manifest.modelId) comes into \(target.folder)")
            // The vocabulary and its like.
            for index in manifest.entries.indices.dropFirst(manifest.shards.count) {
                _ = try await swarm.requestShard(index)
            }
            let pipeline = ModelPipeline(ModelFolder(path: target.folder, manifest: manifest))
            // The swarm has verified what it puts into the folder.
            pipeline.setCustomShardLoader(verify: false) { shard in
                _ = try await swarm.requestShard(shard)
                return nil
            }
            try await body(ModelFolder(path: target.folder, manifest: manifest), pipeline)
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        await swarm.leave()
        await origin?.shutdown()
        try outcome.get()
    }
}

/// How far a model has come, until its first token is there.
final class ArrivalProgress: Sendable {
    private struct State {
        var line = ProgressLine(label: "fetching")
        var meter = Meter()
        var hasEnded = false
    }

    private let state = Mutex(State())

    func show(_ progress: ModelPipeline.Progress) {
        state.withLock { state in
            guard !state.hasEnded else { return }
            let now = Clock.seconds
            let rate = state.meter.rate(progress.bytesDone, at: now)
            state.line.show(.init(done: progress.bytesDone, total: progress.bytesTotal, rate: rate), at: now)
        }
    }

    /// Text follows: nothing more is shown.
    func end() {
        state.withLock { state in
            guard !state.hasEnded else { return }
            state.hasEnded = true
            state.line.clear()
        }
    }
}
