// SPDX-License-Identifier: Apache-2.0
import Glibc
import Inference
import RDRR
import TestSupport
import Testing
import Wire

@Suite("Tokens as Hugging Face's tokenizers give them")
struct TokenizerVectorTests {
    /// Compares all strings, and says which differ.
    private func compare(_ tokenizer: Tokenizer, _ vectors: TokenizerVectors, trusted: Bool) throws {
        var wrong = 0
        let expected = try vectors.ids(trusted: trusted)
        #expect(expected.count == vectors.strings.count && expected.count >= 1000)
        for (string, ids) in zip(vectors.strings, expected) {
            let text = MarkedText(repairing: string, isTrusted: trusted)
            let found = try tokenizer.encode(text, addingSpecialTokens: false)
            guard found != ids else { continue }
            wrong += 1
            if wrong <= 5 { Issue.record("\(text.string.debugDescription): \(found), not \(ids)") }
        }
        #expect(wrong == 0)
    }

    @Test("more than 1,000 strings of a user, from RDRR's form", arguments: TokenizerVectors.names)
    func user(name: String) throws {
        let vectors = try TokenizerVectors(name)
        try compare(vectors.tokenizer(.bundled), vectors, trusted: false)
    }

    @Test("the same strings where control tokens are meant", arguments: TokenizerVectors.names)
    func trusted(name: String) throws {
        let vectors = try TokenizerVectors(name)
        try compare(vectors.tokenizer(.bundled), vectors, trusted: true)
    }

    @Test("the same from Hugging Face's form", arguments: TokenizerVectors.names)
    func huggingFace(name: String) throws {
        let vectors = try TokenizerVectors(name)
        let tokenizer = try vectors.tokenizer(.huggingFace)
        try compare(tokenizer, vectors, trusted: false)
        try compare(tokenizer, vectors, trusted: true)
    }

    @Test("tokens at random mean the same text", arguments: TokenizerVectors.names)
    func decoded(name: String) throws {
        let vectors = try TokenizerVectors(name)
        let tokenizer = try vectors.tokenizer(.bundled)
        let hasBytesApart = name.hasPrefix("sentencepiece")
        for vector in try #require(vectors.json["decoded"]?.array) {
            let ids = TokenizerVectors.ids(vector["ids"])
            let text = try #require(vector["text"]?.string)
            let plain = try #require(vector["plain"]?.string)
            // Of byte tokens in a row Hugging Face's decoder drops all if one is wrong, which a stream cannot know.
            if hasBytesApart && text.unicodeScalars.contains("\u{FFFD}") { continue }
            #expect(tokenizer.decode(ids, skippingControlTokens: false).utf8.elementsEqual(text.utf8), "\(ids)")
            #expect(tokenizer.decode(ids).utf8.elementsEqual(plain.utf8), "\(ids)")
        }
    }

    @Test("strings come back as they were, or as changed as there", arguments: TokenizerVectors.names)
    func returned(name: String) throws {
        let vectors = try TokenizerVectors(name)
        let tokenizer = try vectors.tokenizer(.bundled)
        for (index, (string, ids)) in zip(vectors.strings, try vectors.ids(trusted: false)).enumerated() {
            let expected = vectors.json["returned"]?["\(index)"]?.string ?? String(decoding: string, as: UTF8.self)
            let found = tokenizer.decode(ids, skippingControlTokens: false)
            #expect(found.utf8.elementsEqual(expected.utf8), "string \(index)")
        }
    }

    @Test("a real model gives the ids that were written for it")
    func realModel() throws {
        guard let model = getenv("DREAMER_MODEL"), let folder = getenv("DREAMER_TOKENIZER_VECTORS") else {
            print("skipped: set DREAMER_MODEL to a GGUF file and DREAMER_TOKENIZER_VECTORS to what the reference wrote")
            return
        }
        let path = String(cString: folder)
        let vectors = try TokenizerVectors("real", read: { try #require(readFile("\(path)/\($0)")) })
        let scratch = TemporaryFolder()
        let packed = try ModelPacker.pack(String(cString: model), to: "\(scratch.path)/model")
        let tokenizer = try Tokenizer(packed.folder)
        try compare(tokenizer, vectors, trusted: false)
        try compare(tokenizer, vectors, trusted: true)
    }
}
