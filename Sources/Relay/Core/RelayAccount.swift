// SPDX-License-Identifier: Apache-2.0
internal import Synchronization
internal import Wire

/// What a user, or a client's address, has of a relay. The cores of one server share it.
final class RelayAccount: Sendable {
    /// Whether bandwidth is counted.
    let isLimited: Bool
    private let bucket: Mutex<TokenBucket>
    /// How many allocations it has; the ledger's lock guards it.
    let allocations = Atomic<Int>(0)

    /// An account that may relay so much.
    init(bytesPerSecond: Int?, now: Timestamp) {
        isLimited = bytesPerSecond != nil
        let rate = Double(bytesPerSecond ?? 0)
        // A quarter of a second's worth at once, or a few large datagrams.
        bucket = Mutex(TokenBucket(rate: rate, burst: max(rate / 4, 65_536), now: now))
    }

    /// Whether so many bytes may be relayed now.
    func take(_ bytes: Int, now: Timestamp) -> Bool {
        !isLimited || bucket.withLock { $0.take(Double(bytes), now: now) }
    }
}
