// SPDX-License-Identifier: Apache-2.0

/// Turns text into the tokens that a model was trained on, and tokens into text. Made once from a model's vocabulary
/// and shared by all that use the model.
public final class Tokenizer: Sendable {
    /// How symbols merge.
    enum Merges: Sendable {
        case table(MergeTable)
        case scores(ScoreRule)
    }

    /// The most bytes that are tokenized at once: far more than the context of any model, and a bound on memory, of
    /// which some forty bytes are taken for each.
    public static let longestText = 16 << 20

    let algorithm: TokenizerDefinition.Algorithm
    /// What each token says: bytes, with SentencePiece's U+2581 still in place.
    let pieces: ByteStrings
    /// The tokens that text can become by merging, by what they say.
    let index: ByteStringIndex
    let kinds: [TokenKind]
    let merges: Merges
    let added: AddedTokens
    /// The token of each byte: of byte-level vocabularies all of them, of others those that fall back; -1 for none.
    let byteTokens: [Int32]
    /// How many bytes the longest token says, and no fewer than a character may have.
    let longestPiece: Int
    let ignoresMerges: Bool
    let composes: Bool
    /// SentencePiece: which characters are next to each other in tokens. Nothing merges between others.
    let neighbours: Neighbours?
    let addsSpacePrefix: Bool

    /// How many tokens there are; ids are below. A model's output may have more places, which mean nothing.
    public var count: Int { pieces.count }
    /// The token that text begins with, if the model has one.
    public let beginning: Int32?
    /// The token that text ends with, if the model has one.
    public let end: Int32?
    /// The token that fills rows up, if the model has one.
    public let padding: Int32?
    /// The token for what cannot be expressed, if the model has one.
    public let unknown: Int32?
    /// Tokens after which nothing more is to be generated.
    public let endOfGeneration: Set<Int32>
    /// Whether the model wants `beginning` in front of text.
    public let addsBeginning: Bool
    /// Whether the model wants `end` behind text.
    public let addsEnd: Bool

    /// Control tokens that end a turn or a text in the formats of the models that are known.
    private static let endNames: Set<String> = [
        "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<end_of_turn>", "</s>", "<eos>",
        "<|end|>",
    ]

    /// Builds the tables. `ends` are the ids of tokens that end generation, as the manifest says them.
    init(_ definition: consuming TokenizerDefinition, ends: [Int] = []) throws(TokenizerError) {
        let count = definition.tokens.count
        let file = definition.file
        algorithm = definition.algorithm
        kinds = definition.kinds
        ignoresMerges = definition.ignoresMerges
        composes = definition.composes
        addsSpacePrefix = definition.addsSpacePrefix

        pieces = Self.pieces(of: definition)
        var longest = 4
        for id in 0..<count { longest = max(longest, pieces.range(id).count) }
        longestPiece = longest
        var index = ByteStringIndex(capacity: count)
        var added = AddedTokens()
        for id in 0..<count {
            switch kinds[id] {
            case .normal: index.insert(id, of: pieces)
            case .control, .unknown: added.insert(Int32(id), pieces[id])
            case .userDefined:
                added.insert(Int32(id), pieces[id])
                guard definition.algorithm == .sentencePiece else { continue }
                index.insert(id, of: pieces)
                // Gemma's runs of spaces: they go before all merging, too.
                let spaced = Self.withSpaces(pieces[id])
                if !definition.scores.isEmpty, spaced.count < pieces[id].count { added.insert(Int32(id), spaced[...]) }
            case .unused, .byte: break
            }
        }
        self.index = index
        self.added = added
        neighbours = definition.algorithm == .sentencePiece ? Neighbours(pieces, kinds) : nil

        byteTokens = Self.byteTokens(definition, pieces, index, kinds)
        let missing = byteTokens.count { $0 < 0 }
        // Some bytes are in no text that a vocabulary was made from; letters and the bytes of other scripts are.
        if case .byteLevel = algorithm, missing > 64 {
            throw TokenizerError(
                .mismatch, at: file, "no tokens stand for \(missing) of the 256 bytes",
                advice: "the vocabulary is not a byte-level one, or is incomplete: get the model again")
        }
        if definition.scores.isEmpty {
            merges = .table(try Self.table(definition, pieces, index))
        } else {
            guard definition.scores.allSatisfy({ !$0.isNaN }) else {
                throw .malformed(file, "a score is not a number")
            }
            let ranks = ScoreRule.ranks(of: definition.scores)
            merges = .scores(ScoreRule(vocabulary: pieces, index: index, ranks: ranks))
        }

        let special = definition.special
        beginning = special["bos"].map { Int32($0) }
        end = special["eos"].map { Int32($0) }
        padding = special["pad"].map { Int32($0) }
        unknown = special["unk"].map { Int32($0) }
        addsBeginning = definition.addsBeginning && special["bos"] != nil
        addsEnd = definition.addsEnd && special["eos"] != nil
        var final: Set<Int32> = []
        for id in ends + ["eos", "eot", "eom"].compactMap({ special[$0] }) {
            guard (0..<count).contains(id) else {
                throw TokenizerError(
                    .mismatch, at: file, "the text ends with the token \(id), the vocabulary has \(count)",
                    advice: "manifest and vocabulary are not of one model: get the model again")
            }
            final.insert(Int32(id))
        }
        for id in 0..<count where kinds[id] == .control && pieces[id].count <= 16 {
            if Self.endNames.contains(String(decoding: pieces[id], as: UTF8.self)) { final.insert(Int32(id)) }
        }
        endOfGeneration = final
    }

