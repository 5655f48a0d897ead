// SPDX-License-Identifier: Apache-2.0
import Hashing
import RDRR
import Testing
import Wire

@Suite("GGUF files")
struct GGUFTests {
    /// A header with a value of every kind, and two tensors of 96 bytes of data together.
    private static func sample() -> [UInt8] {
        var header = GGUFHeaderWriter()
        header.add("general.architecture", "llama")
        header.add("general.name", "Sample")
        header.add("llama.block_count", 1)
        header.add("llama.rope.freq_base", Float(10_000))
        header.add("flag", true)
        header.add("tokenizer.ggml.tokens", ["a", "é", "e\u{301}", "a"])
        header.add("tokenizer.ggml.token_type", [1, 1, 1, -1] as [Int32])
        header.add(tensor: "token_embd.weight", dimensions: [4, 2], type: 0, offset: 0)
        header.add(tensor: "blk.0.ffn_up.weight", dimensions: [32, 1], type: 8, offset: 32)
        return header.finish(alignment: 32) + [UInt8](repeating: 5, count: 66)
    }

    private func read(_ bytes: [UInt8]) throws(RDRRError) -> GGUFFile {
        try GGUFFile(header: bytes.span.bytes, fileSize: bytes.count)
    }

    @Test("values and tensors are read")
    func reads() throws {
        let file = try read(Self.sample())
        #expect(file.version == 3)
        #expect(file.metadata["flag"]?.bool == true)
        #expect(file.metadata["llama.rope.freq_base"]?.number == 10_000)
        #expect(file.metadata["tokenizer.ggml.token_type"]?.integers == [1, 1, 1, -1])
        #expect(file.tensors.map(\.shape) == [[2, 4], [1, 32]])
        #expect(file.tensors.map(\.range.count) == [32, 34])
        #expect(file.tensors[1].range.lowerBound == file.dataOffset + 32)
    }

