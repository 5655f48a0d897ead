// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Dispatch
import Glibc
import Synchronization

/// Ctrl-C and a polite kill, as something that a task can wait for.
enum Interrupt {
    /// Waits until the program is asked to stop, by SIGINT or SIGTERM, or until the task is cancelled. A second signal ends
    /// the program at once.
    static func wait() async {
        let signals = AsyncStream<Void> { continuation in
            let sources = [SIGINT, SIGTERM].map { number in
                signal(number, SIG_IGN)
                let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
                source.setEventHandler {
                    signal(number, SIG_DFL)
                    continuation.finish()
                }
                source.activate()
                return source
            }
            continuation.onTermination = { _ in
                for source in sources { source.cancel() }
            }
        }
        for await _ in signals {}
    }
}

/// What Ctrl-C does to a command whose work changes under way: mostly it ends a task, at times something else.
final class StopRequest: Sendable {
    private struct State {
        var isMade = false
        var action: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// Whether the program was asked to stop.
    var isMade: Bool { state.withLock { $0.isMade } }

    /// Runs `body` and has Ctrl-C cancel it, until something else is said.
    static func watch(_ body: @escaping @Sendable (StopRequest) async throws -> Void) async throws {
        let stop = StopRequest()
        let work = Task { try await body(stop) }
        stop.answer { work.cancel() }
        let interrupt = Task {
            await Interrupt.wait()
            if !Task.isCancelled { stop.make() }
        }
        defer { interrupt.cancel() }
        do {
            try await work.value
        } catch where stop.isMade && !(error is CommandFailure) {
            throw CommandFailure("stopped")
        }
    }

    /// From now on this is what Ctrl-C does; at once where it was pressed already.
    func answer(with action: @escaping @Sendable () -> Void) {
        let isMade = state.withLock { state in
            state.action = action
            return state.isMade
        }
        if isMade { action() }
    }

    private func make() {
        let action = state.withLock { state in
            state.isMade = true
            return state.action
        }
        action?()
    }
}
