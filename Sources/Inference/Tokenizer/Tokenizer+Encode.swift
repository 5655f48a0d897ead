// SPDX-License-Identifier: Apache-2.0

extension Tokenizer {
    /// The tokens of a user's text: names of control tokens in it are text like any other.
    ///
    /// - Parameter addingSpecialTokens: whether the tokens that the model wants around text are added.
    public func encode(_ text: String, addingSpecialTokens: Bool = true) throws(TokenizerError) -> [Int32] {
        try encode(MarkedText(text), addingSpecialTokens: addingSpecialTokens)
    }

    /// The tokens of text; the names of control tokens become them where the text is trusted.
    ///
    /// - Parameter addingSpecialTokens: whether the tokens that the model wants around text are added; a rendered chat
    ///   brings its own.
    public func encode(_ text: MarkedText, addingSpecialTokens: Bool = true) throws(TokenizerError) -> [Int32] {
        let bytes = text.utf8
        guard bytes.count <= Self.longestText else {
            throw TokenizerError(
                .tooLong, at: "text", "\(bytes.count) bytes are more than are tokenized at once, \(Self.longestText)",
                advice: "shorten the text; no model takes that much")
        }
        var encoder = Encoder(self)
        if addingSpecialTokens, addsBeginning, let beginning { encoder.tokens.append(beginning) }
        var start = 0
        var offset = 0
        while offset < bytes.count, !added.isEmpty {
            guard let found = added.longest(in: bytes, at: offset, limit: bytes.count) else {
                offset += 1
                continue
            }
            let range = offset..<found.end
            if kinds[Int(found.token)].needsTrust, !text.isTrusted(range) {
                // What the user wrote stays whole, as Hugging Face's tokenizers have it; a name that only begins in the
                // user's text must not hide what follows.
                offset = text.isUntrusted(range) ? found.end : offset + 1
                continue
            }
            encoder.encode(bytes, start..<offset)
            encoder.tokens.append(found.token)
            start = found.end
            offset = found.end
        }
        encoder.encode(bytes, start..<bytes.count)
        if addingSpecialTokens, addsEnd, let end { encoder.tokens.append(end) }
        return encoder.tokens
    }
}

/// Turns stretches of plain text into tokens, and keeps the memory that this takes.
private struct Encoder {
    private let tokenizer: Tokenizer
    private var merger = PairMerger()
    var tokens: [Int32] = []

    init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

    mutating func encode(_ bytes: [UInt8], _ range: Range<Int>) {
        guard !range.isEmpty else { return }
        switch tokenizer.algorithm {
        case .byteLevel(let preTokenizer):
            guard case .table(let table) = tokenizer.merges else { return }
            if tokenizer.composes {
                let composed = Normalization.composed(bytes[range])
                preTokenizer.forEachWord(of: composed, in: composed.indices) {
                    encodeWord(composed, $0, by: table)
                }
            } else {
                preTokenizer.forEachWord(of: bytes, in: range) { encodeWord(bytes, $0, by: table) }
            }
        case .sentencePiece:
            let text = SentencePieceText.escaped(bytes[range], withPrefix: tokenizer.addsSpacePrefix)
            switch tokenizer.merges {
            case .table(let table): encodeCharacters(text, by: table)
            case .scores(let ranks):
                encodeCharacters(
                    text, by: ScoreRule(vocabulary: tokenizer.pieces, index: tokenizer.index, ranks: ranks))
            }
        }
    }

    private mutating func encodeWord(_ bytes: [UInt8], _ word: Range<Int>, by table: MergeTable) {
        if tokenizer.ignoresMerges, let token = tokenizer.index.find(bytes, word, in: tokenizer.pieces) {
            tokens.append(token)
            return
        }
        merger.begin()
        // Bytes that were not in what the vocabulary was made from have no token and are dropped, as Hugging Face's
        // tokenizers do.
        for offset in word {
            let token = tokenizer.byteTokens[Int(bytes[offset])]
            if token >= 0 { merger.append(token, start: offset) }
        }
        merger.merge(bytes, end: word.upperBound, by: table)
        merger.forEach { token, _ in tokens.append(token) }
    }

    /// A symbol for each character; what is no token at the end becomes its bytes.
    private mutating func encodeCharacters(_ text: [UInt8], by rule: some MergeRule) {
        merger.begin()
        var offset = 0
        while offset < text.count {
            let start = offset
            offset += 1
            while offset < text.count, text[offset] & 0xC0 == 0x80 { offset += 1 }
            let token = tokenizer.index.find(text, start..<offset, in: tokenizer.pieces) ?? -1
            merger.append(token, start: start)
        }
        merger.merge(text, end: text.count, by: rule)
        let byteTokens = tokenizer.byteTokens
        let unknown = tokenizer.unknown
        merger.forEach { token, range in
            if token >= 0 {
                tokens.append(token)
            } else if range.allSatisfy({ byteTokens[Int(text[$0])] >= 0 }) {
                for offset in range { tokens.append(byteTokens[Int(text[offset])]) }
            } else if let unknown {
                tokens.append(unknown)
            }
        }
    }
}

/// SentencePiece's form of text.
enum SentencePieceText {
    /// U+2581, which stands for a space, in UTF-8.
    static let space: [UInt8] = [0xE2, 0x96, 0x81]

    static func escaped(_ text: ArraySlice<UInt8>, withPrefix: Bool) -> [UInt8] {
        var escaped: [UInt8] = []
        escaped.reserveCapacity(text.count + 3)
        if withPrefix { escaped += space }
        for byte in text {
            if byte == 0x20 { escaped += space } else { escaped.append(byte) }
        }
        return escaped
    }
}
