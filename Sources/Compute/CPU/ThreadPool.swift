// SPDX-License-Identifier: Apache-2.0

internal import CCompute
internal import Glibc
internal import Synchronization

/// Threads that share one job after the other, the caller being the first of them.
///
/// Between jobs they look for the next for some ten microseconds, as the layers of a model follow each other, and then
/// sleep. A job costs no allocation. Where the system refuses a thread there are fewer. One caller at a time; another
/// waits until the first is done.
public final class ThreadPool: Sendable {
    /// A share of a job: what the caller passed, which share, and of how many.
    package typealias Entry = @convention(c) (UnsafeRawPointer, Int, Int) -> Void

    /// How many threads there are, with the caller.
    public let count: Int

    private let state: State
    private let threads: [pthread_t]

    /// Starts `threads - 1` threads; nobody needs more than the system has processors.
    public init(threads: Int) {
        let state = State()
        var started: [pthread_t] = []
        for part in 1..<max(2, min(threads, Self.limit)) where threads > 1 {
            let argument = Unmanaged.passRetained(Worker(state: state, part: part))
            var thread = pthread_t()
            let status = pthread_create(
                &thread, nil,
                { argument in
                    if let argument { Unmanaged<Worker>.fromOpaque(argument).takeRetainedValue().run() }
                    return nil
                }, argument.toOpaque())
            guard status == 0 else {
                argument.release()
                break
            }
            started.append(thread)
        }
        state.parts = started.count + 1
        self.state = state
        self.threads = started
        count = started.count + 1
    }

    deinit {
        state.stopping.store(true, ordering: .sequentiallyConsistent)
        state.announce()
        for thread in threads { pthread_join(thread, nil) }
    }

    /// More threads than any processor has for us; a wrong number must not exhaust the system.
    private static let limit = 256

    /// Runs `entry` once for each share, and returns when all have returned.
    package func run(_ context: UnsafeRawPointer, _ entry: Entry) {
        guard count > 1 else {
            entry(context, 0, 1)
            return
        }
        pthread_mutex_lock(state.callers)
        state.entry = entry
        state.context = context
        state.pending.store(count - 1, ordering: .relaxed)
        state.announce()
        entry(context, 0, count)
        var turns = 0
        while state.pending.load(ordering: .acquiring) > 0 {
            turns += 1
            // Whoever is not done has lost its processor: perhaps to this loop.
            if turns < State.turnsAwake { compute_pause() } else { sched_yield() }
        }
        pthread_mutex_unlock(state.callers)
    }

    /// The same for a closure, `share` of `shares`.
    package func run(_ body: (_ share: Int, _ shares: Int) -> Void) {
        withoutActuallyEscaping(body) { body in
            withUnsafePointer(to: body) { pointer in
                run(UnsafeRawPointer(pointer)) { context, part, parts in
                    context.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(part, parts)
                }
            }
        }
    }

    /// What the threads share.
    private final class State: @unchecked Sendable {
        // Unchecked: the plain fields are written before `generation` is raised, and read after.
        let generation = Atomic<UInt32>(0)
        let pending = Atomic<Int>(0)
        let sleepers = Atomic<Int>(0)
        let stopping = Atomic<Bool>(false)
        var entry: Entry?
        var context: UnsafeRawPointer?
        var parts = 1
        let callers: UnsafeMutablePointer<pthread_mutex_t>
        private let mutex: UnsafeMutablePointer<pthread_mutex_t>
        private let condition: UnsafeMutablePointer<pthread_cond_t>

        /// Looks for the next job before a thread sleeps: a pause takes some 10 to 50 ns, so this is tens of
        /// microseconds.
        static let turnsAwake = 3000

        init() {
            callers = .allocate(capacity: 1)
            mutex = .allocate(capacity: 1)
            condition = .allocate(capacity: 1)
            pthread_mutex_init(callers, nil)
            pthread_mutex_init(mutex, nil)
            pthread_cond_init(condition, nil)
        }

        deinit {
            pthread_cond_destroy(condition)
            pthread_mutex_destroy(mutex)
            pthread_mutex_destroy(callers)
            condition.deallocate()
            mutex.deallocate()
            callers.deallocate()
        }

        /// Says that there is a new job, or that there will be none. The order of these two steps and of a sleeper's,
        /// who is counted before it looks a last time, is the same for all: one of them sees the other.
        func announce() {
            generation.wrappingAdd(1, ordering: .sequentiallyConsistent)
            guard sleepers.load(ordering: .sequentiallyConsistent) > 0 else { return }
            pthread_mutex_lock(mutex)
            pthread_cond_broadcast(condition)
            pthread_mutex_unlock(mutex)
        }

        /// Waits until the generation is another, and returns it.
        func wait(after seen: UInt32) -> UInt32 {
            for _ in 0..<Self.turnsAwake {
                let now = generation.load(ordering: .acquiring)
                if now != seen { return now }
                compute_pause()
            }
            pthread_mutex_lock(mutex)
            sleepers.wrappingAdd(1, ordering: .sequentiallyConsistent)
            var now = generation.load(ordering: .sequentiallyConsistent)
            while now == seen {
                pthread_cond_wait(condition, mutex)
                now = generation.load(ordering: .sequentiallyConsistent)
            }
            sleepers.wrappingSubtract(1, ordering: .sequentiallyConsistent)
            pthread_mutex_unlock(mutex)
            return now
        }
    }

    /// One of the threads.
    private final class Worker: Sendable {
        let state: State
        let part: Int

        init(state: State, part: Int) {
            self.state = state
            self.part = part
        }

        func run() {
            var seen: UInt32 = 0
            while true {
                seen = state.wait(after: seen)
                if state.stopping.load(ordering: .sequentiallyConsistent) { return }
                if let entry = state.entry, let context = state.context { entry(context, part, state.parts) }
                state.pending.wrappingSubtract(1, ordering: .releasing)
            }
        }
    }
}
