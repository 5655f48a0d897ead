// SPDX-License-Identifier: Apache-2.0

internal import Glibc
internal import Synchronization

/// Threads of the system that do one job together and are gone when it is done.
enum Workers {
    /// Runs `body` on the calling thread and on `threads - 1` others at once, and returns when it has returned on all.
    ///
    /// Where the system refuses a thread there are fewer of them: `body` takes its work from a common list
    /// (``WorkList``), not a share that was fixed before.
    static func run(threads: Int, _ body: @escaping @Sendable () -> Void) {
        let job = Job(body: body)
        var others: [pthread_t] = []
        for _ in 1..<max(2, threads) where threads > 1 {
            var thread = pthread_t()
            let argument = Unmanaged.passRetained(job)
            let status = pthread_create(
                &thread, nil,
                { argument in
                    if let argument { Unmanaged<Job>.fromOpaque(argument).takeRetainedValue().body() }
                    return nil
                }, argument.toOpaque())
            guard status == 0 else {
                argument.release()
                break
            }
            others.append(thread)
        }
        body()
        for thread in others { pthread_join(thread, nil) }
    }

    /// Carries the closure through C's untyped pointer.
    private final class Job: Sendable {
        let body: @Sendable () -> Void

        init(body: @escaping @Sendable () -> Void) {
            self.body = body
        }
    }
}

/// The numbers below a count, each given out once, to any thread.
final class WorkList: Sendable {
    private let count: Int
    private let taken = Atomic<Int>(0)

    init(count: Int) {
        self.count = count
    }

    /// The next number, or nil when all are taken.
    func next() -> Int? {
        let index = taken.wrappingAdd(1, ordering: .relaxed).oldValue
        return index < count ? index : nil
    }

    /// Gives out no more.
    func stop() {
        taken.store(count, ordering: .relaxed)
    }
}
