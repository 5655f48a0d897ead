// SPDX-License-Identifier: Apache-2.0

/// The words of a text that were seen, and where their tokens are among those that were given out: text repeats itself.
/// A word's place is that of the last word with its hash.
struct SeenWords {
    private struct Entry {
        var start: UInt32
        var length: UInt32
        var firstToken: UInt32
        var tokenCount: UInt32
    }

    /// Longer words do not come again.
    private static let longest = 32
    /// In shorter texts little comes again.
    private static let leastText = 1024
    /// What fits into a processor's nearer memory.
    private static let size = 8192

    private var entries: [Entry] = []
    private var isUsed = false
    private let key = HashKey.process

    /// Forgets all words, as another text comes.
    mutating func begin(textOf count: Int) {
        isUsed = count >= Self.leastText
        guard isUsed || !entries.isEmpty else { return }
        entries.removeAll(keepingCapacity: true)
        let none = Entry(start: 0, length: 0, firstToken: 0, tokenCount: 0)
        if isUsed { entries.append(contentsOf: repeatElement(none, count: Self.size)) }
    }

    /// The place for a word; `nil` if none is kept.
    func place(of word: Range<Int>, in bytes: [UInt8]) -> Int? {
        guard isUsed, word.count <= Self.longest else { return nil }
        return Int(truncatingIfNeeded: key.hash(of: bytes, word)) & (Self.size - 1)
    }

    /// Where the tokens are that were given out for this word.
    func tokens(at place: Int, of word: Range<Int>, in bytes: [UInt8]) -> Range<Int>? {
        let entry = entries[place]
        guard Int(entry.length) == word.count, bytes.says(the: bytes, word, from: Int(entry.start)) else { return nil }
        return Int(entry.firstToken)..<Int(entry.firstToken + entry.tokenCount)
    }

    /// Remembers a word and its tokens.
    mutating func remember(_ word: Range<Int>, at place: Int, tokens: Range<Int>) {
        entries[place] = Entry(
            start: UInt32(word.lowerBound), length: UInt32(word.count), firstToken: UInt32(tokens.lowerBound),
            tokenCount: UInt32(tokens.count))
    }
}
