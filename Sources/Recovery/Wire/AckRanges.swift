// SPDX-License-Identifier: Apache-2.0
import Wire

/// An ACK frame that was read: ranges of packet numbers, highest first. The owner keeps one, so that reading allocates
/// nothing.
struct AckRanges {
    /// As many ranges as are written and read.
    static let limit = 32

    /// The largest number acknowledged.
    private(set) var largest: UInt64 = 0
    /// How long the peer waited with it, in nanoseconds.
    private(set) var delay: Int64 = 0
    /// Highest first, none empty, none touching.
    private(set) var ranges: [Range<UInt64>] = []

    init() {
        ranges.reserveCapacity(Self.limit)
    }

    /// Reads what follows the frame's type. False, or an error, for what does not add up.
    mutating func read(from reader: inout ByteReader, expected: UInt64) throws(WireError) -> Bool {
        ranges.removeAll(keepingCapacity: true)
        let count = Int(try reader.readUInt8())
        guard count <= Self.limit else { return false }
        largest = RecoveryHeader.expand(try reader.readUInt32(), near: expected)
        delay = Int64(try reader.readUInt32()) * 1000
        var end = largest &+ 1
        for index in 0..<count {
            if index > 0 {
                let gap = UInt64(try reader.readUInt32())
                guard gap > 0, gap < end else { return false }
                end -= gap
            }
            let length = UInt64(try reader.readUInt32())
            guard length > 0, length <= end else { return false }
            ranges.append(end - length..<end)
            end -= length
        }
        return count > 0
    }
}
