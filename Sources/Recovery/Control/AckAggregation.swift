// SPDX-License-Identifier: Apache-2.0

/// How much more than the delivery rate explains comes acknowledged at once: radio links and busy hosts hold
/// acknowledgements back and release them together. What is in flight has to cover that, or the path runs dry.
struct AckAggregation {
    /// Over how many round trips the largest burst is kept, at least.
    private static let window: UInt64 = 5
    /// No burst counts for more than this many seconds of the delivery rate.
    private static let longest = 0.1

    private var epochBegan: Int64 = 0
    private var epochAcked = 0
    private var current = 0.0
    private var previous = 0.0
    private var turnedAt: UInt64 = 0

    /// The bytes to allow for.
    var extra: Int { Int(max(current, previous)) }

    /// Takes what an acknowledgement covers.
    mutating func update(acked: Int, rate: Double, round: UInt64, now: Int64) {
        guard rate > 0 else { return }
        if round >= turnedAt + Self.window {
            previous = current
            current = 0
            turnedAt = round
        }
        var expected = rate * Double(now - epochBegan) * 1e-9
        if Double(epochAcked) <= expected {
            epochAcked = 0
            epochBegan = now
            expected = 0
        }
        epochAcked += acked
        current = max(current, min(Double(epochAcked) - expected, rate * Self.longest))
    }
}
