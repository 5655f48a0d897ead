// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP

/// The lock around calls of usrsctp, with what it guards.
///
/// Not `Synchronization.Mutex`, whose futex hands the lock over to the longest waiting thread: with more threads than
/// processors every call would wait until some other thread gets to run (8 threads on 2 processors: ten times slower).
final class CallLock<State>: @unchecked Sendable {
    private let mutex = cusrsctp_lock_make()
    private var state: State

    init(_ state: State) {
        self.state = state
    }

    deinit { free(mutex) }

    /// Runs `body` alone. It must not come back here.
    func withLock<Result, Failure: Error>(_ body: (inout State) throws(Failure) -> Result) throws(Failure) -> Result {
        cusrsctp_lock(mutex)
        defer { cusrsctp_unlock(mutex) }
        return try body(&state)
    }
}
