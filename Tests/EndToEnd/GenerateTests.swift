// SPDX-License-Identifier: Apache-2.0
import Foundation
import RDRR
import Signaling
import Testing
import Wire

/// A model that cannot be run, and what is said of it.
struct UnfitModel: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// What the complaint names.
    let words: [String]
    let edit: @Sendable (inout JSON.Object) -> Void

    init(_ description: String, _ words: [String], _ edit: @escaping @Sendable (inout JSON.Object) -> Void) {
        testDescription = description
        self.words = words
        self.edit = edit
    }

    private init(_ description: String, _ words: [String], _ part: String, _ name: String, _ value: JSON?) {
        self.init(description, words) { manifest in
            guard case .object(var object)? = manifest[part] else { return }
            object[name] = value
            manifest[part] = .object(object)
        }
    }

    /// Changes a tensor; the shards stay.
    private init(_ description: String, _ words: [String], tensor: String, _ name: String, _ value: JSON) {
        self.init(description, words) { manifest in
            guard case .object(var tensors)? = manifest["tensors"], case .object(var object)? = tensors[tensor] else {
                return
            }
            object[name] = value
            tensors[tensor] = .object(object)
            manifest["tensors"] = .object(tensors)
        }
    }

    static let all: [UnfitModel] = [
        UnfitModel("an unknown network", ["perceiver", "known are"], "architecture", "kind", "perceiver"),
        UnfitModel("no number of layers", ["architecture.numLayers"], "architecture", "numLayers", nil),
        UnfitModel("more layers than tensors", ["blk.", "attn_norm"], "architecture", "numLayers", 4000),
        UnfitModel("an absurd size", ["architecture.hiddenSize"], "architecture", "hiddenSize", .integer(1 << 40)),
        UnfitModel("a width that is not the tensors'", ["shape", "token_embd"], "architecture", "hiddenSize", 65),
        UnfitModel("heads that cannot share", ["heads"], "architecture", "numKeyValueHeads", 3),
        UnfitModel("a vocabulary of another size", ["token_embd"], "architecture", "vocabSize", 100),
        UnfitModel("a tensor that is not there", ["output_norm.weight"]) { manifest in
            guard case .object(let tensors)? = manifest["tensors"] else { return }
            var kept = JSON.Object()
            for (name, tensor) in tensors where name != "output_norm.weight" { kept[name] = tensor }
            manifest["tensors"] = .object(kept)
        },
        UnfitModel(
            "a type that is not known", ["blk.0.attn_q.weight", "U8"], tensor: "blk.0.attn_q.weight", "dtype", "U8"),
        UnfitModel("no vocabulary", ["vocabulary"]) { $0["tokenizer"] = .null },
        UnfitModel("pairs that nobody tells", ["ropeInterleaved"]) { manifest in
            guard case .object(var inference)? = manifest["inference"], case .object(var rope)? = inference["rope"]
            else {
                return
            }
            rope["ropeInterleaved"] = .null
            inference["rope"] = .object(rope)
            manifest["inference"] = .object(inference)
        },
    ]
}

/// `dreamer generate`, and what cannot be generated from.
@Suite("Text from a model folder")
struct GenerateTests {
    private let scene: Scene

    init() throws {
        scene = try Scene()
    }

