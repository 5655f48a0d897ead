// SPDX-License-Identifier: Apache-2.0
import Inference
import TestSupport
import Testing
import Wire

/// What Hugging Face's tokenizers gave for a vocabulary; see `Reference/tokenizer_vectors.py`.
struct TokenizerVectors {
    let json: JSON
    /// The strings, as they were given.
    let strings: [[UInt8]]

    /// The names of the vocabularies that `Fixtures/tokenizer` holds.
    static let names = ["gpt-2", "smollm", "llama-bpe", "qwen2", "sentencepiece", "sentencepiece-prefix"]

    init(_ name: String) throws {
        try self.init(name, read: { try Fixtures.bytes("tokenizer/\($0)") })
    }

    init(_ name: String, read: (String) throws -> [UInt8]) throws {
        json = try JSON(parsing: read("\(name).json"))
        strings = try #require(try JSON(parsing: read("strings.json")).array).map {
            try #require(bytes(hex: $0.string ?? "?"))
        }
    }

    /// The ids of each string, as a user's or as trusted.
    func ids(trusted: Bool) throws -> [[Int32]] {
        let user = try #require(json["user"]?.array).map { Self.ids($0) }
        guard trusted, let changes = json["trusted"]?.object else { return user }
        var all = user
        for (index, ids) in changes { all[try #require(Int(index))] = Self.ids(ids) }
        return all
    }

    static func ids(_ json: JSON?) -> [Int32] { (json?.array ?? []).map { Int32($0.integer ?? -1) } }

    /// The vocabulary in one of both forms.
    func tokenizer(_ format: Tokenizer.Format) throws -> Tokenizer {
        let file = try #require(format == .bundled ? json["tokenizer"] : json["huggingFace"])
        return try Tokenizer(parsing: Array(file.serialized().utf8), format: format)
    }
}

/// The bytes that hexadecimal digits say.
func bytes(hex: String) -> [UInt8]? {
    let digits = Array(hex.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
            return nil
        }
        bytes.append(byte)
    }
    return bytes
}

/// A vocabulary as a file of RDRR's own form.
func vocabularyFile(_ members: (String, JSON)...) -> [UInt8] {
    var object: JSON.Object = [:]
    for (name, value) in members { object[name] = value }
    return Array(JSON.object(object).serialized().utf8)
}
