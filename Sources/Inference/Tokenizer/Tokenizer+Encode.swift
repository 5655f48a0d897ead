// SPDX-License-Identifier: Apache-2.0

extension Tokenizer {
    /// The tokens of a user's text: names of control tokens in it are text like any other.
    ///
    /// - Parameters:
    ///   - addingSpecialTokens: whether the tokens that the model wants around text are added.
    ///   - limit: as many tokens as there is room for. More are refused, most often before all are made.
    public func encode(
        _ text: String, addingSpecialTokens: Bool = true, limit: Int = .max
    ) throws(TokenizerError) -> [Int32] {
        try encode(MarkedText(text), addingSpecialTokens: addingSpecialTokens, limit: limit)
    }

    /// The tokens of text; the names of control tokens become them where the text is trusted.
    ///
    /// - Parameters:
    ///   - addingSpecialTokens: whether the tokens that the model wants around text are added; a rendered chat brings its
    ///     own.
    ///   - limit: as many tokens as there is room for. More are refused, most often before all are made.
    public func encode(
        _ text: MarkedText, addingSpecialTokens: Bool = true, limit: Int = .max
    ) throws(TokenizerError) -> [Int32] {
        let bytes = text.utf8
        guard bytes.count <= Self.longestText else {
            throw TokenizerError(
                .tooLong, at: "text", "\(bytes.count) bytes are more than are tokenized at once, \(Self.longestText)",
                advice: "shorten the text; no model takes that much")
        }
        var encoder = Encoder(self, text: bytes, limit: limit)
        try encoder.check(atLeast: leastTokens(of: bytes))
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
            try encoder.encode(start..<offset)
            encoder.tokens.append(found.token)
            start = found.end
            offset = found.end
        }
        try encoder.encode(start..<bytes.count)
        if addingSpecialTokens, addsEnd, let end { encoder.tokens.append(end) }
        try encoder.check(atLeast: encoder.tokens.count)
        return encoder.tokens
    }

    /// How many tokens a text has at least: no token says more than the longest.
    private func leastTokens(of bytes: [UInt8]) -> Int {
        let isSure: Bool
        switch algorithm {
        // Composing shortens text.
        case .byteLevel: isSure = !composes
        case .sentencePiece: isSure = unknown != nil || !byteTokens.contains(-1)
        }
        guard isSure, bytes.count > longestPiece else { return 0 }
        guard case .byteLevel = algorithm else { return bytes.count / longestPiece }
        // Bytes that have no token are dropped.
        var said = 0
        for byte in bytes where byteTokens[Int(byte)] >= 0 { said += 1 }
        return said / longestPiece
    }
}

/// Turns stretches of plain text into tokens, and keeps the memory that this takes.
private struct Encoder {
    private let tokenizer: Tokenizer
    private let text: [UInt8]
    /// SentencePiece: the stretches so far in its form.
    private var escaped: [UInt8] = []
    private let limit: Int
    private var merger = PairMerger()
    private var seen = SeenWords()
    /// Whether `seen` is about `text`, not about a changed stretch of it.
    private var knowsText = false
    var tokens: [Int32] = []

    init(_ tokenizer: Tokenizer, text: [UInt8], limit: Int) {
        self.tokenizer = tokenizer
        self.text = text
        self.limit = limit
    }

    /// Refuses more tokens than there is room for.
    func check(atLeast count: Int) throws(TokenizerError) {
        guard count <= limit else {
            throw TokenizerError(
                .tooLong, at: "text", "its \(text.count) bytes are more than \(limit) tokens, for which there is room",
                advice: "shorten the text, or give the model a longer context if it can have one")
        }
    }

    mutating func encode(_ range: Range<Int>) throws(TokenizerError) {
        guard !range.isEmpty else { return }
        switch tokenizer.merges {
        case .table(let table): try encode(range, by: table)
        case .scores(let rule): try encode(range, by: rule)
        }
    }

