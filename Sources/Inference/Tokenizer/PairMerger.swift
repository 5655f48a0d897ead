// SPDX-License-Identifier: Apache-2.0

/// Merges symbols pair by pair: always the pair of the smallest rank, of equal ones the leftmost, until none is left.
///
/// Words are short: there the next pair is found by looking at all of them. A long run of text without a boundary takes
/// a queue. The memory is kept from word to word.
struct PairMerger {
    /// A symbol: what it says begins here and ends where the next begins.
    private struct Symbol {
        var start: Int32
        var token: Int32
        var next: Int32
        var previous: Int32
    }

    /// What a symbol and the next become, if they do.
    private struct Merge {
        /// `.max` if they stay apart.
        var rank: UInt32
        var token: Int32

        static let none = Merge(rank: .max, token: -1)
    }

    /// Up to so many symbols are looked through for each merge.
    private static let short = 32

    private var symbols: [Symbol] = []
    private var merges: [Merge] = []
    private var queue = RankQueue()
    /// Where the last symbol ends.
    private var end: Int32 = 0

    /// Forgets the last word.
    mutating func begin() { symbols.removeAll(keepingCapacity: true) }

    /// Adds a symbol that says the bytes from `start` on. Symbols come in order and leave no gap.
    mutating func append(_ token: Int32, start: Int) {
        let index = Int32(symbols.count)
        if index > 0 { symbols[Int(index) - 1].next = index }
        symbols.append(Symbol(start: Int32(start), token: token, next: -1, previous: index - 1))
    }

    /// Merges what can be merged; the symbols end at `end`.
    mutating func merge(_ bytes: [UInt8], end: Int, by rule: borrowing some MergeRule) {
        self.end = Int32(end)
        if symbols.count <= Self.short {
            mergeShort(bytes, by: rule)
        } else {
            mergeLong(bytes, by: rule)
        }
    }

    /// Calls `body` for each symbol that is left, in order.
    func forEach(_ body: (_ token: Int32, _ range: Range<Int>) -> Void) {
        var index = symbols.isEmpty ? -1 : 0
        while index >= 0 {
            body(symbols[index].token, Int(symbols[index].start)..<Int(endOf(index)))
            index = Int(symbols[index].next)
        }
    }

    private func endOf(_ index: Int) -> Int32 {
        let next = symbols[index].next
        return next < 0 ? end : symbols[Int(next)].start
    }

    /// Puts both symbols of a pair into the left one, and gives the index of the one that is gone.
    private mutating func join(_ left: Int, token: Int32) -> Int {
        let right = Int(symbols[left].next)
        let after = symbols[right].next
        symbols[left].token = token
        symbols[left].next = after
        symbols[right].next = -1
        if after >= 0 { symbols[Int(after)].previous = Int32(left) }
        return right
    }

    @inline(__always)
    private func merge(at left: Int, _ bytes: [UInt8], by rule: borrowing some MergeRule) -> Merge {
        let right = symbols[left].next
        guard right >= 0 else { return .none }
        let range = Int(symbols[left].start)..<Int(endOf(Int(right)))
        let merged = rule.merge(symbols[left].token, symbols[Int(right)].token, saying: range, of: bytes)
        return merged.map { Merge(rank: $0.rank, token: $0.token) } ?? .none
    }

    private mutating func mergeShort(_ bytes: [UInt8], by rule: borrowing some MergeRule) {
        merges.removeAll(keepingCapacity: true)
        for index in symbols.indices { merges.append(merge(at: index, bytes, by: rule)) }
        while true {
            var best = 0
            for index in merges.indices where merges[index].rank < merges[best].rank { best = index }
            guard best < merges.count, merges[best].rank < .max else { return }
            merges[join(best, token: merges[best].token)] = .none
            merges[best] = merge(at: best, bytes, by: rule)
            let previous = Int(symbols[best].previous)
            if previous >= 0 { merges[previous] = merge(at: previous, bytes, by: rule) }
        }
    }

    private mutating func mergeLong(_ bytes: [UInt8], by rule: borrowing some MergeRule) {
        queue.prepare(ranks: rule.rankCount)
        for index in symbols.indices { enqueue(index, bytes, by: rule) }
        while let (rank, place) = queue.next() {
            // The pair may be another by now, or be gone.
            let left = Int(place)
            let merge = merge(at: left, bytes, by: rule)
            guard merge.rank == rank else { continue }
            _ = join(left, token: merge.token)
            let previous = Int(symbols[left].previous)
            if previous >= 0 { enqueue(previous, bytes, by: rule) }
            enqueue(left, bytes, by: rule)
        }
    }

    private mutating func enqueue(_ left: Int, _ bytes: [UInt8], by rule: borrowing some MergeRule) {
        let merge = merge(at: left, bytes, by: rule)
        if merge.rank < .max { queue.insert(Int32(left), rank: merge.rank) }
    }
}
