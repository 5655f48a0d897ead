// SPDX-License-Identifier: Apache-2.0
import Inference
import RDRR
import Swarm
import Synchronization

/// A model that is fetched from peers while it is used already.
struct ArrivingModel {
    /// A link, the address of a manifest, as `dreamer fetch` takes them.
    let source: String
    /// The folder that it comes into; named by the link unless given.
    let output: String?
    let options: FetchOptions

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
        // The vocabulary and its like; shards are asked for as the network needs them, and nothing comes in their way.
        let files = { @Sendable (manifest: RDRRManifest) in
            Array(manifest.entries.indices.dropFirst(max(0, min(manifest.shards.count, manifest.entries.count - 1))))
        }
        try await options.fetch(source, into: output, json: false, wanted: files) { swarm, _ in
            try await swarm.join()
            let manifest = try await swarm.ready()
            note("\(manifest.modelId) comes into \(swarm.folder)")
            for index in manifest.entries.indices.dropFirst(manifest.shards.count) {
                _ = try await swarm.requestShard(index)
            }
            let folder = ModelFolder(path: swarm.folder, manifest: manifest)
            let pipeline = ModelPipeline(folder)
            // The swarm has verified what it puts into the folder.
            pipeline.setCustomShardLoader(verify: false) { shard in
                _ = try await swarm.requestShard(shard)
                return nil
            }
            try await body(folder, pipeline)
        }
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
