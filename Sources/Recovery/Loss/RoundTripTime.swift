// SPDX-License-Identifier: Apache-2.0

/// The round-trip time as RFC 9002 §5 estimates it, in nanoseconds.
struct RoundTripTime {
    /// The timer's granularity (RFC 9002 §6.1.2).
    static let granularity: Int64 = 1_000_000

    /// The last sample.
    private(set) var latest: Int64
    /// Smoothed over eight samples.
    private(set) var smoothed: Int64
    /// The mean deviation.
    private(set) var variation: Int64
    /// The smallest since the start.
    private(set) var least: Int64
    private(set) var hasSample = false

    /// An estimate to begin with; RFC 9002 §6.2.2 has 333 ms where nothing is known.
    init(initial: Int64 = 333_000_000) {
        latest = initial
        smoothed = initial
        variation = initial / 2
        least = initial
    }

    /// Takes a sample; `ackDelay` is how long the peer says that it waited.
    mutating func update(sample: Int64, ackDelay: Int64) {
        latest = max(1, sample)
        guard hasSample else {
            hasSample = true
            least = latest
            smoothed = latest
            variation = latest / 2
            return
        }
        least = min(least, latest)
        let delay = min(ackDelay, ReceivedNumbers.maxAckDelay)
        let adjusted = latest - delay >= least ? latest - delay : latest
        variation = (3 * variation + abs(smoothed - adjusted)) / 4
        smoothed = (7 * smoothed + adjusted) / 8
    }

    /// After how long without an answer a probe is sent (RFC 9002 §6.2.1).
    var probeTimeout: Int64 { smoothed + max(4 * variation, Self.granularity) + ReceivedNumbers.maxAckDelay }

    /// After how long behind a later acknowledgement a packet counts as lost (RFC 9002 §6.1.2).
    var lossDelay: Int64 { max(max(smoothed, latest) * 9 / 8, Self.granularity) }
}
