// SPDX-License-Identifier: Apache-2.0
import Compute
import Foundation
import Inference
import RDRR
import Synchronization
import TestSupport
import Testing

@Suite("Generation")
struct GenerationTests {
    /// A small model with its vocabulary.
    private struct Scene {
        let temporary = TemporaryFolder()
        let model: LanguageModel
        let tokenizer: Tokenizer

        init(sequences: Int = 1, context: Int = 64, batch: Int = 8) throws {
            let folder = try SmallModelTests.folder(.init(name: "llama", source: "", rows: ""), in: temporary)
            model = try LanguageModel(
                folder, on: CPUDevice(threads: 1),
                options: ModelOptions(
                    context: context, sequences: sequences, batch: batch, cacheFormat: .f32, precision: .single))
            tokenizer = try GenerationTests.vocabulary()
        }

        /// What comes when each time the likeliest token is taken, computed from the whole text each time.
        func likeliest(after prompt: [Int32], count: Int) throws -> [Int32] {
            var tokens = prompt
            var row = [Float](repeating: 0, count: model.architecture.vocabulary)
            for _ in 0..<count {
                for start in stride(from: 0, to: tokens.count, by: 8) {
                    var batch = Batch()
                    for index in start..<min(start + 8, tokens.count) {
                        batch.append(tokens[index], position: index, wantsOutput: index == tokens.count - 1)
                    }
                    try model.run(batch)
                }
                var span = row.mutableSpan
                try model.executable.read(model.logits, row: 0, into: &span)
                let best = try #require(row[..<tokenizer.count].indices.max { row[$0] < row[$1] })
                tokens.append(Int32(best))
            }
            return Array(tokens.dropFirst(prompt.count))
        }
    }

    /// As many tokens as the small model's network has: three control tokens and words of two letters.
    private static func vocabulary() throws -> Tokenizer {
        let letters = Array("abcdefghijkl")
        let words = (0..<125).map { String([letters[$0 / 12], letters[$0 % 12]]) }
        let tokens = ["<unk>", "<s>", "</s>"] + words
        let entries = tokens.enumerated().map { "\"\($1)\":\($0)" }.joined(separator: ",")
        let scores = tokens.indices.map { "-\($0)" }.joined(separator: ",")
        let kinds = (["2", "3", "3"] + words.map { _ in "1" }).joined(separator: ",")
        let text = """
            {"type":"unigram","model":"llama","vocab":{\(entries)},"vocabSize":128,"scores":[\(scores)],
            "tokenTypes":[\(kinds)],"specialTokens":{"bos":1,"eos":2,"unk":0},"addSpacePrefix":false}
            """
        return try Tokenizer(parsing: Array(text.utf8), format: .bundled)
    }

    private static func request(
        _ prompt: [Int32], _ maxTokens: Int?, sampling: SamplingOptions = .greedy
    ) -> GenerationRequest {
        GenerationRequest(prompt: prompt, sampling: sampling, maxTokens: maxTokens, ignoresEnd: true)
    }

    /// Everything that a request gives.
    private static func collect(
        _ stream: AsyncThrowingStream<GenerationEvent, any Error>
    ) async throws -> (tokens: [GeneratedToken], end: GenerationEnd) {
        var tokens: [GeneratedToken] = []
        for try await event in stream {
            switch event {
            case .prompt: break
            case .token(let token): tokens.append(token)
            case .end(let end): return (tokens, end)
            }
        }
        throw CancellationError()
    }

    static let prompts: [[Int32]] = [[5], [7, 9, 11], (0..<23).map { $0 * 5 % 100 }, (0..<40).map { $0 * 3 % 90 + 4 }]

    @Test("the likeliest tokens are those of the whole text computed anew each time", arguments: prompts)
    func greedy(_ prompt: [Int32]) async throws {
        let scene = try Scene()
        let expected = try scene.likeliest(after: prompt, count: 12)
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        let (tokens, end) = try await Self.collect(engine.generate(Self.request(prompt, 12)))
        #expect(tokens.map(\.id) == expected)
        #expect(end.reason == .length && end.promptTokens == prompt.count && end.generatedTokens == 12)
        #expect(tokens.map(\.text).joined() + end.text == scene.tokenizer.decode(expected))
    }

    @Test("several texts at a time are each what they are alone")
    func together() async throws {
        let scene = try Scene(sequences: 3)
        let expected = try Self.prompts.map { try scene.likeliest(after: $0, count: 15) }
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        // One more than there are sequences: it waits for its turn.
        let streams = try Self.prompts.map { try engine.generate(Self.request($0, 15)) }
        for (stream, expected) in zip(streams, expected) {
            #expect(try await Self.collect(stream).tokens.map(\.id) == expected)
        }
        #expect(engine.waiting == 0)
    }

    @Test("a prompt that goes on from what is kept takes but its new tokens")
    func reuse() async throws {
        let scene = try Scene(sequences: 2)
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        let prompt = Self.prompts[2]
        let (first, _) = try await Self.collect(engine.generate(Self.request(prompt, 5)))
        let longer = prompt + first.map(\.id) + [3, 4]
        let expected = try Scene().likeliest(after: longer, count: 6)
        let (tokens, end) = try await Self.collect(engine.generate(Self.request(longer, 6)))
        #expect(tokens.map(\.id) == expected)
        // The last token that was generated never went through the network.
        #expect(end.reusedTokens == prompt.count + 4)
        // Another text takes the other sequence, and the first is kept; asked for again, all but the last token is known.
        _ = try await Self.collect(engine.generate(Self.request([90, 91], 2)))
        let (again, last) = try await Self.collect(engine.generate(Self.request(longer, 6)))
        #expect(again.map(\.id) == expected && last.reusedTokens == longer.count - 1)
    }

