// SPDX-License-Identifier: Apache-2.0

/// Which characters stand next to each other in some token, or in few cases do not: SentencePiece has no pre-tokenizer,
/// but between other characters nothing can ever merge, and what lies between such places can be merged for itself.
struct Neighbours: Sendable {
    private var bits: [UInt64]
    private let mask: UInt64
    private let key = HashKey.process

    /// The characters of all pieces that text can become by merging.
    init(_ pieces: ByteStrings, _ kinds: [TokenKind]) {
        // Tokens have some five characters, and few pairs of them are new.
        var size: UInt64 = 1024
        while size < UInt64(pieces.count) * 16 { size *= 2 }
        bits = [UInt64](repeating: 0, count: Int(size / 64))
        mask = size - 1
        for id in 0..<pieces.count where kinds[id] == .normal || kinds[id] == .userDefined {
            let range = pieces.range(id)
            var start = range.lowerBound
            var next = Self.end(of: start, in: pieces.bytes, range.upperBound)
            while next < range.upperBound {
                let after = Self.end(of: next, in: pieces.bytes, range.upperBound)
                let bit = bit(pieces.bytes, start..<next, next..<after)
                bits[Int(bit >> 6)] |= 1 << (bit & 63)
                (start, next) = (next, after)
            }
        }
    }

    /// Whether a token may hold both characters next to each other.
    func mayJoin(_ bytes: [UInt8], _ left: Range<Int>, _ right: Range<Int>) -> Bool {
        let bit = bit(bytes, left, right)
        return bits[Int(bit >> 6)] >> (bit & 63) & 1 == 1
    }

    /// Where the character that begins at `start` ends.
    static func end(of start: Int, in bytes: [UInt8], _ limit: Int) -> Int {
        var end = start + 1
        while end < limit, bytes[end] & 0xC0 == 0x80 { end += 1 }
        return end
    }

    private func bit(_ bytes: [UInt8], _ left: Range<Int>, _ right: Range<Int>) -> UInt64 {
        var number: UInt64 = 0
        // Characters of valid text have four bytes at most; of others only a part counts, on both sides alike.
        for index in left.suffix(4) { number = number << 8 | UInt64(bytes[index]) }
        for index in right.prefix(4) { number = number << 8 | UInt64(bytes[index]) }
        return key.hash(of: number) & mask
    }
}
