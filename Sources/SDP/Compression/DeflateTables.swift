// SPDX-License-Identifier: Apache-2.0

/// The alphabets of RFC 1951 §3.2.5 and §3.2.7.
enum DeflateTables {
    /// The smallest value of a symbol, and how many bits that follow are added to it.
    struct Entry {
        var base: Int
        var extraBits: Int
    }

    /// Match lengths 3 to 258: symbols 257 to 285.
    static let lengths: [Entry] = {
        var entries = ladder(from: 3, symbols: 28, groupOf: 4)
        entries.append(Entry(base: 258, extraBits: 0))  // the longest has a symbol of its own
        return entries
    }()

    /// Distances 1 to 32,768: symbols 0 to 29.
    static let distances = ladder(from: 1, symbols: 30, groupOf: 2)

    /// In which order the lengths of the code length code are written.
    static let codeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

    /// Two groups without extra bits, then one bit more with each group.
    private static func ladder(from start: Int, symbols: Int, groupOf size: Int) -> [Entry] {
        var base = start
        return (0..<symbols).map { symbol in
            let entry = Entry(base: base, extraBits: max(symbol / size - 1, 0))
            base += 1 << entry.extraBits
            return entry
        }
    }

    /// The last symbol whose base is not above `value`, with its entry.
    static func symbol(for value: Int, in entries: [Entry]) -> (symbol: Int, entry: Entry) {
        var low = 0
        var high = entries.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if entries[middle].base <= value { low = middle } else { high = middle }
        }
        return (low, entries[low])
    }
}

extension Array {
    /// The element at a place that foreign bytes named, `nil` outside.
    subscript(checked index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