    @Test("cut short at any byte it is refused as cut short, never a trap")
    func truncated() {
        let bytes = Self.sample()
        for length in 0..<bytes.count {
            let error = failure { () throws(RDRRError) in _ = try read(Array(bytes[..<length])) }
            // What a count can no longer fit is called impossible rather than missing.
            let isExpected = error.map { [.truncated, .invalid, .notAModel].contains($0.code) } ?? false
            #expect(isExpected, "at \(length)")
            if length >= bytes.count - 66 { #expect(error?.code == .truncated) }
        }
    }

    @Test("claims that cannot be are refused", arguments: [
        // Offsets: 4 version, 8 tensor count, 16 metadata count, 24 the first key's length.
        (4, [9, 0, 0, 0], RDRRError.Code.unsupportedVersion), (4, [0, 0, 0, 3], .unsupportedVersion),
        (4, [1, 0, 0, 0], .unsupportedVersion), (0, [0x58], .notAModel),
        (8, [255, 255, 255, 255, 255, 255, 255, 255], .invalid), (16, [255, 255, 255, 255, 255, 255, 255, 127], .invalid),
        (24, [255, 255, 255, 255, 255, 255, 255, 255], .invalid), (24, [0, 0, 0, 0, 0, 0, 0, 16], .invalid),
    ] as [(Int, [UInt8], RDRRError.Code)])
    func claims(offset: Int, patch: [UInt8], code: RDRRError.Code) {
        var bytes = Self.sample()
        bytes.replaceSubrange(offset..<offset + patch.count, with: patch)
        #expect(failure { () throws(RDRRError) in _ = try read(bytes) }?.code == code)
    }

    @Test("tensors that overlap, are not aligned, have unknown types or broken rows are refused", arguments: [
        ([4, 2], 0, 0, [4, 2], 0, 0, RDRRError.Code.invalid), ([4, 2], 0, 0, [4, 2], 0, 8, .invalid),
        ([4, 2], 0, 0, [4, 2], 99, 32, .unsupported), ([4, 2], 0, 0, [4, 2], 4, 32, .unsupported),
        ([4, 2], 0, 0, [33, 1], 8, 32, .invalid), ([4, 2], 0, 0, [1 << 40, 1 << 40], 0, 32, .invalid),
        ([4, 2], 0, 0, [1, 1, 1, 1, 1], 0, 32, .invalid), ([4, 2], 0, 0, [4, 2], 0, 1 << 40, .truncated),
        ([4, 2], 0, 0, [4, 2], 0, -32, .invalid), ([-1], 0, 0, [4, 2], 0, 32, .invalid),
    ] as [([Int], UInt32, Int, [Int], UInt32, Int, RDRRError.Code)])
    func tensors(
        first: [Int], firstType: UInt32, firstOffset: Int, second: [Int], secondType: UInt32, secondOffset: Int,
        code: RDRRError.Code
    ) {
        var header = GGUFHeaderWriter()
        header.add("general.architecture", "llama")
        func add(_ name: String, _ dimensions: [Int], _ type: UInt32, _ offset: Int) {
            header.add(tensor: name, dimensions: dimensions, type: type, offset: offset)
        }
        add("a", first, firstType, firstOffset)
        add("b", second, secondType, secondOffset)
        let bytes = header.finish(alignment: 32) + [UInt8](repeating: 0, count: 512)
        #expect(failure { () throws(RDRRError) in _ = try read(bytes) }?.code == code)
    }

    @Test("bytes changed at random are read or refused, never a trap")
    func fuzz() {
        var random = Entropy(seed: 0x66F)
        for _ in 0..<4000 {
            var bytes = Self.sample()
            for _ in 0...Int.random(in: 0...4, using: &random) {
                let place = Int.random(in: 0..<bytes.count - 66, using: &random)
                bytes[place] = Bool.random(using: &random) ? UInt8.random(in: 0...255, using: &random) : 255
            }
            _ = try? read(bytes)
        }
    }

    @Test("a model with a token twice keeps all its tokens, and equivalent ones stay apart")
    func doubleTokens() throws {
        let scratch = TemporaryFolder()
        writeFile(Self.sample(), to: "\(scratch.path)/m.gguf")
        try ModelPacker.pack("\(scratch.path)/m.gguf", to: "\(scratch.path)/m")
        let text = String(decoding: try #require(readFile("\(scratch.path)/m/tokenizer.json")), as: UTF8.self)
        let expected = ["\"vocab\": {\"a\":0,\"é\":1,\"e\u{301}\":2}", "\"tokens\": [\"a\",\"é\",\"e\u{301}\",\"a\"]"]
        for part in expected {
            let bytes = Array(part.utf8)
            let isThere = Array(text.utf8).indices.contains { Array(text.utf8.dropFirst($0).prefix(bytes.count)) == bytes }
            #expect(isThere)
        }
        #expect(throws: RDRRError.self) { try ModelPacker.pack("\(scratch.path)/m/tokenizer.json", to: "\(scratch.path)/n") }
    }

    /// A mixture of two experts, packed as GGUF packs them.
    private func experts(used: Int, to path: String) {
        var header = GGUFHeaderWriter()
        header.add("general.architecture", "llama")
        header.add("llama.expert_count", 2)
        header.add("llama.expert_used_count", used)
        header.add(tensor: "blk.0.ffn_gate_inp.weight", dimensions: [8, 2], type: 0, offset: 0)
        header.add(tensor: "blk.0.ffn_up_exps.weight", dimensions: [8, 4, 2], type: 0, offset: 64)
        writeFile(header.finish(alignment: 32) + (0..<320).map { UInt8(truncatingIfNeeded: $0) }, to: path)
    }

    @Test("experts are found in a packed GGUF")
    func experts() async throws {
        let scratch = TemporaryFolder()
        experts(used: 1, to: "\(scratch.path)/m.gguf")
        let folder = try ModelPacker.pack(
            "\(scratch.path)/m.gguf", to: "\(scratch.path)/m", options: .init(shardSize: 100)).folder
        #expect(folder.manifest.tensors.map(\.role) == ["router", "expert"])
        #expect(folder.manifest.experts?.count == 2)
        #expect(folder.manifest.shards(forExpert: 0, layer: 0) == [0, 1])
        #expect(folder.manifest.shards(forExpert: 1, layer: 0) == [1, 2, 3])
        let weights = try await ShardExpertSource(folder).expert(1, layer: 0)
        #expect(weights.map(\.bytes) == [(192..<320).map { UInt8(truncatingIfNeeded: $0) }])
    }

    @Test("a model that turns out impossible when all is written leaves nothing behind")
    func lateFailure() throws {
        let scratch = TemporaryFolder()
        experts(used: 3, to: "\(scratch.path)/m.gguf")
        let error = failure { () throws(RDRRError) in
            try ModelPacker.pack("\(scratch.path)/m.gguf", to: "\(scratch.path)/m")
        }
        #expect(error?.place == "moeConfig.numExpertsPerToken")
        #expect(scratch.names() == ["m.gguf"])
    }

    @Test("a file cut short is refused by the packer, and nothing is left behind")
    func truncatedFile() throws {
        let scratch = TemporaryFolder()
        try SyntheticModel(size: 300_000).write(to: "\(scratch.path)/m.gguf")
        let whole = try #require(readFile("\(scratch.path)/m.gguf"))
        for length in [0, 3, 20, 1000, 30_000, 150_000, 299_000] {
            writeFile(Array(whole[..<length]), to: "\(scratch.path)/cut.gguf")
            let error = failure { () throws(RDRRError) in
                try ModelPacker.pack("\(scratch.path)/cut.gguf", to: "\(scratch.path)/m")
            }
            #expect(error.map { [.truncated, .invalid, .notAModel].contains($0.code) } == true, "at \(length)")
            #expect(error?.place.contains("cut.gguf") == true)
        }
        #expect(scratch.names() == ["cut.gguf", "m.gguf"])
    }
}

@Suite("Safetensors folders")
struct SafetensorsTests {
    let scratch = TemporaryFolder()

    private func file(_ header: String, data: Int, name: String = "model.safetensors") {
        var bytes = ByteWriter()
        bytes.write(littleEndian: UInt64(header.utf8.count))
        bytes.write(header.utf8)
        bytes.write((0..<data).map { UInt8(truncatingIfNeeded: $0) })
        writeFile(bytes.bytes, to: "\(scratch.path)/\(name)")
    }

    private func text(_ text: String, _ name: String) { writeFile(Array(text.utf8), to: "\(scratch.path)/\(name)") }

    private static let config = """
        {"model_type": "qwen2", "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 4,
         "rope_theta": 10000.0, "rms_norm_eps": 1e-06, "eos_token_id": [3], "_name_or_path": "some/Tiny Model"}
        """

    @Test("a folder with an index is packed, its small files along, the template taken out of the settings")
    func packs() async throws {
        text(Self.config, "config.json")
        text("{\"chat_template\": \"{{ x }}\", \"add_bos_token\": false}", "tokenizer_config.json")
        text("{\"version\": \"1.0\"}", "tokenizer.json")
        text("{\"weight_map\": {\"a\": \"x-1.safetensors\", \"b\": \"x-2.safetensors\"}}", "model.safetensors.index.json")
        text("leave me", "notes.txt")
        file("{\"__metadata__\": {\"format\": \"pt\"}, \"model.embed_tokens.weight\": {\"dtype\": \"F16\", \"shape\": [4, 8], \"data_offsets\": [0, 64]}}", data: 64, name: "x-1.safetensors")
        file("{\"model.norm.weight\": {\"dtype\": \"F32\", \"shape\": [8], \"data_offsets\": [0, 32]}, \"empty\": {\"dtype\": \"F32\", \"shape\": [0], \"data_offsets\": [32, 32]}}", data: 32, name: "x-2.safetensors")
        let out = "\(scratch.path)/out"
        let result = try ModelPacker.pack(scratch.path, to: out, options: .init(shardSize: 48))
        let manifest = result.folder.manifest
        #expect(manifest.modelId == "tiny-model")
        #expect(manifest.shards.map(\.size) == [48, 48])
        #expect(manifest.files.map(\.name) == ["chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json"])
        #expect(manifest.tensors.map(\.role) == ["embedding", "norm", "other"])
        #expect(try await result.folder.bytes(of: manifest.tensors[0]) == Array(0..<64))
        #expect(manifest.json["inference"]?["rope"]?["ropeInterleaved"] == false)
        #expect(manifest.json["eos_token_id"] == 3)
        #expect(manifest.json["architecture"]?["headDim"] == 4)
        #expect(readFile("\(out)/chat_template.jinja") == Array("{{ x }}".utf8))
        #expect(ModelVerifier(result.folder).verify().isGood)
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(out, to: "\(scratch.path)/o2") }?.code == .notAModel)
    }

