// SPDX-License-Identifier: Apache-2.0
import Wire

/// How long something took, very often: counts in steps of 50 µs up to 4 s, so that memory stays as it is.
public struct DelayHistogram: Sendable {
    private static let step: Int64 = 50_000
    private var counts: [UInt32] = Array(repeating: 0, count: 80_000)
    private var total: Int64 = 0
    /// How many durations were noted.
    public private(set) var count = 0
    /// The longest.
    public private(set) var longest = Duration.zero

    /// Nothing was noted yet.
    public init() {}

    /// Notes a duration; negative ones count as none.
    public mutating func record(_ duration: Duration) {
        let nanoseconds = max(0, duration.nanoseconds)
        counts[min(counts.count - 1, Int(nanoseconds / DelayHistogram.step))] &+= 1
        total &+= nanoseconds
        count += 1
        longest = max(longest, duration)
    }

    /// The mean, zero where nothing was noted.
    public var mean: Duration { count == 0 ? .zero : .nanoseconds(total / Int64(count)) }

    /// The duration below which a share of all lies, to the step.
    public func quantile(_ share: Double) -> Duration {
        let wanted = Int((share * Double(count)).rounded(.up))
        var seen = 0
        for (index, number) in counts.enumerated() where number > 0 {
            seen += Int(number)
            if seen >= wanted { return min(longest, .nanoseconds((Int64(index) + 1) * DelayHistogram.step)) }
        }
        return .zero
    }
}
