// SPDX-License-Identifier: Apache-2.0
import Wire

/// The sending end of one flow: SCTP packets, each behind its length in two bytes, as a stream of bytes that is kept
/// until the peer has it. They are not copied before they are put into packets.
///
///     acknowledged │ in flight, lost (to be sent again), acknowledged out of order │ not sent yet │
///                 base                                                          next          end
struct SendStream: ~Copyable, Sendable {
    /// The most that is held: far above what the window of an association lets out.
    static let limit = 32 << 20

    /// Bytes as they came, in order. None is empty; from `head` on they are still held.
    private var segments: [Segment?] = []
    private var head = 0
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

    /// Takes packets, each behind its length in two bytes, and leaves `packets` empty. False where there is no room: they
    /// are dropped, which the association above takes for a loss.
    mutating func append(_ packets: inout PacketBuffer) -> Bool {
        let count = packets.byteCount
        guard count > 0 else { return true }
        guard held + count <= Self.limit else {
            packets.release()
            return false
        }
        segments.append(Segment(start: end, &packets))
        end += UInt64(count)
        return true
    }

    /// What goes into the next packet of at most `room` bytes: what was lost first.
    mutating func take(_ room: Int) -> Range<UInt64>? {
        if let range = lost.takeFirst(UInt64(room)) { return range }
        guard next < end else { return nil }
        let range = next..<min(end, next + UInt64(room))
        next = range.upperBound
        return range
    }

    /// Copies bytes of the stream.
    func read(_ range: Range<UInt64>, into destination: UnsafeMutableRawBufferPointer) {
        var index = segment(at: range.lowerBound)
        var offset = range.lowerBound
        while offset < range.upperBound, index < segments.count {
            guard let segment = segments[index] else { return }
            let count = Int(min(range.upperBound, segment.end) - offset)
            let place = Int(offset - range.lowerBound)
            segment.read(offset, into: UnsafeMutableRawBufferPointer(rebasing: destination[place..<place + count]))
            offset += UInt64(count)
            index += 1
        }
    }

    /// The index of the segment that holds a byte.
    private func segment(at offset: UInt64) -> Int {
        var (low, high) = (head, segments.count)
        while low < high {
            let middle = (low + high) / 2
            if segments[middle]?.end ?? 0 <= offset { low = middle + 1 } else { high = middle }
        }
        return low
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
        forget()
    }

    /// These bytes did not arrive. What was acknowledged by another packet meanwhile stays so.
    mutating func markLost(_ range: Range<UInt64>) {
        let range = max(range.lowerBound, base)..<max(range.upperBound, base)
        guard !range.isEmpty else { return }
        lost.insert(range)
        guard !acknowledged.isEmpty else { return }
        for known in acknowledged.overlapping(range) { lost.remove(known) }
    }

    /// Lets go of the segments that the peer has.
    private mutating func forget() {
        while head < segments.count, let segment = segments[head], segment.end <= base {
            segments[head] = nil
            head += 1
        }
        guard head == segments.count || head >= 64 else { return }
        segments.removeFirst(head)
        head = 0
    }

    /// The oldest bytes in flight, for a probe; they count as lost.
    mutating func markOldestLost(_ count: Int) {
        guard base < next else { return }
        markLost(base..<min(next, base + UInt64(count)))
    }
}