    @Test("broken files are refused", arguments: [
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [8], \"data_offsets\": [0, 32]}}", 31, RDRRError.Code.truncated),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [9], \"data_offsets\": [0, 32]}}", 32, .sizeMismatch),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [8], \"data_offsets\": [32, 0]}}", 32, .invalid),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [8], \"data_offsets\": [-32, 0]}}", 32, .invalid),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [8]}}", 32, .missing),
        ("{\"a\": {\"dtype\": \"U8\", \"shape\": [8], \"data_offsets\": [0, 8]}, \"b\": {\"dtype\": \"U8\", \"shape\": [8], \"data_offsets\": [4, 12]}}", 12, .invalid),
        ("{\"a\"", 0, .notAModel), ("{}", 0, .notAModel), ("[]", 0, .wrongKind),
        ("{\"a\": {\"dtype\": \"F32\", \"shape\": [1152921504606846976], \"data_offsets\": [0, 1152921504606846976]}}", 8, .invalid),
    ])
    func refuses(header: String, data: Int, code: RDRRError.Code) {
        text(Self.config, "config.json")
        file(header, data: data)
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(scratch.path, to: "\(scratch.path)/out") }?.code == code)
        #expect(scratch.names() == ["config.json", "model.safetensors"])
    }

    @Test("a header longer than the file, an index that leads out of the folder, a missing part")
    func refusesMore() {
        text(Self.config, "config.json")
        writeFile([255, 255, 0, 0, 0, 0, 0, 0, 1], to: "\(scratch.path)/model.safetensors")
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(scratch.path, to: "\(scratch.path)/out") }?.code == .truncated)
        writeFile([255, 255, 255, 255, 255, 255, 255, 255, 1], to: "\(scratch.path)/model.safetensors")
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(scratch.path, to: "\(scratch.path)/out") }?.code == .notAModel)
        text("{\"weight_map\": {\"a\": \"../x\"}}", "model.safetensors.index.json")
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(scratch.path, to: "\(scratch.path)/out") }?.code == .unsafeName)
        text("{\"weight_map\": {\"a\": \"x\"}}", "model.safetensors.index.json")
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(scratch.path, to: "\(scratch.path)/out") }?.code == .missing)
    }
}
