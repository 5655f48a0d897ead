// SPDX-License-Identifier: Apache-2.0

/// Pairs of tokens and what they become, in the order of a list.
struct MergeTable: MergeRule, Sendable {
    /// Both tokens to rank and result.
    private var pairs: [UInt64: UInt64] = [:]

    init(capacity: Int) { pairs.reserveCapacity(capacity) }

    /// The first of equal pairs stays.
    mutating func insert(_ left: Int32, _ right: Int32, rank: UInt32, result: Int32) {
        let key = UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
        if pairs[key] == nil { pairs[key] = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: result)) }
    }

    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)? {
        guard left >= 0, right >= 0 else { return nil }
        let found = pairs[UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))]
        guard let found else { return nil }
        return (UInt32(found >> 32), Int32(bitPattern: UInt32(truncatingIfNeeded: found)))
    }
}

/// SentencePiece's rule: whatever two neighbours say together may become one if there is such a token, that of the
/// highest score first.
struct ScoreRule: MergeRule {
    let vocabulary: ByteStrings
    let index: ByteStringIndex
    /// By token: the higher the score, the smaller.
    let ranks: [UInt32]

    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)? {
        guard let token = index.find(bytes, range, in: vocabulary) else { return nil }
        return (ranks[Int(token)], token)
    }

    /// Orders a score as a number: the highest becomes the smallest. Not for NaN.
    static func rank(of score: Float) -> UInt32 {
        let bits = (score == 0 ? 0 : score).bitPattern
        return ~(bits >> 31 == 0 ? bits | 0x8000_0000 : ~bits)
    }
}
