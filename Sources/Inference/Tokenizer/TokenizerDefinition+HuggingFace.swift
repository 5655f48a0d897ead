// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension TokenizerDefinition {
    /// Reads a `tokenizer.json` as Hugging Face's tokenizers write it. What it asks for beyond the kinds that are known
    /// here is refused by name.
    init(huggingFace bytes: [UInt8], file: String) throws(TokenizerError) {
        var reader = HuggingFaceReader(file: file)
        var cursor = JSONCursor(bytes, file: file)
        try cursor.members { (cursor, name) throws(TokenizerError) in
            if name.elementsEqual("model".utf8) {
                try cursor.members { (cursor, name) throws(TokenizerError) in
                    try reader.readModel(&cursor, String(decoding: name, as: UTF8.self))
                }
            } else {
                reader.fields[String(decoding: name, as: UTF8.self)] = try cursor.value()
            }
        }
        try cursor.end()
        self = try reader.definition()
    }
}

/// The members as they come.
private struct HuggingFaceReader {
    /// What is beside the model.
    var fields: JSON.Object = [:]
    private var model: JSON.Object = [:]
    private var vocabulary: TokenizerDefinition.Collector
    private var merges = ByteStrings()
    private let file: String

    init(file: String) {
        self.file = file
        vocabulary = TokenizerDefinition.Collector(file: file)
    }

    mutating func readModel(_ cursor: inout JSONCursor, _ name: String) throws(TokenizerError) {
        var text: [UInt8] = []
        switch name {
        case "vocab" where cursor.begins(with: "{"):
            try cursor.members { (cursor, token) throws(TokenizerError) in
                try vocabulary.add(token, id: cursor.smallInteger())
            }
        case "merges" where cursor.begins(with: "["):
            try cursor.elements { (cursor) throws(TokenizerError) in
                // "left right", or since 2024 ["left", "right"].
                guard cursor.begins(with: "[") else {
                    try cursor.string(into: &text)
                    merges.append(text)
                    return
                }
                var pair: [UInt8] = []
                try cursor.elements { (cursor) throws(TokenizerError) in
                    try cursor.string(into: &text)
                    if !pair.isEmpty { pair.append(UInt8(ascii: " ")) }
                    pair += text
                }
                merges.append(pair)
            }
        default: model[name] = try cursor.value()
        }
    }

    consuming func definition() throws(TokenizerError) -> TokenizerDefinition {
        let type = model["type"]?.string ?? (merges.count > 0 ? "BPE" : "none given")
        guard type == "BPE" else {
            throw unsupported("a vocabulary of the kind “\(type.prefix(100))”", "BPE vocabularies can be used")
        }
        for name in ["dropout", "continuing_subword_prefix", "end_of_word_suffix"] {
            if let value = model[name], !value.isNull, value != "", value.number != 0 {
                throw unsupported("model.\(name)", "it is not done here")
            }
        }
        let added = try addedTokens()
        for token in added { try vocabulary.add(Array(token.text.utf8), id: token.id) }
        let (tokens, missing) = try vocabulary.finish()
        var kinds = [TokenKind](repeating: .normal, count: tokens.count)
        for id in missing { kinds[id] = .unused }
        for token in added { kinds[token.id] = token.isSpecial ? .control : .userDefined }
        let algorithm = try algorithm()
        if algorithm == .sentencePiece {
            for id in kinds.indices where kinds[id] == .normal && SentencePieceBytes.byte(of: tokens[id]) != nil {
                kinds[id] = .byte
            }
        }
        var definition = TokenizerDefinition(file: file, algorithm: algorithm, tokens: tokens, kinds: kinds)
        definition.merges = merges
        definition.ignoresMerges = model["ignore_merges"]?.bool ?? false
        try normalize(&definition)
        addBeginning(to: &definition, added: added)
        return definition
    }

