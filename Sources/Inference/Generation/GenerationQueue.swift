// SPDX-License-Identifier: Apache-2.0

/// Requests that wait for the engine's thread, and those that it has taken.
final class GenerationQueue: Sendable {
    private struct State {
        var waiting: [GenerationJob] = []
        /// Requests that were taken and have not ended.
        var taken: [GenerationJob] = []
        var isClosed = false

        /// Whoever was cancelled has been told.
        mutating func dropCancelled() { waiting.removeAll { $0.isCancelled } }
    }

    private let limit: Int
    private let state = Monitor(State())

    init(limit: Int) { self.limit = limit }

    /// How many requests were taken and have not ended.
    var active: Int { state.withLock { $0.taken.count } }

    /// Whether nothing more is taken.
    var hasEnded: Bool { state.withLock { $0.isClosed } }

    /// How many requests wait.
    var count: Int { state.withLock { $0.waiting.count } }

    /// A request that was taken has ended.
    func release(_ job: GenerationJob) { state.withLock { $0.taken.removeAll { $0 === job } } }

    func add(_ job: GenerationJob) throws(InferenceError) {
        try state.withLock { (state) throws(InferenceError) in
            guard !state.isClosed else {
                throw InferenceError(
                    .device, at: "engine", "it has ended, after a fault of the device", advice: "load the model again")
            }
            // Whoever left while waiting takes no place.
            state.dropCancelled()
            guard state.waiting.count < limit else {
                throw InferenceError(
                    .busy, at: "engine", "\(state.waiting.count) requests wait already", advice: "ask again later")
            }
            state.waiting.append(job)
        }
    }

    /// Takes up to `count` requests out; waits for one first if `waits`. `nil` when there will be none any more.
    func take(_ count: Int, waits: Bool) -> [GenerationJob]? {
        state.wait { state -> [GenerationJob]?? in
            state.dropCancelled()
            if state.isClosed { return .some(nil) }
            if state.waiting.isEmpty, waits { return nil }
            let first = Array(state.waiting.prefix(count))
            state.waiting.removeFirst(first.count)
            state.taken += first
            return .some(first)
        }
    }

    /// Has a waiting thread look again.
    func wake() { state.withLock { _ in } }

    /// Every request ends with what it has.
    func cancelAll() {
        let (waiting, taken) = state.withLock { state in
            defer { state.waiting = [] }
            return (state.waiting, state.taken)
        }
        for job in taken { job.cancel() }
        for job in waiting { job.end(.cancelled) }
    }

    /// Nothing more is taken; what waits is failed.
    func close(because error: (any Error)? = nil) {
        let left = state.withLock { state in
            state.isClosed = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for job in left {
            if let error { job.fail(error) } else { job.end(.cancelled) }
        }
    }
}
