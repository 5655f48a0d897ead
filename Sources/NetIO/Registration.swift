// SPDX-License-Identifier: Apache-2.0

/// A descriptor that a loop watches, until ``cancel()``.
public final class Registration: Sendable {
    private let loop: EventLoop
    private let descriptor: Int32
    private let token: UInt64

    init(loop: EventLoop, descriptor: Int32, token: UInt64) {
        self.loop = loop
        self.descriptor = descriptor
        self.token = token
    }

    /// Changes what is waited for.
    public func update(_ interest: EventLoop.Interest) {
        loop.update(token, descriptor, interest)
    }

    /// Ends the watch. Called on the loop's thread, the handler is not called again; on another, it may be running.
    /// Repeated calls are harmless.
    public func cancel() {
        loop.cancel(token, descriptor)
    }
}
