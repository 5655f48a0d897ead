// SPDX-License-Identifier: Apache-2.0
internal import Glibc

/// Requests that wait for the engine's thread.
final class GenerationQueue: @unchecked Sendable {
    // Unchecked: the mutex guards everything.

    private let limit: Int
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var jobs: [GenerationJob] = []
    private var isClosed = false
    /// Requests that were taken and have not ended.
    private var taken = 0

    init(limit: Int) {
        self.limit = limit
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

    /// How many requests were taken and have not ended.
    var active: Int { locked { taken } }

    /// Whether nothing more is taken.
    var hasEnded: Bool { locked { isClosed } }

    /// A request that was taken has ended.
    func release() { locked { taken -= 1 } }

    private func locked<Result>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    var count: Int {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return jobs.count
    }

    func add(_ job: GenerationJob) throws(InferenceError) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        guard !isClosed else {
            throw InferenceError(
                .device, at: "engine", "it has ended, after a fault of the device", advice: "load the model again")
        }
        // Whoever left while waiting takes no place.
        dropCancelled()
        guard jobs.count < limit else {
            throw InferenceError(
                .busy, at: "engine", "\(jobs.count) requests wait already", advice: "ask again later")
        }
        jobs.append(job)
        pthread_cond_signal(condition)
    }

    /// Takes up to `count` requests out; waits for one first if `waits`. `nil` when there will be none any more.
    func take(_ count: Int, waits: Bool) -> [GenerationJob]? {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        dropCancelled()
        while jobs.isEmpty, waits, !isClosed {
            pthread_cond_wait(condition, mutex)
            dropCancelled()
        }
        if isClosed { return nil }
        let first = Array(jobs.prefix(count))
        jobs.removeFirst(first.count)
        taken += first.count
        return first
    }

    /// Has a waiting thread look again.
    func wake() {
        pthread_mutex_lock(mutex)
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// Nothing more is taken; what waits is failed.
    func close(because error: (any Error)? = nil) {
        pthread_mutex_lock(mutex)
        isClosed = true
        let left = jobs
        jobs = []
        pthread_cond_broadcast(condition)
        pthread_mutex_unlock(mutex)
        for job in left {
            if let error { job.fail(error) } else { job.end(.cancelled) }
        }
    }

    /// Whoever was cancelled has been told.
    private func dropCancelled() { jobs.removeAll { $0.isCancelled } }
}