    /// What a token is; `nil` for ids past the vocabulary.
    public func kind(of token: Int32) -> TokenKind? {
        kinds.indices.contains(Int(token)) ? kinds[Int(token)] : nil
    }

    /// What a token says: its bytes, which need not be whole characters. Control tokens say their names.
    public func bytes(of token: Int32) -> [UInt8] {
        guard kinds.indices.contains(Int(token)) else { return [] }
        let piece = pieces[Int(token)]
        guard algorithm == .sentencePiece else { return Array(piece) }
        if kinds[Int(token)] == .byte { return SentencePieceBytes.byte(of: piece).map { [$0] } ?? [] }
        return kinds[Int(token)] == .control ? Array(piece) : Self.withSpaces(piece)
    }

    /// The control or user-defined token that says exactly this.
    public func token(named name: String) -> Int32? {
        let bytes = Array(name.utf8)
        guard !bytes.isEmpty, let found = added.longest(in: bytes, at: 0, limit: bytes.count), found.end == bytes.count
        else { return nil }
        return found.token
    }

    /// U+2581 stands for a space.
    private static func withSpaces(_ piece: ArraySlice<UInt8>) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(piece.count)
        var index = piece.startIndex
        while index < piece.endIndex {
            if piece[index] == 0xE2, piece[index...].starts(with: SentencePieceText.space) {
                bytes.append(0x20)
                index += 3
            } else {
                bytes.append(piece[index])
                index += 1
            }
        }
        return bytes
    }

    // MARK: Tables

    /// What each token says. Control and user-defined tokens say what is written; so does a token of a byte-level
    /// vocabulary that holds a character which stands for no byte.
    private static func pieces(of definition: borrowing TokenizerDefinition) -> ByteStrings {
        let tokens = definition.tokens
        var text: [UInt8] = []
        var pieces = ByteStrings()
        pieces.reserve(count: tokens.count, bytes: tokens.bytes.count)
        for id in 0..<tokens.count {
            let range = tokens.range(id)
            if definition.algorithm == .sentencePiece {
                let isText = definition.kinds[id] == .normal || definition.kinds[id] == .userDefined
                if isText, tokens.bytes[range].contains(0x20) {
                    pieces.append(SentencePieceText.escaped(tokens.bytes[range]))
                    continue
                }
            } else if definition.kinds[id] == .normal {
                text.grow(to: range.count)
                if let end = ByteAlphabet.decode(tokens.bytes, range, into: &text, at: 0) {
                    pieces.append(text[..<end])
                    continue
                }
            }
            pieces.append(tokens.bytes[range])
        }
        return pieces
    }

    private static func byteTokens(
        _ definition: borrowing TokenizerDefinition, _ pieces: ByteStrings, _ index: ByteStringIndex,
        _ kinds: [TokenKind]
    ) -> [Int32] {
        var tokens = [Int32](repeating: -1, count: 256)
        if definition.algorithm == .sentencePiece {
            for id in kinds.indices where kinds[id] == .byte {
                if let byte = SentencePieceBytes.byte(of: pieces[id]) { tokens[Int(byte)] = Int32(id) }
            }
        } else {
            for byte in 0..<256 { tokens[byte] = index.find([UInt8(byte)], 0..<1, in: pieces) ?? -1 }
        }
        return tokens
    }

    private static func table(
        _ definition: borrowing TokenizerDefinition, _ pieces: ByteStrings, _ index: ByteStringIndex
    ) throws(TokenizerError) -> MergeTable {
        let merges = definition.merges
        var table = MergeTable(capacity: merges.count)
        let isByteLevel = definition.algorithm != .sentencePiece
        var text: [UInt8] = []
        for rank in 0..<merges.count {
            let range = merges.range(rank)
            // Neither alphabet has a space: the one that is there parts both.
            var space = range.lowerBound
            while space < range.upperBound, merges.bytes[space] != 0x20 { space += 1 }
            guard space < range.upperBound, !merges.bytes[(space + 1)..<range.upperBound].contains(0x20) else {
                throw .malformed(definition.file, "merges[\(rank)] is no pair")
            }
            let parts = (range.lowerBound..<space, space + 1..<range.upperBound)
            text.grow(to: range.count)
            let middle: Int?
            let end: Int?
            if isByteLevel {
                middle = ByteAlphabet.decode(merges.bytes, parts.0, into: &text, at: 0)
                end = middle.flatMap { ByteAlphabet.decode(merges.bytes, parts.1, into: &text, at: $0) }
            } else {
                middle = parts.0.count
                end = range.count - 1
                text.replaceSubrange(0..<range.count - 1, with: merges.bytes[parts.0] + merges.bytes[parts.1])
            }
            guard let middle, let end else {
                throw .malformed(definition.file, "merges[\(rank)] is not in the byte alphabet")
            }
            guard let left = index.find(text, 0..<middle, in: pieces),
                let right = index.find(text, middle..<end, in: pieces),
                let result = index.find(text, 0..<end, in: pieces)
            else {
                throw TokenizerError(
                    .mismatch, at: definition.file,
                    "merges[\(rank)], “\(String(decoding: merges[rank].prefix(100), as: UTF8.self))”, names what is no token",
                    advice: "vocabulary and merges are not of one model: get the model again")
            }
            table.insert(left, right, rank: rank, result: result)
        }
        return table
    }
}

extension [UInt8] {
    /// Makes room for so many bytes.
    fileprivate mutating func grow(to count: Int) {
        if count > self.count { append(contentsOf: repeatElement(0, count: count - self.count + 256)) }
    }
}
