// SPDX-License-Identifier: Apache-2.0
import Hashing
import RDRR
import Testing
import Wire

@Suite("Real model folders")
struct FixtureTests {
    @Test(
        "the first generation: fileName, a hash function for each shard, no offsets",
        .enabled(if: ModelFixtures.folder != nil))
    func firstGeneration() throws {
        let folder = try ModelFolder(opening: "\(try #require(ModelFixtures.folder))/dreamer-tiny-model")
        let manifest = folder.manifest
        #expect(manifest.generation == .g0)
        #expect(manifest.modelId == "tiny-test")
        #expect(manifest.shards.map(\.name) == ["shard_00000.bin"])
        #expect(manifest.shards[0].algorithm == .sha256)
        #expect(manifest.tensors.count == 15)
        #expect(manifest.tensor(named: "lm_head.weight")?.spans == [.init(shard: 0, offset: 667_648, size: 256_000)])
        let report = ModelVerifier(folder).verify()
        #expect(report.isGood)
    }

    @Test(
        "the second generation: its placeholder hash is refused; with a real hash its tensors.json is read",
        .enabled(if: ModelFixtures.folder != nil))
    func secondGeneration() throws {
        let bytes = try #require(ModelFixtures.bytes("doppler-mini-model/manifest.json"))
        let error = failure { () throws(RDRRError) in _ = try RDRRManifest(parsing: bytes) }
        #expect(error?.code == .invalid)
        #expect(error?.place == "shards[0].hash")

        let shard = try #require(ModelFixtures.bytes("doppler-mini-model/shard-0.bin"))
        let json = try JSON(parsing: bytes).setting(["shards", 0, "hash"], to: .string(Hex.encode(SHA256.hash(shard))))
        var manifest = try parse(json)
        #expect(manifest.generation == .g1)
        #expect(manifest.tensors.isEmpty)
        #expect(manifest.tensorsFile == "tensors.json")
        #expect(manifest.groups.map(\.name) == ["embed", "layer.0", "layer.1", "head"])
        #expect(manifest.group(named: "layer.1")?.layer == 1)
        #expect(manifest.unlistedFiles == ["tensors.json", "tokenizer.json"])
        #expect(manifest.warnings.count == 2)
        try manifest.addTensors(parsing: #require(ModelFixtures.bytes("doppler-mini-model/tensors.json")))
        #expect(manifest.tensors.count == 20)
        #expect(manifest.shards[0].matches(whole: shard))
        #expect(!manifest.shards[0].matches(whole: Array(shard[1...])))
    }

    @Test(
        "published manifests are read; `blake3` keys of a sha256 manifest are SHA-256",
        .enabled(if: ModelFixtures.folder != nil))
    func published() throws {
        let bytes = try #require(ModelFixtures.bytes("manifests/gemma-3-270m-it-q4k-ehf16-af32.manifest.json"))
        let manifest = try RDRRManifest(parsing: bytes)
        #expect(manifest.generation == .g2)
        #expect(manifest.shards.count == 6)
        #expect(manifest.shards.allSatisfy { $0.algorithm == .sha256 && $0.isAlgorithmStated })
        #expect(manifest.tensors.count == 236)
        #expect(manifest.totalSize == 399_357_184)
        #expect(manifest.unlistedFiles == ["tokenizer.json"])
        #expect(ModelInspector(manifest).text.contains("gemma-3-270m"))
    }

    @Test("one expert of a packed layer is a slice of a few megabytes", .enabled(if: ModelFixtures.folder != nil))
    func packedExperts() throws {
        let bytes = try #require(ModelFixtures.bytes("manifests/diffusiongemma-26b-a4b-it-q4k-ehf16-af16.manifest.json"))
        let manifest = try RDRRManifest(parsing: bytes)
        #expect(manifest.experts?.count == 128)
        #expect(manifest.experts?.perToken == 8)
        let slices = manifest.slices(ofExpert: 127, layer: 0)
        #expect(slices.map(\.range.count) == [1_216_512, 2_230_272])
        #expect(manifest.shards(forExpert: 0, layer: 0) == [22, 24])
        #expect(manifest.shards(forExpert: 127, layer: 0) == [24, 28])
        #expect(manifest.shards(forExpert: 128, layer: 0).isEmpty)
        #expect(manifest.shards(forExpert: -1).isEmpty)
        #expect(manifest.shards(forExpert: 0, layer: 99).isEmpty)
        #expect(manifest.shards(forExpert: 3).count > 30)
        #expect(ModelInspector(manifest).expertBytes == 1_216_512 + 2_230_272)
    }

    @Test(
        "tensors of other packings are read: int4 by descriptor, 4-bit weights with companions",
        .enabled(if: ModelFixtures.folder != nil))
    func fragments() throws {
        let text = try JSON(parsing: #require(ModelFixtures.bytes("fragments/w4a16-tensors.json")))
        let shard: JSON = [
            "filename": "s.bin", "size": .integer(67_108_864), "hash": .string(String(repeating: "00", count: 32)),
            "offset": 0,
        ]
        var manifest = sampleManifest().setting(["shards"], to: .array([shard])).setting(["totalSize"], to: 67_108_864)
        var tensors = try #require(text["tensors"]?.object)
        for (name, tensor) in tensors { tensors[name] = tensor.setting(["shard"], to: 0) }
        manifest = manifest.setting(["tensors"], to: .object(tensors))
        #expect(try parse(manifest).tensors.map(\.dtype) == ["W4A16", "BF16", "I64"])
    }
}
