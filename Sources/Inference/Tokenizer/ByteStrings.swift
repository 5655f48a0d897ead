// SPDX-License-Identifier: Apache-2.0

/// Many short byte strings in one piece of memory, by number.
struct ByteStrings: Sendable {
    private(set) var bytes: [UInt8] = []
    /// Where each ends. No file is so large that this would not do.
    private var ends: [UInt32] = []

    /// How many there are.
    var count: Int { ends.count }

    /// Where the string lies in `bytes`.
    func range(_ index: Int) -> Range<Int> { (index > 0 ? Int(ends[index - 1]) : 0)..<Int(ends[index]) }

    /// The string.
    subscript(index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    /// Adds a string and gives its number.
    @discardableResult
    mutating func append(_ string: some Collection<UInt8>) -> Int {
        bytes.append(contentsOf: string)
        ends.append(UInt32(bytes.count))
        return ends.count - 1
    }

    mutating func reserve(count: Int, bytes size: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(size)
    }
}

/// Finds byte strings by what they say: open addressing over a `ByteStrings`, which is passed to each call.
struct ByteStringIndex: Sendable {
    /// Number and half of the hash, which spares looking at most strings that are others; `.max` where nothing is.
    private var slots: [UInt64]
    private let mask: Int
    private let key = HashKey.process

    /// An index with room for so many strings.
    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [UInt64](repeating: .max, count: size)
        mask = size - 1
    }

    /// Adds the string `number` of `strings`. The first of equal strings stays.
    mutating func insert(_ number: Int, of strings: borrowing ByteStrings) {
        let (slot, entry) = slot(of: strings.bytes, strings.range(number), in: strings)
        if slots[slot] == .max { slots[slot] = entry | UInt64(number) }
    }

    /// The number of the string that equals `bytes[range]`, `nil` if there is none.
    func find(_ bytes: [UInt8], _ range: Range<Int>, in strings: borrowing ByteStrings) -> Int32? {
        let found = slots[slot(of: bytes, range, in: strings).slot]
        return found == .max ? nil : Int32(truncatingIfNeeded: found)
    }

    /// Where the string is, or would go, and the upper half of what is to stand there. At least half of the slots are
    /// free, so that the walk ends.
    private func slot(
        of bytes: [UInt8], _ range: Range<Int>, in strings: borrowing ByteStrings
    ) -> (slot: Int, entry: UInt64) {
        let hash = key.hash(of: bytes, range)
        let entry = hash & 0xFFFF_FFFF_0000_0000
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != .max {
            if (slots[slot] ^ entry) >> 32 == 0 {
                let candidate = strings.range(Int(UInt32(truncatingIfNeeded: slots[slot])))
                if candidate.count == range.count, strings.bytes.says(the: bytes, range, from: candidate.lowerBound) {
                    break
                }
            }
            slot = (slot + 1) & mask
        }
        return (slot, entry)
    }
}

extension [UInt8] {
    /// Whether the bytes from `start` on are those of `other[range]`.
    @inline(__always)
    func says(the other: [UInt8], _ range: Range<Int>, from start: Int) -> Bool {
        for offset in 0..<range.count where self[start + offset] != other[range.lowerBound + offset] { return false }
        return true
    }
}
