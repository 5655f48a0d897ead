// SPDX-License-Identifier: Apache-2.0

/// What two neighbouring symbols become, and how soon.
protocol MergeRule {
    /// Ranks are below this.
    var rankCount: Int { get }

    /// The smaller the rank, the sooner; `nil` when they stay apart. `bytes[range]` is what both say together; a symbol
    /// that is no token is negative.
    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)?
}

/// Pairs of tokens and what they become, in the order of a list: open addressing, as most lookups find nothing.
struct MergeTable: MergeRule, Sendable {
    private struct Entry {
        var pair: UInt64
        var rank: UInt32
        var result: Int32
    }

    /// No pair: tokens are not negative.
    private static let none = UInt64.max

    private var entries: [Entry]
    private let mask: Int
    private let key = HashKey.process
    let rankCount: Int

    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        entries = [Entry](repeating: Entry(pair: Self.none, rank: 0, result: 0), count: size)
        mask = size - 1
        rankCount = capacity
    }

    /// The first of equal pairs stays.
    mutating func insert(_ left: Int32, _ right: Int32, rank: Int, result: Int32) {
        let pair = Self.pair(left, right)
        let slot = slot(of: pair)
        if entries[slot].pair == Self.none { entries[slot] = Entry(pair: pair, rank: UInt32(rank), result: result) }
    }

    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)? {
        let entry = entries[slot(of: Self.pair(left, right))]
        return entry.pair == Self.none ? nil : (entry.rank, entry.result)
    }

    private static func pair(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private func slot(of pair: UInt64) -> Int {
        var slot = Int(truncatingIfNeeded: key.hash(of: pair)) & mask
        while entries[slot].pair != pair, entries[slot].pair != Self.none { slot = (slot + 1) & mask }
        return slot
    }
}

/// SentencePiece's rule: whatever two neighbours say together may become one if there is such a token, that of the
/// highest score first.
struct ScoreRule: MergeRule {
    let vocabulary: ByteStrings
    let index: ByteStringIndex
    /// By token: the higher the score, the smaller.
    let ranks: [UInt32]

    var rankCount: Int { ranks.count }

    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)? {
        guard let token = index.find(bytes, range, in: vocabulary) else { return nil }
        return (ranks[Int(token)], token)
    }

    /// The place of each score among all, the highest first; equal ones share it. Not for NaN.
    static func ranks(of scores: [Float]) -> [UInt32] {
        let order = scores.indices.sorted { scores[$0] > scores[$1] }
        var ranks = [UInt32](repeating: 0, count: scores.count)
        var rank: UInt32 = 0
        for (place, index) in order.enumerated() {
            if place > 0, scores[index] < scores[order[place - 1]] { rank += 1 }
            ranks[index] = rank
        }
        return ranks
    }
}
