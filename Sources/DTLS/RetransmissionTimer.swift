// SPDX-License-Identifier: Apache-2.0

private import COpenSSL
internal import Wire

/// The handshake's retransmission timer under the caller's clock.
///
/// OpenSSL arms its timer with the system's clock. It is told an interval so long that it never passes; when *our*
/// deadline has passed, the timer is moved into the past and the library asked to look. Before OpenSSL 3.2 the pointer
/// that a BIO gets with `BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT` is the timer itself, which makes that possible. Later
/// versions hand out a copy: there OpenSSL gets the true interval and counts it by the system's clock.
struct RetransmissionTimer {
    /// The first interval of a flight.
    var initialInterval: Duration
    /// The interval in force.
    private var interval: Duration
    /// When to call ``fire(_:)``, `nil` while nothing waits for an answer.
    private(set) var deadline: Timestamp?
    /// OpenSSL's own timer, inside the `SSL`.
    private var libraryTimer: UnsafeMutableRawPointer?
    private let isWritable: Bool

    /// RFC 6298 §2.5 by way of RFC 9147 §5.8.2: the interval doubles up to 60 s.
    static let longestInterval = Duration.seconds(60)

    init(initialInterval: Duration) {
        self.initialInterval = initialInterval
        interval = initialInterval
        isWritable = shim_dtls_timer_is_writable() == 1
    }

    /// Tells OpenSSL to ask this timer for intervals.
    static func install(on ssl: OpaquePointer) {
        DTLS_set_timer_cb(ssl) { ssl, previous in
            guard let port = DatagramPort.of(ssl) else { return 1_000_000 }
            return port.pointee.timer.nextInterval(isFirst: previous == 0)
        }
    }

    /// The interval for OpenSSL in microseconds.
    private mutating func nextInterval(isFirst: Bool) -> UInt32 {
        interval = isFirst ? initialInterval : min(interval * 2, Self.longestInterval)
        // 66 minutes: longer than twelve tries can last before the library gives up.
        return isWritable ? 4_000_000_000 : UInt32(clamping: interval.nanoseconds / 1000)
    }

    /// OpenSSL has started, moved or stopped its timer.
    mutating func rescheduled(_ timer: UnsafeMutableRawPointer, now: Timestamp) {
        libraryTimer = timer
        deadline = shim_timer_is_stopped(timer) == 1 ? nil : now + interval
    }

    /// Repeats the flight of a session whose deadline has passed, once. False when it has been repeated so often that
    /// OpenSSL gives up. To be called with the port that the session's BIO stands on.
    static func fire(_ port: UnsafeMutablePointer<DatagramPort>, ssl: OpaquePointer) -> Bool {
        if port.pointee.timer.isWritable, let timer = port.pointee.timer.libraryTimer {
            shim_timer_expire(timer)
        }
        return shim_dtls_handle_timeout(ssl) >= 0
    }
}
