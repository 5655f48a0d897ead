// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// Messages between the event loop, which puts them in, and one task, which takes them out. The queue is bounded: when it
/// is full the connection stops reading, and SCTP's window closes the sender's.
final class MessageQueue: Sendable {
    private struct State {
        var messages: [DataChannel.Message] = []
        var head = 0
        var byteCount = 0
        var finished = false
        var isAbandoned = false
        var failure: PeerConnectionError?
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    /// Above so many bytes waiting the queue counts as full: two of the largest messages that we announce to take.
    private static let capacity = 2 * 262_144

    /// Whether nothing more should be put in for now.
    var isFull: Bool { state.withLock { $0.byteCount >= Self.capacity } }

    /// Puts a message in, even above the bound: it has left SCTP already.
    func put(_ message: DataChannel.Message) {
        let waiter = state.withLock { state in
            guard !state.finished, !state.isAbandoned else { return nil as CheckedContinuation<Void, Never>? }
            state.messages.append(message)
            state.byteCount += message.byteCount
            return state.waiter.take()
        }
        waiter?.resume()
    }

    /// Throws away what waits, and what comes after.
    func abandon() {
        state.withLock { state in
            state.isAbandoned = true
            state.messages = []
            state.head = 0
            state.byteCount = 0
        }
    }

    /// Ends the sequence after what is still waiting.
    func finish(_ failure: PeerConnectionError?) {
        let waiter = state.withLock { state in
            guard !state.finished else { return nil as CheckedContinuation<Void, Never>? }
            state.finished = true
            state.failure = failure
            return state.waiter.take()
        }
        waiter?.resume()
    }

    /// Takes the next message out; `wasFull` tells that the connection may read again. `nil` at the end.
    func take() async throws(PeerConnectionError) -> (message: DataChannel.Message, wasFull: Bool)? {
        while true {
            let step: Step = state.withLock { state in
                if state.head < state.messages.count {
                    let wasFull = state.byteCount >= Self.capacity
                    let message = state.messages[state.head]
                    state.head += 1
                    state.byteCount -= message.byteCount
                    if state.head == state.messages.count {
                        state.messages.removeAll(keepingCapacity: true)
                        state.head = 0
                    } else if state.head >= 16, state.head * 2 >= state.messages.count {
                        // A queue that is never quite empty lets go of what was taken all the same.
                        state.messages.removeFirst(state.head)
                        state.head = 0
                    }
                    return .message(message, wasFull: wasFull && state.byteCount < Self.capacity)
                }
                return state.finished ? .end(state.failure) : .wait
            }
            switch step {
            case .message(let message, let wasFull): return (message, wasFull)
            case .end(let failure):
                if let failure { throw failure }
                return nil
            case .wait:
                if Task.isCancelled { return nil }
                await withTaskCancellationHandler {
                    await withCheckedContinuation { continuation in
                        let resumeNow = state.withLock { state in
                            guard state.head == state.messages.count, !state.finished, state.waiter == nil else {
                                return true
                            }
                            state.waiter = continuation
                            return false
                        }
                        if resumeNow || Task.isCancelled { wake(resumeNow ? continuation : nil) }
                    }
                } onCancel: {
                    wake(nil)
                }
            }
        }
    }

    private func wake(_ continuation: CheckedContinuation<Void, Never>?) {
        (continuation ?? state.withLock { $0.waiter.take() })?.resume()
    }

    private enum Step {
        case message(DataChannel.Message, wasFull: Bool)
        case end(PeerConnectionError?)
        case wait
    }
}
