// SPDX-License-Identifier: Apache-2.0
import Inference
import RDRR
import Testing
import Wire

@Suite("Tokenizers")
struct TokenizerTests {
    private func smollm() throws -> Tokenizer { try TokenizerVectors("smollm").tokenizer(.bundled) }

    // MARK: Trust

    @Test("the name of a control token is one token where it is trusted and text where it is not")
    func trust() throws {
        let tokenizer = try smollm()
        let start = try #require(tokenizer.token(named: "<|im_start|>"))
        let trusted = try tokenizer.encode(MarkedText("<|im_start|>", isTrusted: true))
        let user = try tokenizer.encode("<|im_start|>")
        #expect(trusted == [start])
        #expect(!user.contains(start) && user.count > 1)
        #expect(tokenizer.decode(user) == "<|im_start|>")
        #expect(tokenizer.decode(trusted) == "")
        #expect(tokenizer.kind(of: start) == .control)
    }

    @Test("a user's text cannot complete a control token, nor hide the one that the template puts behind it")
    func mixedTrust() throws {
        let tokenizer = try smollm()
        let end = try #require(tokenizer.token(named: "<|im_end|>"))
        func prompt(_ user: String, _ template: String) throws -> [Int32] {
            var text = MarkedText(user)
            text.append(MarkedText(template, isTrusted: true))
            return try tokenizer.encode(text, addingSpecialTokens: false)
        }
        #expect(try !prompt("<|im_", "end|>").contains(end))
        #expect(try prompt("hi", "<|im_end|>").last == end)
        #expect(try prompt("<|im_end|", "<|im_end|>").filter { $0 == end }.count == 1)
        #expect(try prompt("<|im_end|>", "<|im_end|>").filter { $0 == end }.count == 1)
    }

    @Test("text that is trusted in part is cut into words as if it were of one piece")
    func wordsAcrossTrust() throws {
        let tokenizer = try smollm()
        var text = MarkedText("the qui", isTrusted: true)
        text.append(MarkedText("ck brown"))
        #expect(try tokenizer.encode(text) == tokenizer.encode("the quick brown"))
    }

    @Test("the tokens that a model wants around text are added when asked for")
    func specialTokens() throws {
        let json = try TokenizerVectors("sentencepiece").json
        var file = try #require(json["tokenizer"]?.object)
        file["addBosToken"] = true
        file["addEosToken"] = true
        let tokenizer = try Tokenizer(parsing: Array(JSON.object(file).serialized().utf8), format: .bundled)
        let plain = try tokenizer.encode("the dog", addingSpecialTokens: false)
        #expect(try tokenizer.encode("the dog") == [1] + plain + [2])
        #expect(tokenizer.endOfGeneration.contains(2))
    }

    // MARK: Long text

    @Test(
        "merging goes pair by pair, the smallest rank first, in long words too",
        arguments: 1...20 as ClosedRange<UInt64>)
    func merging(seed: UInt64) throws {
        let vectors = try TokenizerVectors("gpt-2")
        let file = try #require(vectors.json["tokenizer"])
        let tokenizer = try vectors.tokenizer(.bundled)
        let merges = try #require(file["merges"]?.array).compactMap { $0.string }
        let vocabulary = try #require(file["vocab"]?.object)
        var random = Entropy(seed: seed)
        let letters = Array("aeiournstlhd")
        let word = String(
            (0..<Int.random(in: 2...300, using: &random)).map { _ in letters[Int.random(in: 0..<12, using: &random)] })
        // The definition, word for word.
        var parts = word.map { String($0) }
        let ranks = Dictionary(uniqueKeysWithValues: merges.enumerated().map { ($1, $0) })
        while true {
            let pairs = zip(parts, parts.dropFirst()).map { ranks["\($0) \($1)"] ?? .max }
            guard let best = pairs.min(), best < .max, let place = pairs.firstIndex(of: best) else { break }
            parts.replaceSubrange(place...place + 1, with: [parts[place] + parts[place + 1]])
        }
        let expected = parts.map { Int32(vocabulary[$0]?.integer ?? -1) }
        #expect(try tokenizer.encode(word) == expected, "seed \(seed)")
    }

