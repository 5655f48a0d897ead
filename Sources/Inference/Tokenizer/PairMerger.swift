// SPDX-License-Identifier: Apache-2.0

/// What two neighbouring symbols become, and how soon.
protocol MergeRule {
    /// The smaller the rank, the sooner; `nil` when they stay apart. `bytes[range]` is what both say together; a symbol
    /// that is no token is negative.
    func merge(
        _ left: Int32, _ right: Int32, saying range: Range<Int>, of bytes: [UInt8]
    ) -> (rank: UInt32, token: Int32)?
}

/// Merges symbols pair by pair: always the pair of the smallest rank, of equal ones the leftmost, until none is left.
///
/// Words are short: there the next pair is found by looking at all of them. A long run of text without a boundary takes
/// a heap, so that the time stays within n · log n. The memory is kept from word to word.
struct PairMerger {
    /// A symbol: what it says begins here and ends where the next begins.
    private struct Symbol {
        var start: Int32
        var token: Int32
        var next: Int32
        var previous: Int32
    }

    /// A pair that can be merged. It is out of date when its left symbol is gone or both do not end there any more:
    /// symbols only grow, so the place where a pair ends tells whether it is still the same.
    private struct Candidate {
        /// Rank, then place: smaller is sooner.
        var key: UInt64
        var token: Int32
        var end: Int32
    }

    /// Up to so many symbols are looked through for each merge.
    private static let short = 32

    private var symbols: [Symbol] = []
    private var heap: [Candidate] = []
    /// Where the last symbol ends.
    private var end: Int32 = 0

    /// Forgets the last word.
    mutating func begin() {
        symbols.removeAll(keepingCapacity: true)
        heap.removeAll(keepingCapacity: true)
    }

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

    /// Puts both symbols of a pair into the left one.
    private mutating func join(_ left: Int, token: Int32) {
        let right = Int(symbols[left].next)
        let after = symbols[right].next
        symbols[left].token = token
        symbols[left].next = after
        symbols[right].start = -1
        if after >= 0 { symbols[Int(after)].previous = Int32(left) }
    }

    private func candidate(
        _ left: Int, _ bytes: [UInt8], by rule: borrowing some MergeRule
    ) -> Candidate? {
        let right = symbols[left].next
        guard right >= 0 else { return nil }
        let end = endOf(Int(right))
        let merged = rule.merge(
            symbols[left].token, symbols[Int(right)].token, saying: Int(symbols[left].start)..<Int(end), of: bytes)
        guard let merged else { return nil }
        return Candidate(key: UInt64(merged.rank) << 32 | UInt64(left), token: merged.token, end: end)
    }

    // MARK: Short words

    private mutating func mergeShort(_ bytes: [UInt8], by rule: borrowing some MergeRule) {
        for index in symbols.indices {
            // A place for each symbol; the key of one that cannot be merged is after all others.
            heap.append(candidate(index, bytes, by: rule) ?? Candidate(key: .max, token: 0, end: 0))
        }
        while true {
            var best = 0
            for index in heap.indices where heap[index].key < heap[best].key { best = index }
            guard best < heap.count, heap[best].key < .max else { return }
            let gone = Int(symbols[best].next)
            join(best, token: heap[best].token)
            heap[gone].key = .max
            heap[best] = candidate(best, bytes, by: rule) ?? Candidate(key: .max, token: 0, end: 0)
            let previous = Int(symbols[best].previous)
            if previous >= 0 {
                heap[previous] = candidate(previous, bytes, by: rule) ?? Candidate(key: .max, token: 0, end: 0)
            }
        }
    }

    // MARK: Long runs

    private mutating func mergeLong(_ bytes: [UInt8], by rule: borrowing some MergeRule) {
        for index in symbols.indices {
            if let candidate = candidate(index, bytes, by: rule) { heap.append(candidate) }
        }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { sink(index) }
        while let first = heap.first {
            if let last = heap.popLast(), !heap.isEmpty {
                heap[0] = last
                sink(0)
            }
            let left = Int(truncatingIfNeeded: first.key & 0xFFFF_FFFF)
            guard symbols[left].start >= 0, symbols[left].next >= 0,
                endOf(Int(symbols[left].next)) == first.end
            else { continue }
            join(left, token: first.token)
            if let candidate = candidate(left, bytes, by: rule) { push(candidate) }
            let previous = Int(symbols[left].previous)
            if previous >= 0, let candidate = candidate(previous, bytes, by: rule) { push(candidate) }
        }
    }

    private mutating func push(_ candidate: Candidate) {
        heap.append(candidate)
        var index = heap.count - 1
        while index > 0, heap[index].key < heap[(index - 1) / 2].key {
            heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    private mutating func sink(_ start: Int) {
        var index = start
        while true {
            var least = index
            for child in 2 * index + 1...2 * index + 2 where child < heap.count && heap[child].key < heap[least].key {
                least = child
            }
            guard least != index else { return }
            heap.swapAt(index, least)
            index = least
        }
    }
}
