// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension TokenizerDefinition {
    /// Reads RDRR's own kind of `tokenizer.json`: `vocab`, `merges`, `scores` and `tokenTypes` as a GGUF file has them.
    init(bundled bytes: [UInt8], file: String) throws(TokenizerError) {
        var reader = BundledReader(file: file)
        var cursor = JSONCursor(bytes, file: file)
        try cursor.members { (cursor, name) throws(TokenizerError) in
            try reader.read(&cursor, String(decoding: name, as: UTF8.self))
        }
        try cursor.end()
        self = try reader.definition()
    }
}

/// The members as they come.
private struct BundledReader {
    private var vocabulary: TokenizerDefinition.Collector
    /// All tokens by id, where `vocab` could not say it.
    private var list: ByteStrings?
    private var merges = ByteStrings()
    private var scores: [Float] = []
    private var types: [Int] = []
    private var fields: JSON.Object = [:]
    private let file: String

    init(file: String) {
        self.file = file
        vocabulary = TokenizerDefinition.Collector(file: file)
    }

    mutating func read(_ cursor: inout JSONCursor, _ name: String) throws(TokenizerError) {
        if try cursor.takeNull() { return }
        switch name {
        case "vocab":
            try cursor.members { (cursor, token) throws(TokenizerError) in
                try vocabulary.add(token, id: cursor.smallInteger())
            }
        case "tokens":
            var tokens = ByteStrings()
            try cursor.elements { (cursor) throws(TokenizerError) in
                try cursor.string(into: &tokens)
            }
            list = tokens
        case "merges":
            try cursor.elements { (cursor) throws(TokenizerError) in
                try cursor.string(into: &merges)
            }
        case "scores":
            try cursor.elements { (cursor) throws(TokenizerError) in scores.append(Float(try cursor.number())) }
        case "tokenTypes":
            try cursor.elements { (cursor) throws(TokenizerError) in types.append(try cursor.smallInteger()) }
        default: fields[name] = try cursor.value()
        }
    }

    consuming func definition() throws(TokenizerError) -> TokenizerDefinition {
        var missing: [Int] = []
        let tokens: ByteStrings
        if let list {
            tokens = list
        } else {
            (tokens, missing) = try vocabulary.finish()
        }
        guard tokens.count > 0, tokens.count <= TokenizerDefinition.mostTokens else {
            throw .malformed(file, "\(tokens.count) tokens are no vocabulary")
        }
        var special: [String: Int] = [:]
        if let object = fields["specialTokens"]?.object {
            for (name, value) in object {
                guard let id = value.integer else { continue }
                guard let id = Int(exactly: id), (0..<tokens.count).contains(id) else {
                    throw TokenizerError(
                        .mismatch, at: file,
                        "specialTokens.\(name) is \(id), the vocabulary has \(tokens.count) tokens",
                        advice: "pack the model again from its source")
                }
                special[name] = id
            }
        }
        let algorithm = try algorithm()
        var definition = TokenizerDefinition(
            file: file, algorithm: algorithm, tokens: tokens,
            kinds: try kinds(of: tokens, algorithm: algorithm, special: special, missing: missing))
        guard scores.isEmpty || scores.count == tokens.count else {
            throw TokenizerError(
                .mismatch, at: file, "there are \(scores.count) scores for \(tokens.count) tokens",
                advice: "pack the model again from its source")
        }
        let isSentencePiece = algorithm == .sentencePiece
        // Where the file is silent the kind of vocabulary decides, as llama.cpp has it.
        let isLlama3 = algorithm == .byteLevel(.llama3)
        definition.merges = merges
        definition.scores = isSentencePiece ? scores : []
        definition.ignoresMerges = isLlama3
        definition.composes = algorithm == .byteLevel(.qwen2)
        definition.addsSpacePrefix = isSentencePiece && (fields["addSpacePrefix"]?.bool ?? true)
        definition.addsBeginning = fields["addBosToken"]?.bool ?? (isSentencePiece || isLlama3)
        definition.addsEnd = fields["addEosToken"]?.bool ?? false
        definition.special = special
        return definition
    }

    private func algorithm() throws(TokenizerError) -> TokenizerDefinition.Algorithm {
        // GGUF's names (`tokenizer.ggml.model`): "gpt2" is byte-level, "llama" is SentencePiece by scores.
        switch fields["model"]?.string {
        case "gpt2":
            guard let name = fields["preTokenizer"]?.string else {
                throw TokenizerError(
                    .missing, at: file, "the file does not say how text is cut into words (preTokenizer)",
                    advice: "pack the model again from a GGUF file that has tokenizer.ggml.pre")
            }
            guard let known = PreTokenizer(name: name) else {
                let all = PreTokenizer.allCases.map(\.rawValue).joined(separator: ", ")
                throw TokenizerError(
                    .unsupported, at: file, "the pre-tokenizer “\(name.prefix(100))” is not known",
                    advice: "models with these can be run: \(all)")
            }
            return .byteLevel(known)
        case "llama":
            guard !scores.isEmpty else {
                throw TokenizerError(
                    .missing, at: file, "a SentencePiece vocabulary has no scores",
                    advice: "pack the model again from its source")
            }
            return .sentencePiece
        case let other:
            let name = other ?? fields["type"]?.string ?? "none given"
            throw TokenizerError(
                .unsupported, at: file, "the kind of vocabulary “\(name.prefix(100))” is not known",
                advice: "byte-level (gpt2) and SentencePiece BPE (llama) vocabularies can be used")
        }
    }

    private func kinds(
        of tokens: ByteStrings, algorithm: TokenizerDefinition.Algorithm, special: [String: Int], missing: [Int]
    ) throws(TokenizerError) -> [TokenKind] {
        var kinds = [TokenKind](repeating: .normal, count: tokens.count)
        if types.isEmpty {
            for (name, id) in special { kinds[id] = name == "unk" ? .unknown : .control }
        } else {
            guard types.count == tokens.count else {
                throw TokenizerError(
                    .mismatch, at: file, "there are \(types.count) token types for \(tokens.count) tokens",
                    advice: "pack the model again from its source")
            }
            for (id, type) in types.enumerated() {
                // GGUF's 0 is "undefined"; nothing may be made of it.
                kinds[id] = UInt8(exactly: type).flatMap { TokenKind(rawValue: $0) } ?? .unused
            }
        }
        for id in missing { kinds[id] = .unused }
        return kinds
    }
}
