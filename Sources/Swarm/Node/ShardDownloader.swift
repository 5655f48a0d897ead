// SPDX-License-Identifier: Apache-2.0

import RDRR

/// Fetches the shards of a model from a swarm, which knows by itself which peer to ask for which part and falls back to HTTP.
public struct ShardDownloader: Sendable {
    /// Where shards come from.
    public let swarm: P2PSwarm
    /// Shards that are waited for at a time: what comes first is asked for first.
    public let maxParallel: Int

    /// A downloader from a joined swarm.
    public init(swarm: P2PSwarm, maxParallel: Int = 4) {
        self.swarm = swarm
        self.maxParallel = max(1, maxParallel)
    }

    /// Fetches every shard and file, or those of `indices`; `onProgress` is told each one that is there and verified.
    public func downloadAll(
        _ indices: [Int]? = nil, onProgress: @escaping @Sendable (Int) -> Void = { _ in }
    ) async throws {
        let manifest = try await swarm.ready()
        var rest = (indices ?? Array(manifest.entries.indices))[...]
        try await withThrowingTaskGroup(of: Int.self) { group in
            func add() {
                guard let index = rest.popFirst() else { return }
                group.addTask {
                    try await downloadShard(index)
                    return index
                }
            }
            for _ in 0..<maxParallel { add() }
            while let index = try await group.next() {
                onProgress(index)
                add()
            }
        }
    }

    /// Fetches one shard; comes back when it is verified.
    public func downloadShard(_ index: Int) async throws {
        _ = try await swarm.requestShard(index)
    }
}
