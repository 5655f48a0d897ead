// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hashing
import RDRR
import Testing
import Wire

@Suite("Packing")
struct PackTests {
    let scratch = TemporaryFolder()

    private func synthetic(_ size: Int = 300_000, seed: UInt64 = 7, name: String = "model.gguf") throws -> String {
        let path = "\(scratch.path)/\(name)"
        try SyntheticModel(size: size, seed: seed).write(to: path)
        return path
    }

    @Test("a synthetic model has exactly the size asked for and is the same for the same seed", arguments: [
        262_144, 300_000, 1_234_567,
    ])
    func syntheticModel(size: Int) throws {
        let first = try #require(readFile(synthetic(size)))
        let second = try #require(readFile(synthetic(size, name: "again.gguf")))
        let other = try #require(readFile(synthetic(size, seed: 8, name: "other.gguf")))
        let isSame = first == second
        let isOther = first != other
        #expect(first.count == size)
        #expect(isSame && isOther)
        let file = try GGUFFile(path: "\(scratch.path)/model.gguf")
        #expect(file.metadata["general.architecture"]?.string == "llama")
        #expect(Set(file.tensors.map(\.type.name)) == ["F32", "Q4_1", "Q8_0"])
        #expect(file.tensors.last.map { size - $0.range.upperBound < 32 } == true)
    }

    @Test("what was packed is verified, keeps every byte of every tensor, and is the same each time", arguments: [
        (4096, HashAlgorithm.blake3), (150_000, .blake3), (1 << 20, .blake3), (150_000, .sha256),
    ])
    func roundTrip(shardSize: Int, hash: HashAlgorithm) async throws {
        let source = try synthetic(1_000_000)
        let options = ModelPacker.Options(shardSize: shardSize, hash: hash)
        let result = try ModelPacker.pack(source, to: "\(scratch.path)/a", options: options)
        try ModelPacker.pack(source, to: "\(scratch.path)/b/", options: options)
        let folder = try ModelFolder(opening: "\(scratch.path)/a")
        let manifest = folder.manifest
        let again = try #require(readFile("\(scratch.path)/b/manifest.json"))
        let isSame = manifest.bytes == again && manifest.bytes == result.folder.manifest.bytes
        #expect(isSame)
        #expect(result.warnings == [])
        #expect(manifest.warnings == [])
        #expect(manifest.generation == .g2)
        #expect(manifest.modelId == "synthetic-smollm2")
        #expect(manifest.shards.dropLast().allSatisfy { $0.size == shardSize })
        #expect(manifest.entries.allSatisfy { $0.algorithm == hash })
        #expect(manifest.files.map(\.name) == ["chat_template.jinja", "tokenizer.json"])
        #expect(manifest.unlistedFiles == [])

        let report = ModelVerifier(folder, threads: 3).verify()
        #expect(report.faults.isEmpty)
        #expect(report.goodBytes == manifest.totalEntrySize)

        let bytes = try #require(readFile(source))
        let gguf = try GGUFFile(path: source)
        #expect(manifest.tensors.map(\.name) == gguf.tensors.map(\.name))
        for (tensor, original) in zip(manifest.tensors, gguf.tensors) {
            let packed = try await folder.bytes(of: tensor)
            let isKept = packed == Array(bytes[original.range])
            #expect(isKept, "\(tensor.name)")
            #expect(tensor.shape == original.shape)
        }
        for entry in manifest.entries where entry.groupCount > 1 {
            let stored = try #require(folder.storedProof(of: entry))
            #expect(try stored == GroupProof(ofFile: folder.path(of: entry)))
            #expect(stored.proves(entry) == (hash == .blake3))
        }
        #expect(scratch.names("a/proofs") == manifest.entries.filter { $0.groupCount > 1 }.map { $0.name + ".b3" }.sorted())
        #expect(scratch.names() == ["a", "b", "model.gguf"])
    }

