// SPDX-License-Identifier: Apache-2.0

/// Writes raw deflate (RFC 1951): one block of the fixed code, with matches from a hash chain. Enough for texts of a
/// few kilobytes, where a code of its own would hardly pay for its description.
public enum Deflate {
    /// A stream that stands for `input`.
    public static func compress(_ input: [UInt8]) -> [UInt8] {
        var writer = BitWriter()
        writer.put(1, bits: 1)  // the last block
        writer.put(1, bits: 2)  // the fixed code
        var finder = MatchFinder(input: input)
        var position = 0
        while position < input.count {
            let match = finder.longestMatch(at: position)
            // A match that begins one byte later and is longer is worth a literal.
            let isWorthwhile =
                match.length >= MatchFinder.shortest
                && finder.longestMatch(at: position + 1).length <= match.length
            if isWorthwhile {
                put(match, to: &writer)
            } else {
                putLiteral(Int(input[position]), to: &writer)
            }
            let end = position + (isWorthwhile ? match.length : 1)
            while position < end {
                finder.insert(position)
                position += 1
            }
        }
        putLiteral(256, to: &writer)
        return writer.finish()
    }

    /// A symbol of the fixed literal and length code (RFC 1951 §3.2.6).
    private static func putLiteral(_ symbol: Int, to writer: inout BitWriter) {
        switch symbol {
        case ..<144: writer.putCode(0x30 + symbol, bits: 8)
        case ..<256: writer.putCode(0x190 + symbol - 144, bits: 9)
        case ..<280: writer.putCode(symbol - 256, bits: 7)
        default: writer.putCode(0xC0 + symbol - 280, bits: 8)
        }
    }

    private static func put(_ match: MatchFinder.Match, to writer: inout BitWriter) {
        let length = DeflateTables.symbol(for: match.length, in: DeflateTables.lengths)
        putLiteral(257 + length.symbol, to: &writer)
        writer.put(match.length - length.entry.base, bits: length.entry.extraBits)
        let distance = DeflateTables.symbol(for: match.distance, in: DeflateTables.distances)
        writer.putCode(distance.symbol, bits: 5)
        writer.put(match.distance - distance.entry.base, bits: distance.entry.extraBits)
    }
}

/// Earlier places with the same three bytes.
private struct MatchFinder {
    struct Match {
        var length = 0
        var distance = 0
    }

    static let shortest = 3
    private static let longest = 258
    private static let farthest = 32_768
    /// How many earlier places are tried.
    private static let mostTries = 128
    private static let hashBits: UInt32 = 13

    private let input: [UInt8]
    private var newest = [Int32](repeating: -1, count: 1 << MatchFinder.hashBits)
    private var previous: [Int32]

    init(input: [UInt8]) {
        self.input = input
        previous = [Int32](repeating: -1, count: input.count)
    }

    /// Makes a place known to later searches.
    mutating func insert(_ position: Int) {
        guard let hash = hash(at: position) else { return }
        previous[position] = newest[hash]
        newest[hash] = Int32(position)
    }

    func longestMatch(at position: Int) -> Match {
        var best = Match()
        guard let hash = hash(at: position) else { return best }
        let most = min(MatchFinder.longest, input.count - position)
        var candidate = Int(newest[hash])
        var tries = MatchFinder.mostTries
        while candidate >= 0, position - candidate <= MatchFinder.farthest, tries > 0 {
            var length = 0
            while length < most, input[candidate + length] == input[position + length] { length += 1 }
            if length > best.length { best = Match(length: length, distance: position - candidate) }
            candidate = Int(previous[candidate])
            tries -= 1
        }
        return best
    }

    private func hash(at position: Int) -> Int? {
        guard position + MatchFinder.shortest <= input.count else { return nil }
        let bytes = UInt32(input[position]) | UInt32(input[position + 1]) << 8 | UInt32(input[position + 2]) << 16
        return Int((bytes &* 0x9E37_79B1) >> (32 - MatchFinder.hashBits))
    }
}

private struct BitWriter {
    private var output: [UInt8] = []
    private var buffer: UInt32 = 0
    private var used: UInt32 = 0

    /// A number, lowest bit first.
    mutating func put(_ value: Int, bits: Int) {
        buffer |= UInt32(value) << used
        used += UInt32(bits)
        while used >= 8 {
            output.append(UInt8(truncatingIfNeeded: buffer))
            buffer >>= 8
            used -= 8
        }
    }

    /// A Huffman code, highest bit first.
    mutating func putCode(_ code: Int, bits: Int) {
        var reversed = 0
        for bit in 0..<bits where code >> bit & 1 == 1 { reversed |= 1 << (bits - 1 - bit) }
        put(reversed, bits: bits)
    }

    mutating func finish() -> [UInt8] {
        if used > 0 { output.append(UInt8(truncatingIfNeeded: buffer)) }
        return output
    }
}
