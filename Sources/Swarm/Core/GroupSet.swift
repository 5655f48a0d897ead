// SPDX-License-Identifier: Apache-2.0

/// A set of small numbers (groups of a shard, shards of a model) as bits.
struct GroupSet: Hashable, Sendable {
    private var words: [UInt64]
    /// Numbers below this can be members.
    let capacity: Int
    /// How many members there are.
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        words = Array(repeating: 0, count: (capacity + 63) / 64)
    }

    /// The members of a bitfield, most significant bit first; bits past `capacity` are left out, missing ones are 0.
    init(bitfield: [UInt8], capacity: Int) {
        self.init(capacity: capacity)
        for (index, byte) in bitfield.enumerated() where byte != 0 {
            for bit in 0..<8 where byte & (0x80 >> UInt8(bit)) != 0 { insert(index * 8 + bit) }
        }
    }

    /// The set as a bitfield, most significant bit first.
    var bitfield: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: (capacity + 7) / 8)
        for member in self { bytes[member >> 3] |= 0x80 >> UInt8(member & 7) }
        return bytes
    }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count == capacity }

    func contains(_ member: Int) -> Bool {
        member >= 0 && member < capacity && words[member >> 6] >> UInt64(member & 63) & 1 != 0
    }

    func contains(_ range: Range<Int>) -> Bool { range.allSatisfy { contains($0) } }

    /// Adds a number, unless it is past the capacity. Whether it is new.
    @discardableResult
    mutating func insert(_ member: Int) -> Bool {
        guard member >= 0, member < capacity, !contains(member) else { return false }
        words[member >> 6] |= 1 << UInt64(member & 63)
        count += 1
        return true
    }

    @discardableResult
    mutating func remove(_ member: Int) -> Bool {
        guard contains(member) else { return false }
        words[member >> 6] &= ~(1 << UInt64(member & 63))
        count -= 1
        return true
    }

    mutating func formUnion(_ range: Range<Int>) {
        for member in range.clamped(to: 0..<capacity) { insert(member) }
    }

    /// The members as runs in order.
    var ranges: [Range<Int>] {
        var ranges: [Range<Int>] = []
        for member in self {
            if let last = ranges.last, last.upperBound == member {
                ranges[ranges.count - 1] = last.lowerBound..<member + 1
            } else {
                ranges.append(member..<member + 1)
            }
        }
        return ranges
    }
}

extension GroupSet: Sequence {
    func makeIterator() -> AnyIterator<Int> {
        var word = 0
        var rest = words.first ?? 0
        return AnyIterator {
            while rest == 0 {
                word += 1
                guard word < words.count else { return nil }
                rest = words[word]
            }
            defer { rest &= rest - 1 }
            return word * 64 + rest.trailingZeroBitCount
        }
    }
}