    @Test(
        "a long run without a boundary takes no quadratic time", arguments: ["x", "ab", "é", " ", "日", "<", "\n", "1"])
    func longRuns(unit: String) throws {
        for name in ["gpt-2", "qwen2", "sentencepiece"] {
            let tokenizer = try TokenizerVectors(name).tokenizer(.bundled)
            let text = String(repeating: unit, count: 24_000 / unit.utf8.count)
            let ids = try tokenizer.encode(text)
            #expect(tokenizer.decode(ids) == text)
        }
    }

    @Test(
        "SentencePiece's pieces merge by their scores, equal ones from left to right, however long the text",
        arguments: 1...8 as ClosedRange<UInt64>)
    func scores(seed: UInt64) throws {
        var random = Entropy(seed: seed)
        // Pieces of three letters and spaces, so that much can merge; few scores, so that many are equal.
        let letters = ["a", "b", "\u{2581}", "é"]
        var pieces = letters
        while pieces.count < 40 {
            let piece = (0..<Int.random(in: 2...5, using: &random)).map { _ in
                letters[Int.random(in: 0..<4, using: &random)]
            }.joined()
            if !pieces.contains(piece) { pieces.append(piece) }
        }
        let scores = pieces.map { _ in -Int.random(in: 0...Int(seed) * 3, using: &random) }
        let numbers = Dictionary(uniqueKeysWithValues: zip(pieces, 0...))
        var vocabulary: JSON.Object = [:]
        for (id, piece) in (["<unk>"] + pieces).enumerated() { vocabulary[piece] = .integer(Int64(id)) }
        let file: JSON = [
            "model": "llama", "vocab": .object(vocabulary), "addBosToken": false, "addSpacePrefix": false,
            "scores": .array([0] + scores.map { .integer(Int64($0)) }),
            "tokenTypes": .array([2] + [JSON](repeating: 1, count: pieces.count)),
        ]
        let tokenizer = try Tokenizer(parsing: Array(file.serialized().utf8), format: .bundled)
        for length in seed > 1 ? [3, 31, 33, 150] : [1100] {
            let text = (0..<length).map { _ in letters[Int.random(in: 0..<4, using: &random)] }
            // The definition, word for word.
            var parts = text
            while true {
                var best: (score: Int, place: Int)?
                for place in 0..<max(0, parts.count - 1) {
                    guard let piece = numbers[parts[place] + parts[place + 1]] else { continue }
                    if best.map({ scores[piece] > $0.score }) ?? true { best = (scores[piece], place) }
                }
                guard let best else { break }
                parts.replaceSubrange(best.place...best.place + 1, with: [parts[best.place] + parts[best.place + 1]])
            }
            let expected = parts.map { Int32((pieces.firstIndex(of: $0) ?? -2) + 1) }
            let written = text.map { $0 == "\u{2581}" ? " " : $0 }.joined()
            #expect(try tokenizer.encode(written) == expected, "seed \(seed), \(length) letters")
        }
    }

    @Test("SentencePiece's user-defined runs of spaces and line ends go before all merging")
    func runsOfSpaces() throws {
        // As Gemma has them: in a GGUF file with plain spaces, and with a score that no merge would ever take.
        let pieces = ["a", "b", "\u{2581}", "\u{2581}b", "\n", "  ", "   ", "\u{2581}a"]
        var vocabulary: JSON.Object = ["<unk>": 0]
        for (id, piece) in pieces.enumerated() { vocabulary[piece] = .integer(Int64(id + 1)) }
        let file: JSON = [
            "model": "llama", "vocab": .object(vocabulary), "addBosToken": false, "addSpacePrefix": false,
            "scores": [0, -1, -2, -3, -4, -1000, -1000, -1000, -5], "tokenTypes": [2, 1, 1, 1, 1, 4, 4, 4, 1],
        ]
        let tokenizer = try Tokenizer(parsing: Array(file.serialized().utf8), format: .bundled)
        for (text, ids) in [
            ("a b", [1, 4]), ("a  b", [1, 6, 2]), ("   b", [7, 2]), ("    b", [7, 4]), ("     b", [7, 6, 2]),
            ("a\n  b", [1, 5, 6, 2]), ("a\n a", [1, 5, 8]), ("\u{2581}\u{2581}b", [6, 2]), (" ", [3]), ("  ", [6]),
        ] as [(String, [Int32])] {
            #expect(try tokenizer.encode(text) == ids)
            #expect(tokenizer.decode(ids) == text.replacing("\u{2581}", with: " "))
        }
    }

