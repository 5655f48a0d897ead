// SPDX-License-Identifier: Apache-2.0

/// Many short byte strings in one piece of memory, by number.
struct ByteStrings: Sendable {
    private(set) var bytes: [UInt8] = []
    private var ends: [Int] = []

    /// How many there are.
    var count: Int { ends.count }

    /// Where the string lies in `bytes`.
    func range(_ index: Int) -> Range<Int> { (index > 0 ? ends[index - 1] : 0)..<ends[index] }

    /// The string.
    subscript(index: Int) -> ArraySlice<UInt8> { bytes[range(index)] }

    /// Adds a string and gives its number.
    @discardableResult
    mutating func append(_ string: some Sequence<UInt8>) -> Int {
        bytes.append(contentsOf: string)
        ends.append(bytes.count)
        return ends.count - 1
    }

    mutating func reserve(count: Int, bytes size: Int) {
        ends.reserveCapacity(count)
        bytes.reserveCapacity(size)
    }
}

/// Finds byte strings by what they say: open addressing over a `ByteStrings`, which is passed to each call. The hash is
/// the standard library's keyed one, so that no vocabulary can be made to collide.
struct ByteStringIndex: Sendable {
    private var slots: [Int32]
    private let mask: Int

    /// An index with room for so many strings.
    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [Int32](repeating: -1, count: size)
        mask = size - 1
    }

    /// Adds the string `number` of `strings`. The first of equal strings stays.
    mutating func insert(_ number: Int, of strings: ByteStrings) {
        let range = strings.range(number)
        let slot = slot(of: strings.bytes, range, in: strings)
        if slots[slot] < 0 { slots[slot] = Int32(number) }
    }

    /// The number of the string that equals `bytes[range]`, `nil` if there is none.
    func find(_ bytes: [UInt8], _ range: Range<Int>, in strings: ByteStrings) -> Int32? {
        let found = slots[slot(of: bytes, range, in: strings)]
        return found < 0 ? nil : found
    }

    /// Where the string is, or would go. At least half of the slots are free, so that the walk ends.
    private func slot(of bytes: [UInt8], _ range: Range<Int>, in strings: ByteStrings) -> Int {
        var hasher = Hasher()
        bytes.withUnsafeBytes { hasher.combine(bytes: UnsafeRawBufferPointer(rebasing: $0[range])) }
        var slot = hasher.finalize() & mask
        while slots[slot] >= 0 {
            let candidate = strings.range(Int(slots[slot]))
            if candidate.count == range.count,
                (0..<range.count).allSatisfy({
                    strings.bytes[candidate.lowerBound + $0] == bytes[range.lowerBound + $0]
                })
            {
                return slot
            }
            slot = (slot + 1) & mask
        }
        return slot
    }
}
