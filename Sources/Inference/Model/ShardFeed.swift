// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import RDRR

/// Shards on their way into memory: asked for in an order, and waited for by the thread that computes.
final class ShardFeed: Sendable {
    private struct State {
        /// What is still to be asked for, the next one first.
        var order: [Int]
        /// What is asked for after that, and of which nobody knows whether it will be needed: experts.
        var spare: [Int] = []
        /// How many may be on their way.
        var limit = 0
        /// Those that are on their way.
        var inFlight = 0
        /// Whether the thread that computes waits.
        var isAwaited = false
        /// Bytes of all that is asked for.
        var bytesTotal: Int
        var bytesDone = 0
        var failure: (any Error)?
    }

    private let folder: ModelFolder
    private let shards: MappedShards
    private let loader: ShardLoader?
    private let verifies: Bool
    private let onProgress: @Sendable (ModelPipeline.Progress) -> Void
    private let state: Monitor<State>

    init(
        _ folder: ModelFolder, _ shards: MappedShards, loader: ShardLoader?, verifies: Bool,
        onProgress: @escaping @Sendable (ModelPipeline.Progress) -> Void
    ) {
        self.folder = folder
        self.shards = shards
        self.loader = loader
        self.verifies = verifies
        self.onProgress = onProgress
        state = Monitor(State(order: Array(folder.manifest.shards.indices), bytesTotal: folder.manifest.totalSize))
    }

    /// Asks for these first, in this order, as far as they were not asked for yet; and for the others after them, or not at
    /// all: before ``start(concurrency:)``.
    func setOrder(_ first: [Int], thenOthers: Bool) {
        state.withLock { state in
            let known = Set(first)
            let left = Set(state.order)
            let others = state.order.filter { !known.contains($0) }
            state.order = first.filter { left.contains($0) }
            if thenOthers {
                state.spare = others
            } else {
                state.bytesTotal -= others.reduce(0) { $0 + folder.manifest.shards[$1].size }
            }
        }
    }

    /// Asks for a shard and comes back when it is there: before ``start(concurrency:)``.
    func fetchNow(_ shard: Int) async throws {
        state.withLock { $0.order.removeAll { $0 == shard } }
        if !shards.holds(shard) { await fetch(shard) }
        if let failure = state.withLock({ $0.failure }) { throw failure }
    }

    /// Begins to ask; nobody has to wait for it.
    func start(concurrency: Int) {
        state.withLock { $0.limit = concurrency }
        askForMore()
    }

    /// Waits until shards are there. Those that were not asked for yet are asked for at once, and `others` with them, which
    /// will be waited for next.
    func wait(for wanted: [Int], others: [Int] = []) throws {
        let urgent = state.withLock { state in
            let left = Set(state.order).union(state.spare)
            let urgent = Set(wanted + others).intersection(left)
            state.order.removeAll { urgent.contains($0) }
            state.spare.removeAll { urgent.contains($0) }
            state.inFlight += urgent.count
            state.isAwaited = true
            return (wanted + others).filter { urgent.contains($0) }
        }
        var known: Set<Int> = []
        for shard in urgent where known.insert(shard).inserted { begin(shard) }
        defer {
            state.withLock { $0.isAwaited = false }
            askForMore()
        }
        try state.wait { state in
            if wanted.allSatisfy({ shards.holds($0) }) { return () }
            if let failure = state.failure { throw failure }
            return nil
        }
    }

    /// Asks for nothing more, and ends the wait for what has not come, now and later.
    func cancel() { fail(CancellationError()) }

    /// What is only perhaps needed must not be in the way of what is: few at a time, and none while anybody waits.
    private static let sparesInFlight = 2

    /// Asks for what comes next, as far as not enough is on its way.
    private func askForMore() {
        let next = state.withLock { state in
            var next: [Int] = []
            guard state.failure == nil else { return next }
            while state.inFlight < state.limit, !state.order.isEmpty {
                next.append(state.order.removeFirst())
                state.inFlight += 1
            }
            while !state.isAwaited, state.order.isEmpty, state.inFlight < min(state.limit, Self.sparesInFlight),
                !state.spare.isEmpty
            {
                next.append(state.spare.removeFirst())
                state.inFlight += 1
            }
            return next
        }
        for shard in next { begin(shard) }
    }

    private func begin(_ shard: Int) {
        Task { [weak self] in
            // The feed lives while a shard is on its way, as whoever waits for it does.
            guard let feed = self else { return }
            await feed.fetch(shard)
            feed.state.withLock { $0.inFlight -= 1 }
            feed.askForMore()
        }
    }

    private func fetch(_ shard: Int) async {
        do {
            if let bytes = try await loader?(shard) {
                try check(bytes, shard)
                try shards.put(bytes.span, as: shard)
            } else {
                try shards.map(shard)
            }
            let (done, total) = state.withLock { state in
                state.bytesDone += folder.manifest.shards[shard].size
                return (state.bytesDone, state.bytesTotal)
            }
            onProgress(.init(bytesDone: done, bytesTotal: total, shard: shard))
        } catch {
            fail(error)
        }
    }

    private func fail(_ error: any Error) {
        state.withLock { if $0.failure == nil { $0.failure = error } }
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