    @Test("the same seed gives the same text, and what it took is told")
    func text() async throws {
        try scene.copyModel(to: "model")
        var texts: [String] = []
        for seed in ["1", "1", "2"] {
            let outcome = try await scene.run(
                "generate", scene.path("model"), "--prompt", "the", "--max-tokens", "20", "--seed", seed, "--json",
                "--device", "cpu")
            #expect(outcome.status == 0, "\(outcome.errors)")
            let result = try JSON(parsing: Array(outcome.output.utf8))
            texts.append(try #require(result["text"]?.string))
            let generated = try #require(result["generatedTokens"]?.integer)
            #expect(generated >= 1 && generated <= 20)
            #expect(result["tokens"]?.array?.count == Int(generated))
            #expect(try #require(result["weightBytes"]?.integer) > 0)
            #expect(["length", "endOfText"].contains(result["reason"]?.string))
        }
        #expect(texts[0] == texts[1] && texts[0] != texts[2])
        // A seed that was drawn is told, and gives the text again.
        let arguments = [
            "generate", scene.path("model"), "--prompt", "the", "--max-tokens", "20", "--json", "--device", "cpu",
        ]
        let drawn = try JSON(parsing: Array(try await Scene.run(arguments).output.utf8))
        let seed = try #require(drawn["seed"]?.string)
        let again = try JSON(parsing: Array(try await Scene.run(arguments + ["--seed", seed]).output.utf8))
        #expect(drawn["tokens"] == again["tokens"])
    }

    @Test("a link's model speaks as soon as it has come from a peer, and stays in the folder")
    func link() async throws {
        try await TrackerServer.with { tracker in
            let seeder = try await scene.seed(trackers: [tracker.url])
            defer { seeder.kill() }
            let link = MagnetLink(to: try SampleModel.shared.get().manifest).description
            let arguments = ["--prompt", "the", "--max-tokens", "5", "--seed", "4", "--device", "cpu", "--json"]
            let fetched = try await Scene.run(
                ["generate", link, "-o", scene.path("copy"), "--tracker", tracker.url, "--bind", "127.0.0.1"]
                    + arguments)
            #expect(fetched.status == 0, "\(fetched.errors)")
            try scene.expectModel()
            let folder = try await Scene.run(["generate", scene.path("copy")] + arguments)
            let texts = try [fetched, folder].map { try JSON(parsing: Array($0.output.utf8))["tokens"] }
            #expect(texts[0] == texts[1] && texts[0] != nil)
        }
    }

    @Test("a mixture of experts speaks before all of it has come")
    func mixture() async throws {
        try SyntheticModel(size: 6 << 20, experts: 16).write(to: scene.path("model.gguf"))
        let model = try ModelPacker.pack(
            scene.path("model.gguf"), to: scene.path("model"), options: .init(shardSize: 16 << 10)
        ).folder
        try await TrackerServer.with { tracker in
            let seeder = try LineProcess(
                Programs.dreamer,
                ["seed", scene.path("model"), "--bind", "127.0.0.1", "--json", "--tracker", tracker.url])
            defer { seeder.kill() }
            _ = try await seeder.json(where: ["event": "seeding"])
            let arguments = ["--prompt", "the", "--max-tokens", "1", "--seed", "4", "--device", "cpu", "--json"]
            let fetched = try await Scene.run(
                [
                    "generate", MagnetLink(to: model.manifest).description, "-o", scene.path("copy"), "--tracker",
                    tracker.url, "--bind", "127.0.0.1", "--download-limit", "500kB",
                ] + arguments)
            #expect(fetched.status == 0, "\(fetched.errors)")
            let whole = try await Scene.run(["generate", scene.path("model")] + arguments)
            let tokens = try [fetched, whole].map { try JSON(parsing: Array($0.output.utf8))["tokens"] }
            #expect(tokens[0] == tokens[1] && tokens[0] != nil)
            let held = Set(scene.names("copy"))
            let missing = model.manifest.shards.filter { !held.contains($0.name) }
            print("a token came, \(missing.count) of \(model.manifest.shards.count) shards had not")
            #expect(missing.count > model.manifest.shards.count / 4)
        }
    }

    @Test("Ctrl-C ends the wait for a model that does not come", arguments: [false, true])
    func interruptArrival(wantsLogits: Bool) async throws {
        try await TrackerServer.with { tracker in
            let seeder = try await scene.seed(trackers: [tracker.url], "--upload-limit", "100kB")
            defer { seeder.kill() }
            let link = MagnetLink(to: try SampleModel.shared.get().manifest).description
            let process = try LineProcess(
                Programs.dreamer,
                [
                    "generate", link, "-o", scene.path("copy"), "--tracker", tracker.url, "--bind", "127.0.0.1",
                    "--prompt", "a", "--device", "cpu", "--json",
                ] + (wantsLogits ? ["--logits", scene.path("logits")] : []))
            try await eventually("it waits for weights") { process.errors.contains("running on") }
            process.interrupt()
            if wantsLogits {
                try await process.expectExit(1, within: .seconds(10))
                #expect(process.errors.contains("stopped"), "\(process.errors)")
                return
            }
            let result = try await process.json()
            #expect(result["reason"] == "cancelled" && result["generatedTokens"] == 0)
            try await process.expectExit(within: .seconds(10))
        }
    }

    @Test("logits are written for each position, the same whatever follows")
    func logits() async throws {
        try scene.copyModel(to: "model")
        var files: [[UInt8]] = []
        for prompt in ["a b c", "a b c d e f g"] {
            let outcome = try await scene.run(
                "generate", scene.path("model"), "--prompt", prompt, "--arithmetic", "float32", "--logits",
                scene.path("logits"), "--json")
            #expect(outcome.status == 0, "\(outcome.errors)")
            let told = try JSON(parsing: Array(outcome.output.utf8))
            #expect(
                told["positions"]?.integer.map(Int.init) == told["tokens"]?.array?.count && told["vocabulary"] == 512)
            files.append(try scene.read("logits"))
        }
        let row = 512 * 4
        #expect(files[0].count % row == 0 && files[0].count > row && files[1].count > files[0].count)
        // Later tokens do not change what is known before them; in which company products are taken changes rounding.
        func numbers(_ bytes: ArraySlice<UInt8>) -> [Float] {
            bytes.withUnsafeBytes { bytes in
                (0..<bytes.count / 4).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: Float.self) }
            }
        }
        let (short, long) = (numbers(files[0][..<row]), numbers(files[1][..<row]))
        #expect(zip(short, long).allSatisfy { abs($0 - $1) < 1e-3 })
    }

    @Test("a model that cannot be run is refused with what and where", arguments: UnfitModel.all)
    func unfit(_ model: UnfitModel) async throws {
        try scene.copyModel(to: "model")
        guard case .object(var manifest) = try JSON(parsing: scene.read("model/manifest.json")) else { return }
        model.edit(&manifest)
        try scene.write(JSON.object(manifest).serialized(), to: "model/manifest.json")
        let outcome = try await scene.run(
            "generate", scene.path("model"), "--prompt", "a", "--max-tokens", "3", "--device", "cpu")
        #expect(outcome.status == 1)
        for word in model.words { #expect(outcome.errors.contains(word), "\(word) in: \(outcome.errors)") }
        #expect(outcome.output.isEmpty)
    }

    @Test("a shard that was cut short, or is not there, is told")
    func shards() async throws {
        try scene.copyModel(to: "model")
        let name = "model/shard_00001.bin"
        let bytes = try scene.read(name)
        try scene.write(bytes.dropLast(100), to: name)
        let cut = try await scene.run("generate", scene.path("model"), "--prompt", "a", "--device", "cpu")
        #expect(cut.status == 1 && cut.errors.contains("shard_00001.bin"), "\(cut.errors)")
        try FileManager.default.removeItem(atPath: scene.path(name))
        let gone = try await scene.run("generate", scene.path("model"), "--prompt", "a", "--device", "cpu")
        #expect(gone.status == 1 && gone.errors.contains("shard_00001.bin"), "\(gone.errors)")
    }

    @Test("weights that are no numbers are told, not a text")
    func notANumber() async throws {
        try scene.copyModel(to: "model")
        let manifest = try ModelFolder(opening: scene.path("model")).manifest
        let span = try #require(manifest.tensor(named: "output_norm.weight")?.spans.first)
        let name = "model/\(manifest.shards[span.shard].name)"
        var bytes = try scene.read(name)
        bytes.replaceSubrange(span.offset..<span.offset + 4, with: [0, 0, 0xC0, 0x7F])
        try scene.write(bytes, to: name)
        let outcome = try await scene.run(
            "generate", scene.path("model"), "--prompt", "a", "--max-tokens", "3", "--device", "cpu")
        #expect(outcome.status == 1 && !outcome.errors.contains("Fatal"), "\(outcome.errors)")
    }

    @Test("ten megabytes of prompt are refused before they fill the memory")
    func longPrompt() async throws {
        try scene.copyModel(to: "model")
        try scene.write(Array(repeating: UInt8(ascii: "a"), count: 10 << 20), to: "prompt")
        let process = try LineProcess(
            "/bin/sh",
            [
                "-c", "\"$0\" generate \"$1\" --device cpu < \"$2\"", Programs.dreamer, scene.path("model"),
                scene.path("prompt"),
            ])
        try await process.expectExit(1)
        #expect(process.errors.contains("tokens") && process.errors.contains("room"), "\(process.errors)")
    }

    @Test("a prompt that the context has no room for is refused, and the context's end is told")
    func context() async throws {
        try scene.copyModel(to: "model")
        let words = Array(repeating: "word", count: 60).joined(separator: " ")
        let refused = try await scene.run(
            "generate", scene.path("model"), "--prompt", words, "--context", "16", "--device", "cpu")
        #expect(refused.status == 1 && refused.errors.contains("16"), "\(refused.errors)")
        let full = try await scene.run(
            "generate", scene.path("model"), "--prompt", "a", "--context", "16", "--device", "cpu", "--logits",
            scene.path("unused"), "--quiet")
        #expect(full.status == 0, "\(full.errors)")
        let much = try await scene.run(
            "generate", scene.path("model"), "--prompt", "a", "--context", "999999999", "--device", "cpu")
        #expect(much.status == 1 && much.errors.contains("context"), "\(much.errors)")
        let little = try await scene.run(
            "generate", scene.path("model"), "--prompt", "a", "--kv-limit", "1k", "--context", "64", "--device", "cpu")
        #expect(little.status == 1 && little.errors.contains("memory"), "\(little.errors)")
    }

    @Test("without a driver of Vulkan the processor is taken aloud, or its absence told where Vulkan was asked for")
    func noDriver() async throws {
        try scene.copyModel(to: "model")
        // The loader looks nowhere else then.
        let environment = ["VK_ICD_FILENAMES": "/nonexistent.json", "VK_DRIVER_FILES": "/nonexistent.json"]
        let arguments = ["generate", scene.path("model"), "--prompt", "a", "--max-tokens", "2"]
        let free = try LineProcess(Programs.dreamer, arguments, environment: environment)
        try await free.expectExit()
        #expect(free.errors.contains("running on cpu"), "\(free.errors)")
        let bound = try LineProcess(
            Programs.dreamer, arguments + ["--device", "vulkan"], environment: environment)
        try await bound.expectExit(1)
        #expect(bound.errors.lowercased().contains("vulkan"), "\(bound.errors)")
    }
}

/// `dreamer generate` with a model that takes its time.
@Suite("Text from the whole model", .wholeModel)
struct WholeModelTextTests {
    @Test("Ctrl-C ends a text in the middle, and what it took is told")
    func interrupt() async throws {
        let model = try #require(WholeModel.current)
        let process = try LineProcess(
            Programs.dreamer,
            [
                "generate", model.usual.folder, "--prompt", "1\n2\n3\n4\n5\n6\n7\n8\n", "--device", "cpu",
                "--temperature", "0",
            ])
        try await eventually("text comes") { process.hasOutput }
        process.interrupt()
        try await process.expectExit(within: .seconds(10))
        try await process.waitForOutputEnd()
        #expect(process.errors.contains("stopped") && process.errors.contains("a second"), "\(process.errors)")
    }
}
