// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The vocabulary and chat templates of a GGUF file, as files that go along with the shards.
///
/// `tokenizer.json` is of RDRR's "bundled" kind, with GGUF's own names for what that kind leaves open (`preTokenizer`,
/// token types by GGUF's numbers), so that a tokenizer can be built from it alone.
struct GGUFTokenizer {
    /// The files.
    let companions: [ImportedModel.Companion]
    /// The manifest's `tokenizer`; `null` without a vocabulary.
    let manifestEntry: JSON
    /// The manifest's `inference.chatTemplate`.
    let chatTemplateEntry: JSON
    /// The manifest's `eos_token_id`: a number, or several, or `null`.
    let endOfSequence: JSON

    private static let prefix = "tokenizer.ggml."
    static let chatTemplateName = "chat_template.jinja"

    /// Takes the vocabulary out of the metadata.
    init(_ gguf: GGUFFile) {
        var companions: [ImportedModel.Companion] = []
        func value(_ key: String) -> GGUFValue? { gguf.metadata[Self.prefix + key] }
        func id(_ key: String) -> JSON {
            guard let id = value(key)?.integer, id >= 0, id < 0xFFFF_FFFF else { return .null }
            return .integer(id)
        }
        var ends: [JSON] = []
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] where !id(key).isNull && !ends.contains(id(key)) {
            ends.append(id(key))
        }
        endOfSequence = ends.count > 1 ? .array(ends) : ends.first ?? .null

        if let tokens = value("tokens")?.strings {
            let text = Self.bundled(tokens: tokens, value: value, id: id)
            companions.append(.init(name: "tokenizer.json", content: .bytes(Array(text.utf8))))
            var entry: JSON.Object = [
                "type": "bundled", "file": "tokenizer.json", "vocabSize": .integer(Int64(tokens.count)),
                "tokenizerType": .string(Self.type(value("model")?.string)),
            ]
            for (name, key) in [
                ("bosTokenId", "bos_token_id"), ("eosTokenId", "eos_token_id"), ("padTokenId", "padding_token_id"),
                ("unkTokenId", "unknown_token_id"),
            ] where !id(key).isNull {
                entry[name] = id(key)
            }
            for (name, key) in [("addBosToken", "add_bos_token"), ("addEosToken", "add_eos_token")] {
                if let flag = value(key)?.bool { entry[name] = .bool(flag) }
            }
            manifestEntry = .object(entry)
        } else {
            manifestEntry = .null
        }
        // A converter may have carried Hugging Face's own file along.
        if let original = gguf.metadata["tokenizer.huggingface.json"]?.string {
            companions.append(.init(name: "tokenizer.huggingface.json", content: .bytes(Array(original.utf8))))
        }
        if let template = gguf.metadata["tokenizer.chat_template"]?.string, !template.isEmpty {
            companions.append(.init(name: Self.chatTemplateName, content: .bytes(Array(template.utf8))))
            chatTemplateEntry = ["type": "jinja", "enabled": true, "file": .string(Self.chatTemplateName)]
        } else {
            chatTemplateEntry = ["type": .null, "enabled": false]
        }
        // Further templates by purpose: tokenizer.chat_template.tool_use and the like.
        let further = "tokenizer.chat_template."
        for (key, value) in gguf.metadata.sorted(by: { $0.key < $1.key }) where key.hasPrefix(further) {
            let name = ImportedModel.slug(String(key.dropFirst(further.count)))
            guard let text = value.string, !name.isEmpty, name.utf8.count < 100 else { continue }
            let file = "chat_template.\(name).jinja"
            if !companions.contains(where: { $0.name == file }) {
                companions.append(.init(name: file, content: .bytes(Array(text.utf8))))
            }
        }
        self.companions = companions
    }

    /// RDRR's kinds of vocabulary, by GGUF's `tokenizer.ggml.model`.
    private static func type(_ model: String?) -> String {
        switch model {
        case "gpt2", "gemma4", "hybriddna": "bpe"
        case "llama", "t5", "plamo2": "unigram"
        case "bert": "wordpiece"
        default: model ?? "bpe"
        }
    }

    private static func bundled(
        tokens: [String], value: (String) -> GGUFValue?, id: (String) -> JSON
    ) -> String {
        var file = JSONLines()
        file.add("type", .string(type(value("model")?.string)))
        file.add("model", value("model")?.string.map { .string($0) } ?? .null)
        file.add("preTokenizer", value("pre")?.string.map { .string($0) } ?? .null)
        file.addVocabulary(tokens)
        file.add("vocabSize", .integer(Int64(tokens.count)))
        file.addList("merges", value("merges")?.strings?.map { .string($0) })
        file.addList("scores", value("scores")?.floats?.map { JSON(GGUFValue.shortest(Float($0))) })
        file.addList("tokenTypes", value("token_type")?.integers?.map { .integer($0) })
        file.add(
            "specialTokens",
            [
                "bos": id("bos_token_id"), "eos": id("eos_token_id"), "pad": id("padding_token_id"),
                "unk": id("unknown_token_id"), "sep": id("seperator_token_id"), "cls": id("cls_token_id"),
                "mask": id("mask_token_id"), "eot": id("eot_token_id"), "eom": id("eom_token_id"),
            ])
        file.add("addBosToken", value("add_bos_token")?.bool.map { .bool($0) } ?? .null)
        file.add("addEosToken", value("add_eos_token")?.bool.map { .bool($0) } ?? .null)
        file.add("addSpacePrefix", value("add_space_prefix")?.bool.map { .bool($0) } ?? .null)
        file.add("removeExtraWhitespaces", value("remove_extra_whitespaces")?.bool.map { .bool($0) } ?? .null)
        file.addList("precompiledCharsmap", value("precompiled_charsmap")?.integers?.map { .integer($0 & 0xFF) })
        return file.finish()
    }
}

/// An object written a member a line. Vocabularies are written by hand: their names must be kept byte for byte, while a
/// `JSON.Object` takes names that Unicode calls equivalent for the same.
private struct JSONLines {
    private var text = "{"

    mutating func add(_ name: String, _ value: JSON) {
        begin(name)
        text += value.serialized()
    }

    mutating func addList(_ name: String, _ values: [JSON]?) {
        begin(name)
        guard let values else {
            text += "null"
            return
        }
        text += "["
        for (index, value) in values.enumerated() { text += (index > 0 ? "," : "") + value.serialized() }
        text += "]"
    }

    /// `vocab`, token to id; and `tokens`, id to token, only where a token comes twice and `vocab` cannot say it all.
    mutating func addVocabulary(_ tokens: [String]) {
        begin("vocab")
        text += "{"
        var seen: Set<[UInt8]> = []
        for (id, token) in tokens.enumerated() where seen.insert(Array(token.utf8)).inserted {
            text += (id > 0 ? "," : "") + JSON.string(token).serialized() + ":\(id)"
        }
        text += "}"
        if seen.count < tokens.count { addList("tokens", tokens.map { .string($0) }) }
    }

    consuming func finish() -> String { text + "\n}\n" }

    private mutating func begin(_ name: String) {
        text += (text.utf8.count > 1 ? "," : "") + "\n  " + JSON.string(name).serialized() + ": "
    }
}
