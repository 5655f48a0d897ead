// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hashing
internal import RDRR
internal import Synchronization

/// Shards on their way into memory: asked for in an order, and waited for by the thread that computes.
final class ShardFeed: @unchecked Sendable {
    // Unchecked: the mutex guards everything that changes.

    private let folder: ModelFolder
    private let shards: MappedShards
    private let loader: ShardLoader?
    private let verifies: Bool
    private let onProgress: @Sendable (ModelPipeline.Progress) -> Void

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    /// What is still to be asked for, the next one first.
    private var order: [Int]
    private var failure: (any Error)?
    private var missing: Int
    private var bytesDone = 0

    init(
        _ folder: ModelFolder, _ shards: MappedShards, loader: ShardLoader?, verifies: Bool,
        onProgress: @escaping @Sendable (ModelPipeline.Progress) -> Void
    ) {
        self.folder = folder
        self.shards = shards
        self.loader = loader
        self.verifies = verifies
        self.onProgress = onProgress
        order = Array(folder.manifest.shards.indices)
        missing = order.count
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Asks for these first, in this order, and for the others after them, as far as they were not asked for yet.
    func setOrder(_ first: [Int]) {
        locked {
            let known = Set(first)
            let left = Set(order)
            order = first.filter { left.contains($0) } + order.filter { !known.contains($0) }
        }
    }

    /// Asks for a shard and comes back when it is there: before ``start(concurrency:)``.
    func fetchNow(_ shard: Int) async throws {
        locked { order.removeAll { $0 == shard } }
        if !shards.holds(shard) { await fetch(shard) }
        if let failure = locked({ failure }) { throw failure }
    }

    /// Begins to ask; nobody has to wait for it.
    func start(concurrency: Int) {
        for _ in 0..<concurrency {
            Task { [weak self] in
                while let shard = self?.next() {
                    // The feed lives while a shard is on its way, as whoever waits for it does.
                    guard let feed = self else { return }
                    await feed.fetch(shard)
                }
            }
        }
    }

    /// Whether every shard is there.
    var isComplete: Bool { locked { missing == 0 } }

    /// Waits until shards are there, which are asked for before all others that were not asked for yet.
    func wait(for wanted: [Int]) throws {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        let urgent = wanted.filter { order.contains($0) }
        if !urgent.isEmpty { order = urgent + order.filter { !urgent.contains($0) } }
        while !wanted.allSatisfy({ shards.holds($0) }) {
            if let failure { throw failure }
            pthread_cond_wait(condition, mutex)
        }
    }

    private func next() -> Int? {
        locked { failure != nil || order.isEmpty ? nil : order.removeFirst() }
    }

    private func fetch(_ shard: Int) async {
        do {
            if let bytes = try await loader?(shard) {
                try check(bytes, shard)
                try shards.put(bytes.span, as: shard)
            } else {
                try shards.map(shard)
            }
            let entry = folder.manifest.shards[shard]
            let done = locked {
                missing -= 1
                bytesDone += entry.size
                pthread_cond_broadcast(condition)
                return bytesDone
            }
            onProgress(.init(bytesDone: done, bytesTotal: folder.manifest.totalSize, shard: shard))
        } catch {
            locked {
                if failure == nil { failure = error }
                pthread_cond_broadcast(condition)
            }
        }
    }

    private func check(_ bytes: [UInt8], _ shard: Int) throws {
        guard verifies else { return }
        let entry = folder.manifest.shards[shard]
        var isRight =
            switch entry.algorithm {
            case .blake3: BLAKE3.hash(bytes).bytes == entry.hash
            case .sha256: SHA256.hash(bytes) == entry.hash
            }
        // The first writers of the format did not say which hash it is.
        if !isRight, !entry.isAlgorithmStated { isRight = BLAKE3.hash(bytes).bytes == entry.hash }
        guard isRight else {
            throw RDRRError(
                .hashMismatch, at: entry.name, "what the shard loader gave has another hash than the manifest says",
                advice: "get it from somewhere else")
        }
    }
}
