// SPDX-License-Identifier: Apache-2.0

/// Looks for texts that end a generation, in text that comes in pieces. What could become such a text is held back, so
/// that nothing of one is ever given out.
///
/// The one that ends first counts, of several that end together the longest: so the result does not depend on how the
/// text was cut into pieces.
public struct StopSequences: Sendable {
    /// A text, and how much of it stands at the end of what came.
    private struct Stop: Sendable {
        let bytes: [UInt8]
        /// For each length, how long the longest shorter beginning is that also ends there (Knuth, Morris and Pratt).
        let shorter: [Int]
        var matched = 0

        init(_ bytes: [UInt8]) {
            var shorter = [Int](repeating: 0, count: bytes.count + 1)
            var length = 0
            for index in 1..<max(1, bytes.count) {
                while length > 0, bytes[index] != bytes[length] { length = shorter[length] }
                if bytes[index] == bytes[length] { length += 1 }
                shorter[index + 1] = length
            }
            self.bytes = bytes
            self.shorter = shorter
        }

        /// Takes a byte; whether the text is complete.
        mutating func take(_ byte: UInt8) -> Bool {
            while matched > 0, bytes[matched] != byte { matched = shorter[matched] }
            if bytes[matched] == byte { matched += 1 }
            return matched == bytes.count
        }
    }

    /// More than anybody needs: each costs a comparison for each byte.
    public static let most = 64

    private var sequences: [Stop]
    private var held: [UInt8] = []

    /// The text that was found; nothing is given out any more then.
    public private(set) var found: String?

    /// A matcher for some texts, of which none is empty.
    public init(_ texts: [String]) throws(SamplingError) {
        guard texts.count <= Self.most else {
            throw SamplingError(
                .invalidOption, at: "stop", "\(texts.count) texts are too many", advice: "give \(Self.most) at most")
        }
        guard texts.allSatisfy({ !$0.utf8.isEmpty }) else {
            throw SamplingError(
                .invalidOption, at: "stop", "an empty text would stop everything", advice: "give texts, or none")
        }
        // The longest first, as of several that end together it counts.
        sequences = texts.map { Stop(Array($0.utf8)) }.sorted { $0.bytes.count > $1.bytes.count }
    }

    /// Takes a piece of text and gives what is certain not to belong to one of the texts.
    public mutating func append(_ piece: String) -> String {
        guard found == nil else { return "" }
        guard !sequences.isEmpty else { return piece }
        for byte in piece.utf8 {
            held.append(byte)
            var complete: Int?
            for index in sequences.indices where sequences[index].take(byte) { complete = complete ?? index }
            if let complete {
                let text = sequences[complete].bytes
                found = String(decoding: text, as: UTF8.self)
                held.removeLast(text.count)
                return finish()
            }
        }
        // A beginning of a text begins with a whole character, so that what is before it ends with one.
        let longest = sequences.reduce(0) { max($0, $1.matched) }
        return give(held.count - longest)
    }

    /// Gives what was held back, as no more text comes.
    public mutating func finish() -> String { give(held.count) }

    private mutating func give(_ count: Int) -> String {
        guard count > 0 else { return "" }
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }
}
