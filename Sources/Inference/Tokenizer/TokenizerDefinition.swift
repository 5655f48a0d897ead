// SPDX-License-Identifier: Apache-2.0

/// What a tokenizer is built from, whichever file said it.
struct TokenizerDefinition: Sendable {
    /// How text becomes symbols, and how they merge.
    enum Algorithm: Hashable, Sendable {
        /// Bytes, in words that the pre-tokenizer cuts.
        case byteLevel(PreTokenizer)
        /// Characters, spaces as U+2581, bytes for characters that no token expresses.
        case sentencePiece
    }

    /// More tokens than this is no vocabulary: the largest of today have some 262,144.
    static let mostTokens = 4_000_000

    /// The file, for messages.
    var file: String
    var algorithm: Algorithm
    /// The tokens by id, as the file writes them: in the byte alphabet, or with U+2581 for spaces.
    var tokens: ByteStrings
    /// As many as tokens.
    var kinds: [TokenKind]
    /// Pairs in the order in which they merge, as the file writes them: a space between both. Empty where scores say
    /// it.
    var merges = ByteStrings()
    /// SentencePiece's scores by id; empty where merges say it.
    var scores: [Float] = []
    /// A word that is a token is that token, whatever the merges say.
    var ignoresMerges = false
    /// Text is brought into Normalization Form C first.
    var composes = false
    /// SentencePiece: text gets a space in front.
    var addsSpacePrefix = false
    var addsBeginning = false
    var addsEnd = false
    /// Ids by the name that RDRR has for them: bos, eos, pad, unk, eot, eom, sep, cls, mask.
    var special: [String: Int] = [:]

    /// Collects tokens that come in any order and gives them by id.
    struct Collector {
        private var strings = ByteStrings()
        /// The string for each id, -1 where none came yet.
        private var numbers: [Int32] = []
        let file: String

        init(file: String) { self.file = file }

        /// Adds a token; one that was there already must say the same.
        mutating func add(_ text: borrowing [UInt8], id: Int) throws(TokenizerError) {
            guard (0..<TokenizerDefinition.mostTokens).contains(id) else {
                throw .malformed(file, "the token id \(id) is outside of 0 to \(TokenizerDefinition.mostTokens - 1)")
            }
            while numbers.count <= id { numbers.append(-1) }
            guard numbers[id] < 0 else {
                guard strings[Int(numbers[id])].elementsEqual(text) else {
                    throw .malformed(file, "the id \(id) stands for two tokens")
                }
                return
            }
            numbers[id] = Int32(strings.append(text))
        }

        /// The tokens by id. Ids that nothing was said about are unused tokens without text.
        func finish() throws(TokenizerError) -> (tokens: ByteStrings, missing: [Int]) {
            guard !numbers.isEmpty else { throw .malformed(file, "the vocabulary is empty") }
            // Most files name them in order.
            if numbers.indices.allSatisfy({ Int(numbers[$0]) == $0 }) { return (strings, []) }
            var tokens = ByteStrings()
            var missing: [Int] = []
            tokens.reserve(count: numbers.count, bytes: strings.bytes.count)
            for (id, number) in numbers.enumerated() {
                if number < 0 {
                    missing.append(id)
                    tokens.append([])
                } else {
                    tokens.append(strings[Int(number)])
                }
            }
            return (tokens, missing)
        }
    }
}