    @Test(
        "words that come again get the tokens that they got before",
        arguments: ["gpt-2", "llama-bpe", "qwen2", "smollm"])
    func repeatedWords(name: String) throws {
        let vectors = try TokenizerVectors(name)
        let tokenizer = try vectors.tokenizer(.bundled)
        var random = Entropy(seed: 6)
        let words = (0..<60).map { _ in
            " "
                + String(
                    (0..<Int.random(in: 1...40, using: &random)).map { _ in
                        "abcdeé日".randomElement(using: &random) ?? "a"
                    })
        }
        let text = (0..<400).map { _ in words[Int.random(in: 0..<words.count, using: &random)] }
        let apart = try text.flatMap { try tokenizer.encode($0) }
        #expect(try tokenizer.encode(text.joined()) == apart)
        #expect(try tokenizer.encode(text.joined() + "<|im_end|>" + text.joined()).starts(with: apart))
    }

    @Test("a text of more tokens than there is room for is refused, before they are made where that can be")
    func limit() throws {
        for name in TokenizerVectors.names {
            let tokenizer = try TokenizerVectors(name).tokenizer(.bundled)
            let text = "The quick brown fox, 123 times. "
            let count = try tokenizer.encode(text).count
            #expect(try tokenizer.encode(text, limit: count).count == count)
            for (text, limit) in [(text, count - 1), (text, 0), (String(repeating: "a", count: 100_000), 1000)] {
                let error = #expect(throws: TokenizerError.self) { try tokenizer.encode(text, limit: limit) }
                #expect(error?.code == .tooLong)
            }
            #expect(try tokenizer.encode("", limit: 0) == [])
        }
    }

    @Test("more text than the bound is refused")
    func tooLong() throws {
        let text = String(repeating: "a", count: Tokenizer.longestText + 1)
        let tokenizer = try smollm()
        let error = #expect(throws: TokenizerError.self) { try tokenizer.encode(text) }
        #expect(error?.code == .tooLong)
    }

    // MARK: Wrong files

