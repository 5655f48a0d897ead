// SPDX-License-Identifier: Apache-2.0
public import Compute
public import RDRR
internal import Synchronization

/// Gives the bytes of a shard when the network needs them; `nil` when the shard is whole in the model's folder.
public typealias ShardLoader = @Sendable (_ shard: Int) async throws -> [UInt8]?

/// Loads a model whose shards come one after the other, and lets it compute meanwhile: layer by layer, as far as they are
/// there.
///
///     let pipeline = ModelPipeline(folder)
///     pipeline.setCustomShardLoader { try await source.shard($0) }
///     let model = try await pipeline.load(on: device)
///
/// Shards are asked for in the order in which the first token needs them; experts that no token has asked for come last.
public final class ModelPipeline: Sendable {
    /// How far loading is.
    public struct Progress: Hashable, Sendable {
        /// Bytes of the shards that are there.
        public let bytesDone: Int
        /// Bytes of all shards.
        public let bytesTotal: Int
        /// The shard that came last.
        public let shard: Int
    }

    /// Bytes that are asked for at the same time at most, so that a fast network has something to do.
    private static let bytesAsked = 8 << 20

    private struct Loading {
        var loader: ShardLoader?
        var verifies = true
        var experts: (any ExpertSource)?
    }

    private let folder: ModelFolder
    private let loading = Mutex(Loading())

    /// A pipeline for a model whose manifest, and the files it names beside the shards, are in a folder.
    public init(_ folder: ModelFolder) {
        self.folder = folder
    }

    /// Asks `loader` for shards from now on; `nil` takes them from the folder. With `verify` what it gives is hashed, and
    /// bytes with another hash than the manifest's are an error. Without, the loader vouches for them.
    public func setCustomShardLoader(verify: Bool = true, _ loader: ShardLoader?) {
        loading.withLock {
            $0.loader = loader
            $0.verifies = verify
        }
    }

    /// Asks `source` for a mixture's experts, each when a token asks for it, and not for shards that hold nothing else; `nil`
    /// takes experts out of shards.
    public func setExpertSource(_ source: (any ExpertSource)?) { loading.withLock { $0.experts = source } }

    /// Begins to ask for shards, and gives the model at once: running it waits for what it needs.
    ///
    /// - Parameters:
    ///   - concurrency: how many shards are asked for at the same time; `nil` for a few, of small ones more.
    ///   - onProgress: called for each shard that came, on any thread.
    public func load(
        on device: any ComputeDevice, options: ModelOptions = ModelOptions(), concurrency: Int? = nil,
        onProgress: @escaping @Sendable (Progress) -> Void = { _ in }
    ) async throws -> LanguageModel {
        let shards = try MappedShards(folder)
        let loading = loading.withLock { $0 }
        let feed = ShardFeed(
            folder, shards, loader: loading.loader, verifies: loading.verifies, onProgress: onProgress)
        // How the network is laid out depends on it.
        for shard in folder.manifest.tensor(named: TensorNames.ropeFactors)?.shards ?? [] {
            try await feed.fetchNow(shard)
        }
        let model = try LanguageModel(
            folder, shards, on: device, options: options, feed: feed, experts: loading.experts.map(ExpertFeed.init))
        let largest = max(1, folder.manifest.shards.map(\.size).max() ?? 1)
        feed.start(concurrency: max(1, concurrency ?? max(4, min(64, Self.bytesAsked / largest))))
        return model
    }
}