    private func addedTokens() throws(TokenizerError) -> [(id: Int, text: String, isSpecial: Bool)] {
        var added: [(id: Int, text: String, isSpecial: Bool)] = []
        for (index, entry) in (fields["added_tokens"]?.array ?? []).enumerated() {
            guard let id = entry["id"]?.integer, id >= 0, id < TokenizerDefinition.mostTokens,
                let text = entry["content"]?.string
            else { throw .malformed(file, "added_tokens[\(index)] has no id and content") }
            for flag in ["lstrip", "rstrip", "single_word"] where entry[flag]?.bool == true {
                throw unsupported("added_tokens[\(index)].\(flag)", "it is not done here")
            }
            added.append((Int(id), text, entry["special"]?.bool ?? false))
        }
        return added
    }

    /// The steps of a normalizer and the like: itself, or those of the sequence that it is.
    private func steps(_ value: JSON?, _ list: String) -> [JSON] {
        guard let value, !value.isNull else { return [] }
        return value["type"]?.string == "Sequence" ? value[list]?.array ?? [] : [value]
    }

    private func algorithm() throws(TokenizerError) -> TokenizerDefinition.Algorithm {
        let steps = steps(fields["pre_tokenizer"], "pretokenizers")
        let types = steps.map { $0["type"]?.string ?? "?" }
        guard let last = steps.last, types.last == "ByteLevel" else {
            // Gemma's split at spaces comes after they were replaced: it does nothing.
            guard model["byte_fallback"]?.bool == true, types.allSatisfy({ $0 == "Split" }) else {
                throw unsupported("the pre-tokenizer \(types.joined(separator: ", "))", "byte-level ones can be used")
            }
            return .sentencePiece
        }
        guard last["add_prefix_space"]?.bool != true else {
            throw unsupported("pre_tokenizer.add_prefix_space", "it is not done here")
        }
        let usesExpression = last["use_regex"]?.bool ?? true
        if usesExpression, types == ["ByteLevel"] { return .byteLevel(.gpt2) }
        if usesExpression, types == ["Digits", "ByteLevel"], steps[0]["individual_digits"]?.bool == true {
            return .byteLevel(.smollm)
        }
        if !usesExpression, types == ["Split", "ByteLevel"], steps[0]["behavior"]?.string == "Isolated",
            steps[0]["invert"]?.bool != true, let expression = steps[0]["pattern"]?["Regex"]?.string,
            let known = PreTokenizer(expression: expression)
        {
            return .byteLevel(known)
        }
        throw unsupported(
            "the pre-tokenizer \(types.joined(separator: ", ")) with its expressions",
            "those of GPT-2, SmolLM, Llama 3 and Qwen 2 can be used")
    }

    private func normalize(_ definition: inout TokenizerDefinition) throws(TokenizerError) {
        for step in steps(fields["normalizer"], "normalizers") {
            switch (step["type"]?.string, definition.algorithm) {
            case ("NFC", .byteLevel): definition.composes = true
            case ("Prepend", .sentencePiece) where step["prepend"] == "\u{2581}": definition.addsSpacePrefix = true
            case ("Replace", .sentencePiece)
            where step["pattern"]?["String"] == " " && step["content"] == "\u{2581}":
                break
            case (let type, _): throw unsupported("the normalizer \(type ?? "?")", "NFC alone is done here")
            }
        }
    }

    /// Which special tokens text gets is said by an example: `<bos> $A`.
    private func addBeginning(
        to definition: inout TokenizerDefinition, added: [(id: Int, text: String, isSpecial: Bool)]
    ) {
        let ids = Dictionary(added.map { ($0.text, $0.id) }, uniquingKeysWith: { first, _ in first })
        for step in steps(fields["post_processor"], "processors") where step["type"]?.string == "TemplateProcessing" {
            let single = step["single"]?.array ?? []
            let place = single.firstIndex { $0["Sequence"] != nil } ?? single.count
            for (index, item) in single.enumerated() {
                guard let name = item["SpecialToken"]?["id"]?.string, let id = ids[name] else { continue }
                if index < place {
                    definition.addsBeginning = true
                    definition.special["bos"] = id
                } else {
                    definition.addsEnd = true
                    definition.special["eos"] = id
                }
            }
        }
    }

    private func unsupported(_ what: String, _ advice: String) -> TokenizerError {
        TokenizerError(.unsupported, at: file, "\(what) is not known here", advice: advice)
    }
}
