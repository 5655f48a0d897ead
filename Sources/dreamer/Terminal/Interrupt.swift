// SPDX-License-Identifier: Apache-2.0
@preconcurrency import Dispatch
import Glibc
import Synchronization

/// Ctrl-C and a polite kill, as something that a task can wait for: SIGINT and SIGTERM are watched for from when it is
/// made. It is made before the program says that it is ready, for whoever reads that may stop it at once.
struct Interrupt {
    /// Where the handler writes and tasks read: a handler may do no more, and what it wrote is there for those who come
    /// later. It stays open.
    private static let pipe: (reading: Int32, writing: Int32) = {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { return (-1, -1) }
        for end in ends {
            _ = fcntl(end, F_SETFD, FD_CLOEXEC)
            _ = fcntl(end, F_SETFL, O_NONBLOCK)
        }
        return (ends[0], ends[1])
    }()

    private let signals: AsyncStream<Void>

    init() {
        let reading = Self.pipe.reading
        signals = AsyncStream<Void> { continuation in
            guard reading >= 0 else { return }
            let source = DispatchSource.makeReadSource(fileDescriptor: reading, queue: .global())
            source.setEventHandler { continuation.finish() }
            continuation.onTermination = { _ in source.cancel() }
            source.activate()
        }
        // Without it a signal ends the program, as it always did.
        guard reading >= 0 else { return }
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            let number = errno
            _ = write(Interrupt.pipe.writing, "!", 1)
            errno = number
        }
        // The second of a kind does what it does to every program: it ends it at once.
        action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND)) | SA_RESTART
        for number in [SIGINT, SIGTERM] { sigaction(number, &action, nil) }
    }

    /// Waits until the program is asked to stop, or until the task is cancelled.
    func wait() async {
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
        let interrupt = Interrupt()
        let work = Task { try await body(stop) }
        stop.answer { work.cancel() }
        let watch = Task {
            await interrupt.wait()
            if !Task.isCancelled { stop.make() }
        }
        defer { watch.cancel() }
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
