// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Lets nobody through until it is opened.
final class Gate: Sendable {
    private struct State {
        var waiting: [CheckedContinuation<Void, Never>] = []
        var passed = 0
        var isOpen = false
    }
    private let state = Mutex(State())

    var passed: Int { state.withLock { $0.passed } }

    func pass() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock {
                if !$0.isOpen { $0.waiting.append(continuation) }
                return $0.isOpen
            }
            if isOpen { continuation.resume() }
        }
        state.withLock { $0.passed += 1 }
    }

    func open() {
        let waiting = state.withLock { state in
            state.isOpen = true
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}