    private mutating func encode(_ range: Range<Int>, by rule: some MergeRule) throws(TokenizerError) {
        switch tokenizer.algorithm {
        case .byteLevel(let preTokenizer):
            if tokenizer.composes, let composed = Normalization.composed(text[range]) {
                knowsText = false
                seen.begin(textOf: composed.count)
                try preTokenizer.forEachWord(of: composed, in: composed.indices) { (word) throws(TokenizerError) in
                    try encodeWord(composed, word, by: rule)
                }
            } else {
                beginText()
                let text = text
                try preTokenizer.forEachWord(of: text, in: range) { (word) throws(TokenizerError) in
                    try encodeWord(text, word, by: rule)
                }
            }
        case .sentencePiece:
            beginText()
            let start = escaped.count
            SentencePieceText.escape(text[range], withPrefix: tokenizer.addsSpacePrefix, into: &escaped)
            let escaped = escaped
            try encodeRuns(escaped, start..<escaped.count, by: rule)
        }
    }

    private mutating func beginText() {
        if !knowsText { seen.begin(textOf: text.count) }
        knowsText = true
    }

    private mutating func encodeWord(
        _ bytes: [UInt8], _ word: Range<Int>, by rule: some MergeRule
    ) throws(TokenizerError) {
        let first = tokens.count
        let place = seen.place(of: word, in: bytes)
        if let place, let known = seen.tokens(at: place, of: word, in: bytes) {
            for index in known { tokens.append(tokens[index]) }
        } else if tokenizer.ignoresMerges, let token = tokenizer.index.find(bytes, word, in: tokenizer.pieces) {
            tokens.append(token)
        } else {
            merger.begin()
            // Bytes that were not in what the vocabulary was made from have no token and are dropped, as Hugging Face's
            // tokenizers do.
            for offset in word {
                let token = tokenizer.byteTokens[Int(bytes[offset])]
                if token >= 0 { merger.append(token, start: offset) }
            }
            merger.merge(bytes, end: word.upperBound, by: rule)
            merger.forEach { token, _ in tokens.append(token) }
        }
        if let place { seen.remember(word, at: place, tokens: first..<tokens.count) }
        try check(atLeast: tokens.count)
    }

    /// Cuts text where nothing can merge.
    private mutating func encodeRuns(
        _ text: [UInt8], _ range: Range<Int>, by rule: some MergeRule
    ) throws(TokenizerError) {
        guard let neighbours = tokenizer.neighbours else { return }
        var start = range.lowerBound
        var offset = start
        var end = Neighbours.end(of: start, in: text, range.upperBound)
        while end < range.upperBound {
            let next = Neighbours.end(of: end, in: text, range.upperBound)
            if !neighbours.mayJoin(text, offset..<end, end..<next) {
                try encodeRun(text, start..<end, by: rule)
                start = end
            }
            (offset, end) = (end, next)
        }
        try encodeRun(text, start..<range.upperBound, by: rule)
    }

    /// A symbol for each character; what is no token at the end becomes its bytes.
    private mutating func encodeRun(
        _ text: [UInt8], _ run: Range<Int>, by rule: some MergeRule
    ) throws(TokenizerError) {
        let first = tokens.count
        let place = seen.place(of: run, in: text)
        if let place, let known = seen.tokens(at: place, of: run, in: text) {
            for index in known { tokens.append(tokens[index]) }
        } else {
            merger.begin()
            var offset = run.lowerBound
            while offset < run.upperBound {
                let end = Neighbours.end(of: offset, in: text, run.upperBound)
                let token = tokenizer.index.find(text, offset..<end, in: tokenizer.pieces) ?? -1
                merger.append(token, start: offset)
                offset = end
            }
            merger.merge(text, end: run.upperBound, by: rule)
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
        if let place { seen.remember(run, at: place, tokens: first..<tokens.count) }
        try check(atLeast: tokens.count)
    }
}

/// SentencePiece's form of text.
enum SentencePieceText {
    /// U+2581, which stands for a space, in UTF-8.
    static let space: [UInt8] = [0xE2, 0x96, 0x81]

    /// Text in this form.
    static func escaped(_ text: ArraySlice<UInt8>) -> [UInt8] {
        var escaped: [UInt8] = []
        escape(text, withPrefix: false, into: &escaped)
        return escaped
    }

    /// Puts text behind what is there.
    static func escape(_ text: ArraySlice<UInt8>, withPrefix: Bool, into escaped: inout [UInt8]) {
        let space = space
        if withPrefix { escaped += space }
        for byte in text {
            if byte == 0x20 { escaped += space } else { escaped.append(byte) }
        }
    }
}
