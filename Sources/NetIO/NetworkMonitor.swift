// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
import Wire

/// Tells when addresses or interfaces of this host's network come or go (rtnetlink(7)).
///
/// What happened is not told: several messages of the kernel make one change, so that whoever is told looks at
/// ``NetworkInterface/all(includingTemporary:)`` again.
public final class NetworkMonitor: Sendable {
    private struct State {
        var registration: Registration?
        var timer: LoopTimer?
    }

    private let descriptor: Int32
    private let loop: EventLoop
    private let state = Mutex(State())

    /// The wait for a change to be whole: an interface that comes up makes several messages within milliseconds.
    private static let settling = Duration.milliseconds(50)

    /// Watches the network that the calling thread is in. The handler is called on the loop's thread.
    public init(on loop: EventLoop, onChange: @escaping @Sendable () -> Void) throws(NetIOError) {
        descriptor = cnetio_address_monitor()
        guard descriptor >= 0 else { throw .last("rtnetlink") }
        self.loop = loop
        let timer = loop.makeTimer(onChange)
        let registration: Registration
        do throws(NetIOError) {
            registration = try loop.register(descriptor, .readable) { [descriptor, loop] _ in
                var buffer = (UInt64(0), UInt64(0))
                // What does not fit is dropped, as is all of it. When the kernel had no room (ENOBUFS) there was a
                // change as well.
                while recv(descriptor, &buffer, 16, 0) > 0 || errno == ENOBUFS || errno == EINTR {}
                timer.arm(at: loop.now + NetworkMonitor.settling)
            }
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        state.withLock { state in
            state.registration = registration
            state.timer = timer
        }
    }

    deinit { close() }

    /// Ends the watch. Repeated calls are harmless.
    public func close() {
        let (registration, timer): (Registration?, LoopTimer?) = state.withLock { state in
            defer { state = State() }
            return (state.registration, state.timer)
        }
        timer?.cancel()
        guard let registration else { return }
        registration.cancel()
        // The handler may be running.
        let descriptor = descriptor
        if !loop.execute({ Glibc.close(descriptor) }) { Glibc.close(descriptor) }
    }
}
