// SPDX-License-Identifier: Apache-2.0
import Compute
import Foundation
import Inference
import RDRR
import TestSupport
import Testing

/// Models of a few thousand weights, with the logits that the transformers library gives for them.
@Suite("Networks of all families")
struct SmallModelTests {
    struct Model: CustomTestStringConvertible, Sendable {
        let name: String
        let source: String
        let rows: String
        var testDescription: String { "\(name)/\(source)" }
    }

    static let models: [Model] =
        ["llama", "qwen2", "qwen3", "gemma3", "mixtral", "llama3"].flatMap { name in
            ["", "model.gguf"].map { Model(name: name, source: $0, rows: "expected.rows") }
        } + [Model(name: "llama", source: "quantised.gguf", rows: "quantised.rows")]

    /// Rows that were expected, for each prompt.
    static func expected(_ model: Model) throws -> [(tokens: [Int32], rows: [[Float]])] {
        let bytes = try Fixtures.bytes("inference/\(model.name)/\(model.rows)")
        var place = 8
        func word() throws -> UInt32 {
            try #require(place + 4 <= bytes.count)
            defer { place += 4 }
            return bytes[place..<place + 4].reversed().reduce(0) { $0 << 8 | UInt32($1) }
        }
        try #require(bytes.starts(with: Array("DLOGROWS".utf8)))
        let vocabulary = Int(try word())
        return try (0..<Int(word())).map { _ in
            let tokens = try (0..<Int(word())).map { _ in Int32(bitPattern: try word()) }
            let rows = try tokens.map { _ in try (0..<vocabulary).map { _ in Float(bitPattern: try word()) } }
            return (tokens, rows)
        }
    }

    static func folder(_ model: Model, in temporary: TemporaryFolder) throws -> ModelFolder {
        let source = Fixtures.path("inference/\(model.name)") + (model.source.isEmpty ? "" : "/\(model.source)")
        return try ModelPacker.pack(source, to: "\(temporary.path)/model").folder
    }

    @Test("logits are those of transformers, in whatever pieces the text comes", arguments: models, [1, 5, 32])
    func single(_ model: Model, batch size: Int) throws {
        let temporary = TemporaryFolder()
        let options = ModelOptions(
            sequences: 2, batch: size, cacheFormat: .f32, precision: .single, outputs: size)
        let language = try LanguageModel(
            try Self.folder(model, in: temporary), on: CPUDevice(threads: 2), options: options)
        let largest = try Self.largestDifference(of: language, from: model, batch: size)
        #expect(largest < 1e-3, "\(model) differs by \(largest)")
    }

    /// How far a logit is from what was expected, over all prompts, each in a sequence of its own and in pieces of so many
    /// tokens.
    static func largestDifference(of language: LanguageModel, from model: Model, batch size: Int) throws -> Float {
        var row = [Float](repeating: 0, count: language.architecture.vocabulary)
        var largest: Float = 0
        for (sequence, prompt) in try expected(model).enumerated() {
            for start in stride(from: 0, to: prompt.tokens.count, by: size) {
                var batch = Batch()
                let range = start..<min(start + size, prompt.tokens.count)
                for index in range {
                    batch.append(prompt.tokens[index], position: index, sequence: sequence, wantsOutput: true)
                }
                try language.executable.run(batch)
                for index in range {
                    var span = row.mutableSpan
                    try language.executable.read(language.logits, row: index - start, into: &span)
                    // No number is no small difference.
                    for (a, b) in zip(row, prompt.rows[index]) {
                        largest = max(largest, a.isNaN ? .infinity : abs(a - b))
                    }
                }
            }
        }
        return largest
    }

    @Test("sequences in one batch do not see each other", arguments: models)
    func sequences(_ model: Model) throws {
        let temporary = TemporaryFolder()
        let options = ModelOptions(
            sequences: 2, batch: 64, cacheFormat: .f32, precision: .single, outputs: 64)
        let language = try LanguageModel(
            try Self.folder(model, in: temporary), on: CPUDevice(threads: 2), options: options)
        let prompts = try Self.expected(model)
        var batch = Batch()
        for (sequence, prompt) in prompts.enumerated() {
            for (index, token) in prompt.tokens.enumerated() {
                batch.append(token, position: index, sequence: sequence, wantsOutput: index == prompt.tokens.count - 1)
            }
        }
        try language.executable.run(batch)
        var row = [Float](repeating: 0, count: language.architecture.vocabulary)
        for (sequence, prompt) in prompts.enumerated() {
            var span = row.mutableSpan
            try language.executable.read(language.logits, row: sequence, into: &span)
            let last = try #require(prompt.rows.last)
            #expect(zip(row, last).allSatisfy { abs($0 - $1) < 1e-3 })
        }
    }
}
