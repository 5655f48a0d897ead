// SPDX-License-Identifier: Apache-2.0

/// The receiving end of one flow: puts bytes in order and hands out SCTP packets.
struct ReceiveStream: ~Copyable, @unchecked Sendable {
    /// How far ahead of what was handed out a peer may send.
    static let window = 16 << 20
    /// As many holes as are remembered; an honest peer has as many as packets are lost in a round trip.
    private static let rangeLimit = 4096

    private var ring = ByteRing()
    /// The first byte that was not handed out.
    private(set) var base: UInt64 = 0
    /// Behind the last byte that is there without a hole before it.
    private(set) var ready: UInt64 = 0
    /// What is there beyond.
    private var beyond = RangeSet()
    /// For a packet that lies around the end of the ring.
    private var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    init() {}

    deinit { scratch.deallocate() }

    /// Takes bytes at an offset. False where they cannot be kept, so that they must not be acknowledged.
    mutating func insert(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) -> Bool {
        let (after, overflow) = offset.addingReportingOverflow(UInt64(bytes.count))
        guard !overflow, after <= base + UInt64(Self.window) else { return false }
        guard after > ready else { return true }
        if offset > ready, beyond.count >= Self.rangeLimit { return false }
        let highest = max(after, beyond.ranges.last?.upperBound ?? ready)
        ring.reserve(base..<highest, holding: base..<max(ready, beyond.ranges.last?.upperBound ?? ready))
        let known = offset < ready ? Int(ready - offset) : 0
        ring.write(UnsafeRawBufferPointer(rebasing: bytes[known...]), at: offset + UInt64(known))
        guard offset <= ready else {
            beyond.insert(offset..<after)
            return true
        }
        ready = after
        while let first = beyond.ranges.first, first.lowerBound <= ready {
            ready = max(ready, first.upperBound)
            _ = beyond.removeFirst()
        }
        return true
    }

    /// Whether there is anything to hand out, be it part of a packet.
    var hasBytes: Bool { base < ready }

    /// Hands out the packets that are whole, in order.
    mutating func takePackets(_ body: (UnsafeRawBufferPointer) -> Void) {
        while ready - base >= 2 {
            var bigEndian: UInt16 = 0
            withUnsafeMutableBytes(of: &bigEndian) { ring.read(base..<base + 2, into: $0) }
            let length = UInt64(UInt16(bigEndian: bigEndian))
            guard ready - base >= 2 + length else { return }
            let range = base + 2..<base + 2 + length
            if length > 0 {
                let piece = ring.contiguous(range)
                if piece.count == Int(length) {
                    body(UnsafeRawBufferPointer(piece))
                } else {
                    if scratch.isEmpty { scratch = .allocate(byteCount: 0x10000, alignment: 64) }
                    let whole = UnsafeMutableRawBufferPointer(rebasing: scratch[..<Int(length)])
                    ring.read(range, into: whole)
                    body(UnsafeRawBufferPointer(whole))
                }
            }
            base = range.upperBound
        }
    }

    /// Gives back the memory of a window that is empty.
    mutating func trim() {
        guard base == ready, beyond.isEmpty else { return }
        ring.shrink()
        scratch.deallocate()
        scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }
}
