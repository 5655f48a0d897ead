// SPDX-License-Identifier: Apache-2.0

/// A point in time on whatever clock drives a protocol core: nanoseconds since an origin that the driver chose.
///
/// Cores never read a clock; they are told the time. `ContinuousClock.Instant` would not do, because it cannot be made
/// from nothing and so cannot be simulated.
public struct Timestamp: Hashable, Comparable, Sendable {
    /// Nanoseconds since the driver's origin.
    public var nanoseconds: Int64

    /// A time so many nanoseconds after the origin.
    @inlinable
    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    /// The driver's origin.
    public static let zero = Timestamp(nanoseconds: 0)

    /// Later than every deadline that is ever set.
    public static let distantFuture = Timestamp(nanoseconds: .max)

    @inlinable
    public static func < (lhs: Timestamp, rhs: Timestamp) -> Bool { lhs.nanoseconds < rhs.nanoseconds }

    /// The time that lies `duration` later, `distantFuture` where that is out of range.
    @inlinable
    public static func + (time: Timestamp, duration: Duration) -> Timestamp {
        let (sum, overflow) = time.nanoseconds.addingReportingOverflow(duration.nanoseconds)
        return Timestamp(nanoseconds: overflow ? .max : sum)
    }

    @inlinable
    public static func += (time: inout Timestamp, duration: Duration) { time = time + duration }

    /// The time from `rhs` to `lhs`.
    @inlinable
    public static func - (lhs: Timestamp, rhs: Timestamp) -> Duration {
        .nanoseconds(lhs.nanoseconds.subtractingReportingOverflow(rhs.nanoseconds).partialValue)
    }
}

extension Duration {
    /// The duration in whole nanoseconds, clamped to what an `Int64` holds.
    @inlinable
    public var nanoseconds: Int64 {
        let (seconds, attoseconds) = components
        let (whole, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow else { return seconds < 0 ? .min : .max }
        let (sum, carry) = whole.addingReportingOverflow(attoseconds / 1_000_000_000)
        return carry ? (seconds < 0 ? .min : .max) : sum
    }

    /// The duration in seconds.
    public var seconds: Double {
        Double(components.seconds) + Double(components.attoseconds) * 1e-18
    }
}

extension Timestamp: CustomStringConvertible {
    /// Seconds since the origin, to the microsecond.
    public var description: String {
        let microseconds = nanoseconds / 1000
        let fraction = String(microseconds.magnitude % 1_000_000)
        let sign = microseconds < 0 ? "-" : ""
        return "\(sign)\(microseconds.magnitude / 1_000_000)."
            + String(repeating: "0", count: 6 - fraction.count) + fraction + "s"
    }
}
