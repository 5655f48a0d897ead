// SPDX-License-Identifier: Apache-2.0

import Wire

/// A limit in bytes a second. It may be overdrawn by one use and then has to recover.
struct TokenBucket {
    /// Bytes a second, `nil` for no limit.
    let rate: Int?
    private let burst: Double
    private var tokens: Double
    private var updated: Timestamp

    init(rate: Int?, now: Timestamp) {
        self.rate = rate
        // A quarter of a second of the rate, at least one group.
        burst = max(Double(rate ?? 0) / 4, Double(SwarmCatalog.groupSize))
        tokens = burst
        updated = now
    }

    mutating func refill(now: Timestamp) {
        guard let rate, now > updated else { return }
        tokens = min(burst, tokens + (now - updated).seconds * Double(rate))
        updated = now
    }

    var isOpen: Bool { rate == nil || tokens > 0 }

    /// Uses up; negative gives back.
    mutating func take(_ bytes: Int) {
        guard rate != nil else { return }
        tokens -= Double(bytes)
    }

    /// When it opens again, `nil` while it is open.
    var opens: Timestamp? {
        guard let rate, tokens <= 0 else { return nil }
        return updated + .nanoseconds(Int64(min(1e18, (1 - tokens) / Double(max(rate, 1)) * 1e9)) + 1)
    }
}

/// Bytes a second over the last few seconds.
struct RateMeter {
    private(set) var bytesPerSecond = 0.0
    private(set) var total = 0
    /// Whether a window was closed.
    private(set) var isMeasured = false
    private var windowStart: Timestamp
    private var windowBytes = 0

    init(now: Timestamp) { windowStart = now }

    mutating func add(_ bytes: Int) {
        total += bytes
        windowBytes += bytes
    }

    /// Closes a window of at least 200 ms and folds it into the average.
    mutating func update(now: Timestamp, weight: Double = 0.4) {
        let seconds = (now - windowStart).seconds
        guard seconds >= 0.2 else { return }
        let rate = Double(windowBytes) / seconds
        isMeasured = true
        bytesPerSecond = bytesPerSecond == 0 ? rate : bytesPerSecond + weight * (rate - bytesPerSecond)
        if bytesPerSecond < 1 { bytesPerSecond = 0 }
        windowStart = now
        windowBytes = 0
    }

    /// Begins a window anew: what was not asked for does not count as slow.
    mutating func pause(now: Timestamp) {
        windowStart = now
        windowBytes = 0
    }
}

/// At most so many sends in any second.
struct SendBudget {
    // The protocol allows 1,000; the network may press what was sent apart together, so a few are left over.
    static let perSecond = 990
    private var times: [Timestamp] = []
    private var oldest = 0

    /// Whether one may be sent now; it then counts.
    mutating func take(now: Timestamp) -> Bool {
        if times.count < SendBudget.perSecond {
            times.append(now)
            return true
        }
        guard now - times[oldest] >= .seconds(1) else { return false }
        times[oldest] = now
        oldest = (oldest + 1) % SendBudget.perSecond
        return true
    }

    /// When one may be sent, a time in the past where it may be now.
    var opens: Timestamp { times.count < SendBudget.perSecond ? .zero : times[oldest] + .seconds(1) }
}

/// How many control messages came in the last ten seconds. Never counts more than came in ten seconds.
struct ReceiveBudget {
    // A receiver faults above 20,000 in 10 s.
    static let limit = 20_000
    private var buckets = [Int](repeating: 0, count: 100)
    private var current: Int64 = 0
    private var sum = 0

    /// Counts one; whether it is still within the limit.
    mutating func count(now: Timestamp) -> Bool {
        let slot = now.nanoseconds / 100_000_000
        if slot - current >= 100 {
            for index in buckets.indices { buckets[index] = 0 }
            sum = 0
            current = slot
        }
        while current < slot {
            current += 1
            let index = Int((current % 100).magnitude)
            sum -= buckets[index]
            buckets[index] = 0
        }
        buckets[Int((slot % 100).magnitude)] += 1
        sum += 1
        return sum <= ReceiveBudget.limit
    }
}
