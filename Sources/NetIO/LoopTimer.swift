// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Something that a loop does at a time. It can be armed, moved and cancelled from any thread and as often as wanted;
/// both cost a few dozen nanoseconds, so a peer keeps one timer and arms it after every packet.
///
/// Called on the loop's thread, ``cancel()`` and ``arm(at:)`` hold for certain: the old deadline will not fire. Called on
/// another, the work may be running already.
public final class LoopTimer: @unchecked Sendable {
    private let loop: EventLoop
    let work: @Sendable () -> Void

    // The loop's lock guards these.
    var deadline = Timestamp.zero
    var sequence: UInt64 = 0
    /// Where the timer stands in the loop's heap, -1 while it is not armed.
    var place = -1

    init(loop: EventLoop, work: @escaping @Sendable () -> Void) {
        self.loop = loop
        self.work = work
    }

    /// Has the work done at `deadline` (at once where that is past) and no longer at the time set before; `nil` cancels.
    /// An armed timer is kept by its loop.
    public func arm(at deadline: Timestamp?) {
        loop.set(self, deadline)
    }

    /// Forgets the deadline.
    public func cancel() {
        loop.set(self, nil)
    }
}
