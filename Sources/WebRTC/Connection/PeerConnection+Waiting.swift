// SPDX-License-Identifier: Apache-2.0
import Synchronization

extension PeerConnection {
    /// Waits until `isDone` says so; it is asked again whenever something has changed.
    func wait(
        _ what: String, until isDone: (borrowing Guarded) throws(PeerConnectionError) -> Bool
    ) async throws(PeerConnectionError) {
        while true {
            if try guarded.withLock({ (state) throws(PeerConnectionError) in try isDone(state) }) { return }
            if Task.isCancelled { throw PeerConnectionError(.closed, "waiting for \(what) was cancelled") }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let goOn = guarded.withLock { state in
                        state.waiters.append(continuation)
                        return (try? isDone(state)) ?? true
                    }
                    if goOn || Task.isCancelled { wakeAll() }
                }
            } onCancel: {
                wakeAll()
            }
        }
    }

    private func wakeAll() {
        for waiter in guarded.withLock({ $0.takeWaiters() }) { waiter.resume() }
    }
}

extension PeerConnection.Guarded {
    /// Those that wait, to be woken outside of the lock.
    mutating func takeWaiters() -> [CheckedContinuation<Void, Never>] {
        let taken = waiters
        waiters = []
        return taken
    }
}
