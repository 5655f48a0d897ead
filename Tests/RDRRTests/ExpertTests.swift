// SPDX-License-Identifier: Apache-2.0
import RDRR
import Testing
import Wire

@Suite("Shards of an expert")
struct ExpertTests {
    static let shards: JSON = .array(
        (0..<4).map { index in
            [
                "filename": .string("s\(index)"), "size": 64, "offset": .integer(Int64(index) * 64),
                "hash": .string(String(repeating: "00", count: 32)),
            ]
        })

    private func manifest(_ moe: JSON, tensors: JSON = ["t": ["shard": 0, "offset": 0, "size": 4, "shape": [1], "dtype": "F32"]],
        groups: JSON = .null
    ) throws -> RDRRManifest {
        try parse(
            sampleManifest().setting(["shards"], to: Self.shards).setting(["totalSize"], to: 256)
                .setting(["moeConfig"], to: moe).setting(["tensors"], to: tensors).setting(["groups"], to: groups))
    }

    @Test("the first map is keyed by expert, its values one shard or several, or an array in order", arguments: [
        ["0": 3, "1": [1, 2]], [3, [2, 1]],
    ] as [JSON])
    func firstMap(_ map: JSON) throws {
        let manifest = try manifest(["numExperts": 2, "topK": 1, "expertShardMap": map])
        #expect(manifest.shards(forExpert: 0) == [3])
        #expect(manifest.shards(forExpert: 1) == [1, 2])
        #expect(manifest.shards(forExpert: 1, layer: 5) == [1, 2])
        #expect(manifest.shards(forExpert: 2) == [])
        #expect(manifest.experts?.perToken == 1)
    }

    @Test("the second map is keyed by layer and expert")
    func secondMap() throws {
        let manifest = try manifest(
            ["numExperts": 2, "numExpertsPerToken": 1, "expertShardMap": ["0_0": [0], "1_0": [2], "0_1": [1], "0_-1": [3]]])
        #expect(manifest.shards(forExpert: 0) == [0, 2])
        #expect(manifest.shards(forExpert: 0, layer: 1) == [2])
        #expect(manifest.shards(forExpert: 1, layer: 1) == [])
        #expect(manifest.shards(forExpert: 1) == [1])
    }

    @Test("without a map the groups tell")
    func groups() throws {
        let manifest = try manifest(
            ["numExperts": 2, "numExpertsPerToken": 1],
            groups: [
                "layer.0.expert.0": ["type": "expert", "shards": [1], "tensors": ["t"]],
                "layer.1.expert.0": ["type": "expert", "shards": [2], "tensors": []],
                "layer.0.expert.1": ["type": "expert", "shards": [3], "tensors": []],
                "layer.0.shared": ["type": "shared", "shards": [0], "tensors": []],
            ])
        #expect(manifest.shards(forExpert: 0) == [1, 2])
        #expect(manifest.shards(forExpert: 1, layer: 0) == [3])
        #expect(manifest.slices(ofExpert: 0, layer: 0).map(\.tensor.name) == ["t"])
    }

    @Test("without groups the names tell, and shared experts are nobody's")
    func names() throws {
        func tensor(_ shard: Int64) -> JSON { ["shard": .integer(shard), "offset": 0, "size": 4, "shape": [1], "dtype": "F32"] }
        let manifest = try manifest(
            ["numExperts": 2, "numExpertsPerToken": 1],
            tensors: [
                "model.layers.0.block_sparse_moe.experts.0.w1.weight": tensor(0),
                "model.layers.0.mlp.experts.1.gate_proj.weight": tensor(1),
                "model.layers.1.mlp.experts.1.gate_proj.weight": tensor(2),
                "model.layers.1.mlp.shared_experts.1.gate_proj.weight": tensor(3),
                "model.layers.1.mlp.shared_expert.gate_proj.weight": tensor(3),
            ])
        #expect(manifest.shards(forExpert: 0) == [0])
        #expect(manifest.shards(forExpert: 1) == [1, 2])
        #expect(manifest.shards(forExpert: 1, layer: 1) == [2])
    }

    @Test("packed tensors are cut into slices, in GGUF's names and in Hugging Face's", arguments: [
        "blk.3.ffn_gate_exps.weight", "model.layers.3.mlp.experts.gate_up_proj_blocks",
    ])
    func packed(name: String) throws {
        let manifest = try manifest(
            ["numExperts": 4, "numExpertsPerToken": 1],
            tensors: [
                .init(name): [
                    "spans": [
                        ["shardIndex": 0, "offset": 0, "size": 64], ["shardIndex": 1, "offset": 0, "size": 64],
                    ], "size": 128, "shape": [4, 8], "dtype": "F32",
                ]
            ])
        #expect(manifest.shards(forExpert: 0, layer: 3) == [0])
        #expect(manifest.shards(forExpert: 3, layer: 3) == [1])
        #expect(manifest.slices(ofExpert: 1).map(\.spans) == [[.init(shard: 0, offset: 32, size: 32)]])
        #expect(manifest.shards(forExpert: 0, layer: 2) == [])
    }

    @Test("an expert source gives the slices' bytes")
    func source() async throws {
        struct Counting: ShardSource {
            let manifest: RDRRManifest
            func shard(_ index: Int, range: Range<Int>?) async throws -> [UInt8] {
                (range ?? 0..<64).map { UInt8($0 + index * 64) }
            }
        }
        let manifest = try manifest(
            ["numExperts": 4],
            tensors: ["blk.0.ffn_up_exps.weight": [
                "spans": [["shardIndex": 0, "offset": 16, "size": 48], ["shardIndex": 1, "offset": 0, "size": 16]],
                "size": 64, "shape": [4, 4], "dtype": "F32",
            ]])
        let experts = ShardExpertSource(Counting(manifest: manifest))
        #expect(try await experts.expert(0, layer: 0).map(\.bytes) == [Array(16..<32)])
        #expect(try await experts.expert(3, layer: 0).map(\.bytes) == [Array(64..<80)])
        await #expect(throws: RDRRError.self) { try await experts.expert(0, layer: 9) }
        let tensor = try #require(manifest.tensors.first)
        #expect(try await Counting(manifest: manifest).bytes(of: tensor, range: 40..<56) == Array(56..<72))
    }
}
