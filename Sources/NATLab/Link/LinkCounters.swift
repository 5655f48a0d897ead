// SPDX-License-Identifier: Apache-2.0

/// What became of the packets of a link.
///
/// `offered` packets either were dropped before the wire (`overflowed`, `oversized`), or were sent: of these `lost` never
/// arrive, and all others do, `duplicated` of them twice.
public struct LinkCounters: Hashable, Sendable {
    /// Packets that came in.
    public var offered = 0
    /// Their bytes.
    public var offeredBytes = 0
    /// Packets for which the queue had no room.
    public var overflowed = 0
    /// Packets longer than the MTU.
    public var oversized = 0
    /// Packets that the wire lost.
    public var lost = 0
    /// Packets that got a copy.
    public var duplicated = 0
    /// Packets that were held back so that others overtake them.
    public var reordered = 0
    /// Packets taken out at the other end, copies included.
    public var delivered = 0
    /// Their bytes.
    public var deliveredBytes = 0
    /// The longest that a packet had to wait for those before it.
    public var longestWait = Duration.zero

    /// Nothing happened yet.
    public init() {}

    /// The share of the offered packets that got no further than the link, for whatever reason.
    public var lossShare: Double {
        offered == 0 ? 0 : Double(overflowed + oversized + lost) / Double(offered)
    }

    /// What happened since `earlier`; the longest wait is that of all the time.
    public static func - (later: LinkCounters, earlier: LinkCounters) -> LinkCounters {
        var difference = later
        for count: WritableKeyPath<LinkCounters, Int> in [
            \.offered, \.offeredBytes, \.overflowed, \.oversized, \.lost, \.duplicated, \.reordered, \.delivered,
            \.deliveredBytes,
        ] {
            difference[keyPath: count] -= earlier[keyPath: count]
        }
        return difference
    }
}