    @Test("the tokenizer file carries all that a tokenizer needs")
    func tokenizer() throws {
        let source = try synthetic()
        try ModelPacker.pack(source, to: "\(scratch.path)/m")
        let json = try JSON(parsing: #require(readFile("\(scratch.path)/m/tokenizer.json")))
        let gguf = try GGUFFile(path: source)
        let tokens = try #require(gguf.metadata["tokenizer.ggml.tokens"]?.strings)
        #expect(json["type"]?.string == "bpe")
        #expect(json["model"]?.string == "gpt2")
        #expect(json["preTokenizer"]?.string == "smollm")
        #expect(json["vocabSize"]?.integer == 512)
        #expect(tokens.enumerated().allSatisfy { json["vocab"]?[$0.element]?.integer == Int64($0.offset) })
        #expect(json["merges"]?.array?.compactMap(\.string) == gguf.metadata["tokenizer.ggml.merges"]?.strings)
        #expect(json["tokenTypes"]?.array?.count == 512)
        #expect(json["specialTokens"]?["bos"] == 1)
        #expect(json["specialTokens"]?["eos"] == 2)
        #expect(json["addBosToken"] == false)
        #expect(json["tokens"] == nil)
        let manifest = try ModelFolder(opening: "\(scratch.path)/m/manifest.json").manifest
        #expect(manifest.json["inference"]?["rope"]?["ropeInterleaved"] == true)
        #expect(manifest.json["inference"]?["chatTemplate"]?["file"] == "chat_template.jinja")
        #expect(manifest.json["eos_token_id"] == 2)
        #expect(manifest.json["architecture"]?["headDim"] == 32)
        #expect(manifest.json["architecture"]?["rmsNormEps"]?.number == 1e-5)
        let template = try #require(readFile("\(scratch.path)/m/chat_template.jinja"))
        #expect(Array((gguf.metadata["tokenizer.chat_template"]?.string ?? "").utf8) == template)
    }

    @Test("damage is found and placed: the shard, and the byte")
    func damage() throws {
        try ModelPacker.pack(try synthetic(1_000_000), to: "\(scratch.path)/m", options: .init(shardSize: 300_000))
        let folder = try ModelFolder(opening: "\(scratch.path)/m")
        let shard = folder.manifest.shards[1]
        var bytes = try folder.bytes(of: shard)
        bytes[140_000] ^= 4
        writeFile(bytes, to: folder.path(of: shard))
        let found = BLAKE3.hash(bytes).hex
        #expect(
            ModelVerifier(folder).verify().faults.map(\.outcome) == [.wrongHash(found: found, firstBadByte: 131_072)])
        writeFile(Array(bytes.dropLast()), to: folder.path(of: shard))
        #expect(ModelVerifier(folder).verify(shard) == .wrongSize(found: shard.size - 1))
        unlink(folder.path(of: shard))
        let report = ModelVerifier(folder).verify()
        #expect(report.faults.map(\.outcome) == [.missing])
        #expect(!report.isGood)
        mkdir(folder.path(of: shard), 0o755)
        #expect(ModelVerifier(folder).verify().isGood == false)
        rmdir(folder.path(of: shard))
        #expect(failure { () throws(RDRRError) in _ = try folder.mapped(shard) }?.code == .missing)
    }

    @Test("a stored proof that is wrong is said, and not used")
    func wrongProof() throws {
        try ModelPacker.pack(try synthetic(1_000_000), to: "\(scratch.path)/m")
        let folder = try ModelFolder(opening: "\(scratch.path)/m")
        let shard = folder.manifest.shards[0]
        var proof = try #require(readFile(folder.proofPath(of: shard)))
        proof[3] ^= 1
        writeFile(proof, to: folder.proofPath(of: shard))
        #expect(folder.storedProof(of: shard) == nil)
        #expect(try folder.proof(of: shard).proves(shard))
        let report = ModelVerifier(folder).verify()
        #expect(report.isGood)
        #expect(report.faults.map(\.outcome) == [.wrongProof])
        unlink(folder.proofPath(of: shard))
        #expect(ModelVerifier(folder).verify().faults.isEmpty)
    }

    @Test("nothing is overwritten, and a failure leaves nothing behind")
    func atomic() throws {
        let source = try synthetic()
        mkdir("\(scratch.path)/m", 0o755)
        try ModelPacker.pack(source, to: "\(scratch.path)/m")
        let before = try #require(readFile("\(scratch.path)/m/manifest.json"))
        let error = failure { () throws(RDRRError) in try ModelPacker.pack(source, to: "\(scratch.path)/m") }
        #expect(error?.code == .exists)
        let isKept = readFile("\(scratch.path)/m/manifest.json") == before
        #expect(isKept)
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(source, to: source) }?.code == .exists)
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack(source, to: ".") }?.code == .exists)
        #expect(failure { () throws(RDRRError) in
            try ModelPacker.pack("\(scratch.path)/none.gguf", to: "\(scratch.path)/n")
        }?.code == .missing)
        #expect(failure { () throws(RDRRError) in
            try ModelPacker.pack(source, to: "\(scratch.path)/none/n")
        }?.code == .missing)
        #expect(failure { () throws(RDRRError) in
            try ModelPacker.pack(source, to: "\(scratch.path)/n", options: .init(shardSize: 0))
        }?.code == .invalid)
        #expect(failure { () throws(RDRRError) in
            try ModelPacker.pack(source, to: "\(scratch.path)/n", options: .init(shardSize: 1))
        }?.code == .invalid)
        #expect(failure { () throws(RDRRError) in try ModelPacker.pack("\(scratch.path)/m", to: "\(scratch.path)/n") }?.code == .notAModel)
        #expect(scratch.names() == ["m", "model.gguf"])
    }

    @Test("a folder that a killed run has left is removed by the next one")
    func leftovers() throws {
        let source = try synthetic()
        // No process has this number: Linux gives them up to 2^22.
        let left = "\(scratch.path)/.m.packing-99999999"
        mkdir(left, 0o755)
        writeFile([1, 2, 3], to: "\(left)/shard_00000.bin")
        try ModelPacker.pack(source, to: "\(scratch.path)/m")
        #expect(scratch.names() == ["m", "model.gguf"])
    }

    @Test("inspecting says what is inside")
    func inspect() throws {
        try ModelPacker.pack(try synthetic(), to: "\(scratch.path)/m", options: .init(shardSize: 100_000))
        let inspector = ModelInspector(try ModelFolder(opening: "\(scratch.path)/m/").manifest)
        #expect(inspector.json["quantization"] == "Q4_1")
        #expect(inspector.layers.map(Int64.init) == inspector.json["architecture"]?["numLayers"]?.integer)
        #expect(inspector.types.map(\.dtype).sorted() == ["F32", "Q4_1", "Q8_0"])
        #expect(inspector.text.contains("synthetic-smollm2"))
        #expect(inspector.text.contains("chat_template.jinja"))
        _ = try JSON(parsing: inspector.json.serialized())
    }
}