    private static let good: JSON.Object = {
        let tokens = (0...255).map { (byte: Int) -> String in
            let isVisible = (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
            let before = (0..<byte).count { !((0x21...0x7E).contains($0) || (0xA1...0xAC).contains($0) || $0 >= 0xAE) }
            return String(Unicode.Scalar(UInt32(isVisible ? byte : 0x100 + before)) ?? "?")
        }
        var vocabulary: JSON.Object = [:]
        for (id, token) in (tokens + ["he", "<end>"]).enumerated() { vocabulary[token] = .integer(Int64(id)) }
        return [
            "model": "gpt2", "preTokenizer": "gpt-2", "vocab": .object(vocabulary), "merges": ["h e"],
            "tokenTypes": .array([JSON](repeating: 1, count: 257) + [3]), "specialTokens": ["eos": 257],
        ]
    }()

    private func read(_ changes: (String, JSON?)...) throws -> Tokenizer {
        var object = Self.good
        for (name, value) in changes { object[name] = value }
        return try Tokenizer(parsing: Array(JSON.object(object).serialized().utf8), format: .bundled)
    }

    @Test("a small vocabulary can be read")
    func smallVocabulary() throws {
        let tokenizer = try read()
        #expect(tokenizer.count == 258)
        #expect(try tokenizer.encode("he") == [256])
        #expect(try tokenizer.encode("eh") == [0x65, 0x68])
        #expect(tokenizer.end == 257 && tokenizer.endOfGeneration == [257])
        #expect(tokenizer.decode([256, 257, 999, -1]) == "he")
    }

    @Test("what cannot be used is refused with the reason")
    func wrongFiles() throws {
        func refuses(_ code: TokenizerError.Code, _ changes: (String, JSON?)...) {
            var object = Self.good
            for (name, value) in changes { object[name] = value }
            let bytes = Array(JSON.object(object).serialized().utf8)
            let error = #expect(throws: TokenizerError.self) { try Tokenizer(parsing: bytes, format: .bundled) }
            #expect(error?.code == code, "\(changes)")
        }
        refuses(.unsupported, ("preTokenizer", "tekken"))
        refuses(.missing, ("preTokenizer", .null))
        refuses(.unsupported, ("model", "bert"))
        refuses(.missing, ("model", "llama"))
        refuses(.mismatch, ("tokenTypes", [1, 2, 3]))
        refuses(.mismatch, ("merges", ["h x"]))
        refuses(.malformed, ("merges", ["hx"]))
        refuses(.malformed, ("merges", ["h e x"]))
        refuses(.malformed, ("merges", ["h 日"]))
        refuses(.mismatch, ("specialTokens", ["eos": 258]))
        refuses(.mismatch, ("specialTokens", ["eos": -1]))
        refuses(.malformed, ("vocab", ["a": 0, "b": 0]))
        refuses(.malformed, ("vocab", ["a": -1]))
        refuses(.malformed, ("vocab", ["a": 5_000_000]))
        refuses(.malformed, ("vocab", [:]))
        refuses(.malformed, ("vocab", 5))
        refuses(.mismatch, ("vocab", ["a": 0]), ("tokenTypes", .null), ("specialTokens", .null))
        refuses(.mismatch, ("model", "llama"), ("scores", [1, 2]))
    }

    @Test(
        "a file that is cut short or changed anywhere never traps", arguments: [Tokenizer.Format.bundled, .huggingFace])
    func damagedFiles(format: Tokenizer.Format) throws {
        let vectors = try TokenizerVectors("sentencepiece")
        let json = try #require(format == .bundled ? vectors.json["tokenizer"] : vectors.json["huggingFace"])
        let bytes = Array(json.serialized().utf8)
        var random = Entropy(seed: 11)
        for _ in 0..<60 {
            let cut = Array(bytes.prefix(Int.random(in: 0..<bytes.count, using: &random)))
            #expect(throws: TokenizerError.self) { try Tokenizer(parsing: cut, format: format) }
            var changed = bytes
            changed[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            if let tokenizer = try? Tokenizer(parsing: changed, format: format) {
                _ = try tokenizer.encode("a b <0x41>")
            }
        }
    }

    // MARK: Folders

    @Test("a packed model brings its tokenizer and its chat template along")
    func folder() throws {
        let scratch = TemporaryFolder()
        try SyntheticModel(size: 400_000, seed: 3).write(to: "\(scratch.path)/model.gguf")
        let packed = try ModelPacker.pack("\(scratch.path)/model.gguf", to: "\(scratch.path)/packed")
        let tokenizer = try Tokenizer(packed.folder)
        #expect(tokenizer.beginning == 1 && tokenizer.end == 2 && !tokenizer.addsBeginning)
        #expect(tokenizer.endOfGeneration == [0, 2])
        let text = "Grüße, 123 <|im_end|>"
        #expect(tokenizer.decode(try tokenizer.encode(text)) == text)
        let template = try #require(try ChatTemplate(packed.folder))
        let prompt = try template.render([ChatMessage(role: "user", content: "Hi<|im_end|>")])
        #expect(prompt.string == "<|im_start|>user\nHi<|im_end|><|im_end|>\n<|im_start|>assistant\n")
        let ids = try tokenizer.encode(prompt)
        #expect(ids.filter { $0 == 1 }.count == 2 && ids.filter { $0 == 2 }.count == 1)
    }
}
