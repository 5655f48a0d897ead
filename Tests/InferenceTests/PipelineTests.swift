// SPDX-License-Identifier: Apache-2.0
import Compute
import Foundation
import Inference
import RDRR
import Synchronization
import TestSupport
import Testing

@Suite("A model that computes while it comes")
struct PipelineTests {
    /// A folder with the manifest and the small files alone, and the shards' bytes.
    private struct Scene {
        let temporary = TemporaryFolder()
        let folder: ModelFolder
        let shards: [[UInt8]]

        init(_ name: String, source: String = "", shardSize: Int) throws {
            let path = Fixtures.path("inference/\(name)") + (source.isEmpty ? "" : "/\(source)")
            folder = try ModelPacker.pack(
                path, to: "\(temporary.path)/model", options: .init(shardSize: shardSize)
            ).folder
            var shards: [[UInt8]] = []
            for shard in folder.manifest.shards {
                shards.append(try folder.bytes(of: shard))
                try FileManager.default.removeItem(atPath: folder.path(of: shard))
            }
            self.shards = shards
        }
    }

    private static let options = ModelOptions(cacheFormat: .f32, precision: .single)

    /// On a thread of its own: running a model waits for shards, which tasks bring.
    private static func logits(of model: LanguageModel, _ tokens: [Int32]) async throws -> [Float] {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try blockingLogits(of: model, tokens) }) }
        }
    }

    private static func blockingLogits(of model: LanguageModel, _ tokens: [Int32]) throws -> [Float] {
        var batch = Batch()
        for (index, token) in tokens.enumerated() {
            batch.append(token, position: index, wantsOutput: index == tokens.count - 1)
        }
        try model.run(batch)
        var row = [Float](repeating: 0, count: model.architecture.vocabulary)
        var span = row.mutableSpan
        try model.executable.read(model.logits, row: 0, into: &span)
        return row
    }

    @Test(
        "shards of any size come in the order of need, and the numbers are those of the whole model",
        arguments: ["llama", "qwen2", "gemma3"], [700, 4096, 1 << 20])
    func order(_ name: String, shardSize: Int) async throws {
        let scene = try Scene(name, shardSize: shardSize)
        let asked = Mutex<[Int]>([])
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setCustomShardLoader { shard in
            asked.withLock { $0.append(shard) }
            return scene.shards[shard]
        }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: Self.options, concurrency: 1)
        let expected = try #require(
            try SmallModelTests.expected(.init(name: name, source: "", rows: "expected.rows")).first)
        let row = try await Self.logits(of: model, expected.tokens)
        let last = try #require(expected.rows.last)
        #expect(zip(row, last).allSatisfy { abs($0 - $1) < 1e-3 })
        // The embedding, then layer after layer.
        let manifest = scene.folder.manifest
        func first(_ name: String) throws -> Int {
            let shard = try #require(manifest.tensor(named: name)?.spans.first?.shard)
            return try #require(asked.withLock { $0.firstIndex(of: shard) })
        }
        let layers = model.architecture.layers
        let places = try (0..<layers).map { try first("model.layers.\($0).self_attn.q_proj.weight") }
        #expect(places == places.sorted())
        #expect(try first("model.embed_tokens.weight") == 0)
        #expect(try places.allSatisfy { $0 <= (try first("model.norm.weight")) })
        #expect(asked.withLock { Set($0).count == $0.count })
    }

    @Test("the tensor that says how pairs turn comes before all others, wherever it lies")
    func divisors() async throws {
        let scene = try Scene("llama3", source: "model.gguf", shardSize: 4096)
        let tensor = try #require(scene.folder.manifest.tensor(named: "rope_freqs.weight"))
        let asked = Mutex<[Int]>([])
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setCustomShardLoader { shard in
            asked.withLock { $0.append(shard) }
            return scene.shards[shard]
        }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: Self.options, concurrency: 1)
        #expect(asked.withLock { $0.first } == tensor.spans.first?.shard)
        let expected = try #require(
            try SmallModelTests.expected(.init(name: "llama3", source: "model.gguf", rows: "expected.rows")).first)
        let row = try await Self.logits(of: model, expected.tokens)
        #expect(zip(row, try #require(expected.rows.last)).allSatisfy { abs($0 - $1) < 1e-3 })
    }

    /// Experts out of bytes, and a list of which were asked for.
    private final class Experts: ExpertSource {
        struct Asked: Hashable {
            let expert: Int
            let layer: Int
        }
        let asked = Mutex<[Asked]>([])
        private let source: ShardExpertSource<Shards>
        private let spoils: @Sendable ([ExpertWeights]) -> [ExpertWeights]

        private struct Shards: ShardSource {
            let manifest: RDRRManifest
            let shards: [[UInt8]]
            func shard(_ index: Int, range: Range<Int>?) async throws -> [UInt8] {
                Array(shards[index][range ?? 0..<shards[index].count])
            }
        }

        init(_ scene: Scene, spoils: @escaping @Sendable ([ExpertWeights]) -> [ExpertWeights] = { $0 }) {
            source = ShardExpertSource(Shards(manifest: scene.folder.manifest, shards: scene.shards))
            self.spoils = spoils
        }

        func expert(_ expert: Int, layer: Int) async throws -> [ExpertWeights] {
            asked.withLock { $0.append(Asked(expert: expert, layer: layer)) }
            return spoils(try await source.expert(expert, layer: layer))
        }
    }

    @Test(
        "experts come from a source of their own, each once and when a token asks for it; their shards do not",
        arguments: [
            ("", true, false), ("", false, false), ("model.gguf", true, false), ("model.gguf", false, false),
            ("model.gguf", true, true),
        ])
    func expertSource(_ form: String, isInFolder: Bool, onVulkan: Bool) async throws {
        let device: any ComputeDevice
        if onVulkan {
            guard let vulkan = VulkanModelTests.device() else { return }
            device = vulkan
        } else {
            device = CPUDevice(threads: 1)
        }
        let scene = try Scene("mixtral", source: form, shardSize: 512)
        let expected = try #require(
            try SmallModelTests.expected(.init(name: "mixtral", source: form, rows: "expected.rows")).first)
        let manifest = scene.folder.manifest
        let dense = Set(manifest.tensors.filter { !$0.name.contains("exp") }.flatMap(\.shards))
        let experts = Experts(scene)
        let asked = Mutex<Set<Int>>([])
        let model: LanguageModel
        if isInFolder {
            for shard in dense {
                let path = scene.folder.path(of: manifest.shards[shard])
                try Data(scene.shards[shard]).write(to: URL(filePath: path))
            }
            model = try LanguageModel(scene.folder, on: device, options: Self.options, experts: experts)
        } else {
            let pipeline = ModelPipeline(scene.folder)
            pipeline.setExpertSource(experts)
            pipeline.setCustomShardLoader { shard in
                _ = asked.withLock { $0.insert(shard) }
                return scene.shards[shard]
            }
            model = try await pipeline.load(on: device, options: Self.options)
        }
        let first = try await Self.logits(of: model, [expected.tokens[0]])
        #expect(zip(first, expected.rows[0]).allSatisfy { abs($0 - $1) < 1e-3 })
        // Two of four, in each of two layers.
        #expect(experts.asked.withLock { $0.count } == 4)
        let last = try await Self.logits(of: model, expected.tokens)
        #expect(zip(last, try #require(expected.rows.last)).allSatisfy { abs($0 - $1) < 1e-3 })
        #expect(experts.asked.withLock { Set($0).count == $0.count })
        #expect(asked.withLock { $0.isSubset(of: dense) })
    }

    @Test("an expert that is cut short, or comes without one of its matrices, is told", arguments: [false, true])
    func badExpert(isCut: Bool) async throws {
        let scene = try Scene("mixtral", source: "model.gguf", shardSize: 1 << 20)
        let experts = Experts(scene) { weights in
            isCut
                ? weights.map { ExpertWeights(slice: $0.slice, bytes: $0.bytes.dropLast()) } : Array(weights.dropLast())
        }
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setExpertSource(experts)
        pipeline.setCustomShardLoader { scene.shards[$0] }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: Self.options)
        let error = await #expect(throws: ComputeError.self) { try await Self.logits(of: model, [1, 2]) }
        #expect(try #require(error).message.contains("expert"))
    }

    @Test("the wait for weights that do not come ends when loading is cancelled", arguments: [false, true])
    func cancel(waitsForExpert: Bool) async throws {
        let scene = try Scene("mixtral", source: "model.gguf", shardSize: 512)
        let gate = Gate()
        let hasBegun = Gate()
        struct Silent: ExpertSource {
            let gate, hasBegun: Gate
            func expert(_ expert: Int, layer: Int) async throws -> [ExpertWeights] {
                hasBegun.open()
                await gate.pass()
                return []
            }
        }
        let pipeline = ModelPipeline(scene.folder)
        if waitsForExpert { pipeline.setExpertSource(Silent(gate: gate, hasBegun: hasBegun)) }
        pipeline.setCustomShardLoader { shard in
            if !waitsForExpert {
                hasBegun.open()
                await gate.pass()
            }
            return scene.shards[shard]
        }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: Self.options)
        let run = Task { try await Self.logits(of: model, [1, 2]) }
        await hasBegun.pass()
        model.cancelLoading()
        await #expect(throws: (any Error).self) { try await run.value }
        gate.open()
    }

    /// The shards of experts that these tokens do not ask for.
    private static func idleShards(_ scene: Scene, _ tokens: [Int32]) async throws -> Set<Int> {
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setCustomShardLoader { scene.shards[$0] }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: options)
        let needed = Mutex<Set<Int>>([])
        let program = model.executable.program
        let bytes = scene.shards.flatMap { $0 }
        model.executable.provide { (weight, part) throws(ComputeError) in
            let shape = program[weight]
            guard let tensor = scene.folder.manifest.tensor(named: shape.name) else {
                throw ComputeError(.missing, shape.name)
            }
            let range = part * shape.partBytes..<(part + 1) * shape.partBytes
            let spans = tensor.spans(of: range)
            needed.withLock { $0.formUnion(spans.map(\.shard)) }
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: range.count, alignment: 64)
            let start = scene.shards[..<spans[0].shard].reduce(0) { $0 + $1.count } + spans[0].offset
            copy.copyBytes(from: bytes[start..<start + range.count])
            return WeightBytes(UnsafeRawBufferPointer(copy), owner: nil)
        }
        _ = try await logits(of: model, tokens)
        let dense = Set(scene.folder.manifest.tensors.filter { !$0.name.contains("exps") }.flatMap(\.shards))
        return Set(scene.shards.indices).subtracting(needed.withLock { $0 }).subtracting(dense)
    }

    @Test("of a mixture of experts those that no token asks for need not come")
    func experts() async throws {
        let scene = try Scene("mixtral", source: "model.gguf", shardSize: 512)
        let expected = try #require(
            try SmallModelTests.expected(.init(name: "mixtral", source: "model.gguf", rows: "expected.rows")).first)
        let first = [expected.tokens[0]]
        let idle = try await Self.idleShards(scene, first)
        #expect(idle.count > scene.shards.count / 10)
        let gate = Gate()
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setCustomShardLoader { shard in
            if idle.contains(shard) { await gate.pass() }
            return scene.shards[shard]
        }
        let model = try await pipeline.load(
            on: CPUDevice(threads: 1), options: Self.options, concurrency: scene.shards.count)
        let row = try await Self.logits(of: model, first)
        #expect(zip(row, expected.rows[0]).allSatisfy { abs($0 - $1) < 1e-3 })
        #expect(gate.passed == 0, "the token came before the last byte")
        gate.open()
        // Later tokens ask for others.
        let later = try await Self.logits(of: model, expected.tokens)
        #expect(zip(later, try #require(expected.rows.last)).allSatisfy { abs($0 - $1) < 1e-3 })
    }

    @Test("bytes with another hash, and a loader's own error, are told to whoever waits", arguments: [false, true])
    func faults(isWrong: Bool) async throws {
        struct Unreachable: Error {}
        let scene = try Scene("llama", shardSize: 4096)
        let pipeline = ModelPipeline(scene.folder)
        pipeline.setCustomShardLoader { shard in
            guard shard == scene.shards.count - 1 else { return scene.shards[shard] }
            if !isWrong { throw Unreachable() }
            var bytes = scene.shards[shard]
            bytes[0] ^= 1
            return bytes
        }
        let model = try await pipeline.load(on: CPUDevice(threads: 1), options: Self.options)
        if isWrong {
            await #expect(throws: RDRRError.self) { try await Self.logits(of: model, [1, 2]) }
        } else {
            await #expect(throws: Unreachable.self) { try await Self.logits(of: model, [1, 2]) }
        }
    }
}
