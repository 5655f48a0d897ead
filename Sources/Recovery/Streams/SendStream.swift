// SPDX-License-Identifier: Apache-2.0

/// The sending end of one flow: SCTP packets, each behind its length in two bytes, as a stream of bytes that is kept
/// until the peer has it.
///
///     acknowledged │ in flight, lost (to be sent again), acknowledged out of order │ not sent yet │
///                 base                                                          next          end
struct SendStream: ~Copyable, Sendable {
    /// The most that is held: far above what the window of an association lets out.
    static let limit = 32 << 20

    private var ring = ByteRing()
    /// The first byte that the peer may not have.
    private(set) var base: UInt64 = 0
    /// The first byte that was never sent.
    private(set) var next: UInt64 = 0
    /// Behind the last byte.
    private(set) var end: UInt64 = 0
    /// Acknowledged beyond `base`.
    private var acknowledged = RangeSet()
    /// To be sent again.
    private var lost = RangeSet()

    init() {}

    /// Whether there is something to send.
    var hasData: Bool { !lost.isEmpty || next < end }
    /// Bytes that were never sent.
    var unsent: Int { Int(end - next) }
    /// Bytes that are held.
    var held: Int { Int(end - base) }

    /// Appends one packet. False where there is no room, which the association above takes for a loss.
    mutating func append(_ packet: UnsafeRawBufferPointer) -> Bool {
        guard packet.count <= 0xFFFF, held + packet.count + 2 <= Self.limit else { return false }
        let after = end + UInt64(packet.count + 2)
        ring.reserve(base..<after, holding: base..<end)
        var length = UInt16(packet.count).bigEndian
        withUnsafeBytes(of: &length) { ring.write($0, at: end) }
        ring.write(packet, at: end + 2)
        end = after
        return true
    }

    /// What goes into the next packet of at most `room` bytes: what was lost first.
    mutating func take(_ room: Int) -> (range: Range<UInt64>, isRetransmission: Bool)? {
        if let range = lost.takeFirst(UInt64(room)) { return (range, true) }
        guard next < end else { return nil }
        let range = next..<min(end, next + UInt64(room))
        next = range.upperBound
        return (range, false)
    }

    /// Copies bytes of the stream.
    func read(_ range: Range<UInt64>, into destination: UnsafeMutableRawBufferPointer) {
        ring.read(range, into: destination)
    }

    /// The peer has these bytes.
    mutating func acknowledge(_ range: Range<UInt64>) {
        guard range.upperBound > base else { return }
        if !lost.isEmpty { lost.remove(range) }
        guard range.lowerBound <= base else { return acknowledged.insert(range) }
        base = range.upperBound
        while let first = acknowledged.ranges.first, first.lowerBound <= base {
            base = max(base, first.upperBound)
            _ = acknowledged.removeFirst()
        }
    }

    /// These bytes did not arrive. What was acknowledged by another packet meanwhile stays so.
    mutating func markLost(_ range: Range<UInt64>) {
        let range = max(range.lowerBound, base)..<max(range.upperBound, base)
        guard !range.isEmpty else { return }
        lost.insert(range)
        guard !acknowledged.isEmpty else { return }
        for known in acknowledged.ranges where known.lowerBound < range.upperBound {
            if known.upperBound > range.lowerBound { lost.remove(known) }
        }
    }

    /// Gives back the memory of a window that is empty.
    mutating func trim() {
        if base == end { ring.shrink() }
    }

    /// The oldest bytes in flight, for a probe; they count as lost.
    mutating func markOldestLost(_ count: Int) {
        guard base < next else { return }
        markLost(base..<min(next, base + UInt64(count)))
    }
}