    @Test("the same seed gives the same text, another seed another")
    func seeds() async throws {
        let scene = try Scene()
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        var texts: [[Int32]] = []
        for seed: UInt64 in [1, 1, 2] {
            var sampling = SamplingOptions()
            sampling.temperature = 2
            sampling.seed = seed
            texts.append(
                try await Self.collect(engine.generate(Self.request([5, 6], 30, sampling: sampling))).tokens.map(\.id))
        }
        #expect(texts[0] == texts[1] && texts[0] != texts[2])
    }

    @Test("the context's end is told, and a prompt that fills it is refused")
    func contextEnd() async throws {
        let scene = try Scene(context: 20)
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        let (tokens, end) = try await Self.collect(engine.generate(Self.request([1, 2, 3], nil)))
        // The last token chosen needs no place.
        #expect(end.reason == .contextFull && tokens.count == 20 - 3 + 1)
        for count in [20, 21, 100_000] {
            let error = #expect(throws: InferenceError.self) {
                try engine.generate(Self.request(Array(repeating: 1, count: count), 1))
            }
            #expect(error?.code == .tooLong)
        }
        #expect(throws: InferenceError.self) { try engine.generate(Self.request([], 1)) }
        #expect(throws: InferenceError.self) { try engine.generate(Self.request([1, 500_000], 1)) }
        #expect(throws: InferenceError.self) { try engine.generate(Self.request([-1], 1)) }
        #expect(throws: InferenceError.self) { try engine.generate(Self.request([1], 0)) }
        var sampling = SamplingOptions()
        sampling.topP = 7
        #expect(throws: SamplingError.self) { try engine.generate(Self.request([1], 1, sampling: sampling)) }
        // The engine still serves.
        #expect(try await Self.collect(engine.generate(Self.request([1], 2))).end.reason == .length)
    }

    @Test("a text that is to end it ends it, and is not given out")
    func stops() async throws {
        let scene = try Scene()
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        let (tokens, _) = try await Self.collect(engine.generate(Self.request([7, 9], 20)))
        let text = tokens.map(\.text).joined()
        let stop = String(text.dropFirst(text.count / 2).prefix(3))
        var request = Self.request([7, 9], 20)
        request.stops = [stop]
        let (shorter, end) = try await Self.collect(engine.generate(request))
        #expect(end.reason == .stopSequence)
        let before = try #require(text.firstRange(of: stop)).lowerBound
        #expect(shorter.map(\.text).joined() + end.text == text[..<before])
    }

    @Test("whoever stops listening frees the sequence")
    func cancellation() async throws {
        let scene = try Scene(context: 128)
        let engine = try GenerationEngine(scene.model, tokenizer: scene.tokenizer)
        let first = try engine.generate(Self.request([5], 120))
        let running = Task {
            var count = 0
            for try await event in first {
                if case .token = event { count += 1 }
                if count == 3 { return }
            }
        }
        try await running.value
        // The stream went with its reader.
        let streams = try (0..<2).map { _ in try engine.generate(Self.request([6], 3)) }
        for stream in streams { #expect(try await Self.collect(stream).tokens.count == 3) }
    }

    @Test("of too many who wait those are refused who come last")
    func busy() async throws {
        let temporary = TemporaryFolder()
        let folder = try SmallModelTests.folder(.init(name: "llama", source: "", rows: ""), in: temporary)
        let gate = Gate()
        let pipeline = ModelPipeline(folder)
        pipeline.setCustomShardLoader { _ in
            await gate.pass()
            return nil
        }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: ModelOptions(context: 64))
        let engine = try GenerationEngine(model, tokenizer: try Self.vocabulary(), queueLimit: 3)
        // The first has the sequence, and waits for weights.
        let first = try engine.generate(Self.request([5], 3))
        for try await event in first {
            if case .prompt = event { break }
        }
        let second = try engine.generate(Self.request([5], 3))
        let waiting = try (0..<2).map { _ in try engine.generate(Self.request([6], 2)) }
        let error = #expect(throws: InferenceError.self) { try engine.generate(Self.request([6], 1)) }
        #expect(error?.code == .busy)
        gate.open()
        for stream in waiting { #expect(try await Self.collect(stream).tokens.count == 2) }
        withExtendedLifetime(second) {}
    }

    @Test("numbers that are none end a text with an error, and the engine goes on")
    func invalidNumbers() async throws {
        let temporary = TemporaryFolder()
        let folder = try SmallModelTests.folder(.init(name: "llama", source: "", rows: ""), in: temporary)
        // A weight of the last norm becomes NaN.
        let tensor = try #require(folder.manifest.tensor(named: "model.norm.weight"))
        let shard = folder.path(of: folder.manifest.shards[tensor.spans[0].shard])
        let file = try FileHandle(forUpdating: URL(filePath: shard))
        try file.seek(toOffset: UInt64(tensor.spans[0].offset))
        try file.write(contentsOf: Data([0, 0, 0xC0, 0x7F]))
        try file.close()
        let model = try LanguageModel(folder, on: CPUDevice(threads: 1), options: ModelOptions(context: 32))
        let engine = try GenerationEngine(model, tokenizer: try Self.vocabulary())
        for _ in 0..<2 {
            let error = await #expect(throws: SamplingError.self) {
                _ = try await Self.collect(engine.generate(Self.request([5, 6], 3)))
            }
            #expect(error?.code == .notANumber, "\(String(describing: error))")
        }
    }
}
