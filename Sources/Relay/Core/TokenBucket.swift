// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// An allowance that grows with time up to a bound.
struct TokenBucket: Sendable {
    /// What comes in a second.
    let rate: Double
    /// The most that is kept.
    let burst: Double
    private var tokens: Double
    private var time: Timestamp

    /// A full bucket.
    init(rate: Double, burst: Double, now: Timestamp) {
        self.rate = rate
        self.burst = burst
        tokens = burst
        time = now
    }

    /// Takes so many tokens where there are as many.
    mutating func take(_ count: Double, now: Timestamp) -> Bool {
        refill(now)
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }

    /// Gives tokens back that were taken.
    mutating func give(_ count: Double) {
        tokens = min(burst, tokens + count)
    }

    private mutating func refill(_ now: Timestamp) {
        guard now > time else { return }
        tokens = min(burst, tokens + (now - time).seconds * rate)
        time = now
    }
}
