// SPDX-License-Identifier: Apache-2.0
import Hashing
import RDRR
import Testing
import Wire

@Suite("Manifests")
struct ManifestTests {
    @Test("a manifest gives its entries, shards first, and keeps its bytes")
    func entries() throws {
        let bytes = Array(sampleManifest().serialized(indented: true).utf8)
        let manifest = try RDRRManifest(parsing: bytes)
        #expect(manifest.bytes == bytes)
        #expect(manifest.digest == BLAKE3.hash(bytes))
        #expect(manifest.infoHash == SHA1.hash(Array(manifest.digest.hex.utf8)))
        #expect(manifest.generation == .g2)
        #expect(manifest.entries.map(\.name) == ["shard_00000.bin", "shard_00001.bin", "tokenizer.json"])
        #expect(manifest.entries.map(\.index) == [0, 1, 2])
        #expect(manifest.totalSize == 192)
        #expect(manifest.totalEntrySize == 202)
        #expect(manifest.tensor(named: "a")?.shards == [0, 1])
        #expect(
            manifest.tensor(named: "a")?.spans(of: 120..<140) == [
                .init(shard: 0, offset: 120, size: 8), .init(shard: 1, offset: 0, size: 12),
            ])
    }

    struct Bad: Sendable, CustomTestStringConvertible {
        let path: [PathStep]
        let value: JSON?
        let code: RDRRError.Code
        let place: String
        var testDescription: String { "\(place): \(value?.serialized().prefix(60) ?? "absent")" }

        init(_ path: [PathStep], _ value: JSON?, _ code: RDRRError.Code, _ place: String) {
            self.path = path
            self.value = value
            self.code = code
            self.place = place
        }
    }

    static let bad: [Bad] = [
        Bad(["version"], nil, .missing, "version"),
        Bad(["version"], 0, .unsupportedVersion, "version"),
        Bad(["version"], "one", .wrongKind, "version"),
        Bad(["modelId"], nil, .missing, "modelId"),
        Bad(["modelId"], "", .invalid, "modelId"),
        Bad(["modelId"], 7, .wrongKind, "modelId"),
        Bad(["hashAlgorithm"], "md5", .unsupported, "hashAlgorithm"),
        Bad(["architecture", "hiddenSize"], 0, .invalid, "architecture.hiddenSize"),
        Bad(["architecture", "vocabSize"], -1, .invalid, "architecture.vocabSize"),
        Bad(["architecture"], [1], .wrongKind, "architecture"),
        Bad(["shards"], nil, .missing, "shards"),
        Bad(["shards"], [], .missing, "shards"),
        Bad(["shards"], "x", .wrongKind, "shards"),
        Bad(["shards", 1, "index"], 0, .invalid, "shards[1].index"),
        Bad(["shards", 1, "filename"], nil, .missing, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "shard_00000.bin", .duplicateName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "../shard", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "/etc/passwd", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "a\\b", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "a/\u{301}b", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "a\0b", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "..", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], ".", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "", .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "filename"], "manifest.json", .unsafeName, "shards[1].filename"),
        Bad(
            ["shards", 1, "filename"], .string(String(repeating: "n", count: 300)), .unsafeName, "shards[1].filename"),
        Bad(["shards", 1, "size"], nil, .missing, "shards[1].size"),
        Bad(["shards", 1, "size"], 0, .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], -5, .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], "64", .wrongKind, "shards[1].size"),
        Bad(["shards", 1, "size"], .number(1.5), .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], .integer(1 << 60), .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], .number(1e300), .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], .integer(1 << 53), .invalid, "shards[1].size"),
        Bad(["shards", 1, "size"], 65, .sizeMismatch, "totalSize"),
        Bad(["shards", 1, "offset"], 100, .notContiguous, "shards[1].offset"),
        Bad(["shards", 1, "offset"], 129, .notContiguous, "shards[1].offset"),
        Bad(["shards", 1, "hash"], nil, .missing, "shards[1].blake3"),
        Bad(["shards", 1, "hash"], "ab", .invalid, "shards[1].hash"),
        Bad(["shards", 1, "hash"], .string(String(repeating: "xy", count: 32)), .invalid, "shards[1].hash"),
        Bad(["shards", 1, "hash"], .string(String(repeating: "AB", count: 32)), .invalid, "shards[1].hash"),
        Bad(["shards", 1, "hash"], .string(String(repeating: "é", count: 32)), .invalid, "shards[1].hash"),
        Bad(["totalSize"], nil, .missing, "totalSize"),
        Bad(["totalSize"], 191, .sizeMismatch, "totalSize"),
        Bad(["totalSize"], .integer(1 << 60), .invalid, "totalSize"),
        Bad(["files"], "x", .wrongKind, "files"),
        Bad(["files", 0, "name"], "shard_00000.bin", .duplicateName, "files[0].name"),
        Bad(["files", 0, "name"], "../tokenizer.json", .unsafeName, "files[0].name"),
        Bad(["files", 0, "size"], .integer(1 << 60), .invalid, "files[0].size"),
        Bad(["files", 0, "size"], .integer(1 << 53), .invalid, "files[0].size"),
        Bad(["files", 0, "size"], 0, .invalid, "files[0].hash"),
        Bad(["files", 0, "hash"], "12", .invalid, "files[0].hash"),
        Bad(["files", 0, "hashAlgorithm"], nil, .missing, "files[0].hashAlgorithm"),
        Bad(["files", 0, "hashAlgorithm"], "crc32", .unsupported, "files[0].hashAlgorithm"),
        Bad(["tensors"], nil, .missing, "tensors"),
        Bad(["tensors"], 3, .wrongKind, "tensors"),
        Bad(["tensors", "b", "shard"], 2, .outOfBounds, "tensors.b.shard"),
        Bad(["tensors", "b", "shard"], -1, .invalid, "tensors.b.shard"),
        Bad(["tensors", "b", "offset"], 33, .outOfBounds, "tensors.b.offset"),
        Bad(["tensors", "b", "offset"], .integer(1 << 53), .outOfBounds, "tensors.b.offset"),
        Bad(["tensors", "b", "size"], 36, .outOfBounds, "tensors.b.offset"),
        Bad(["tensors", "b", "size"], .integer(1 << 60), .invalid, "tensors.b.size"),
        Bad(["tensors", "b", "size"], 28, .sizeMismatch, "tensors.b.size"),
        Bad(["tensors", "b", "shape"], [7], .sizeMismatch, "tensors.b.size"),
        Bad(["tensors", "b", "shape"], [.integer(1 << 40), .integer(1 << 40)], .invalid, "tensors.b.size"),
        Bad(["tensors", "b", "shape"], nil, .missing, "tensors.b.shape"),
        Bad(["tensors", "b", "dtype"], "F16", .sizeMismatch, "tensors.b.size"),
        Bad(["tensors", "b", "dtype"], nil, .missing, "tensors.b.dtype"),
        Bad(["tensors", "a", "spans", 1, "size"], 31, .sizeMismatch, "tensors.a.size"),
        Bad(["tensors", "a", "spans", 1, "offset"], 60, .outOfBounds, "tensors.a.spans[1].offset"),
        Bad(["tensors", "a", "spans", 1, "shardIndex"], 9, .outOfBounds, "tensors.a.spans[1].shardIndex"),
        Bad(["tensors", "a", "spans"], [], .sizeMismatch, "tensors.a.size"),
        Bad(["tensorsFile"], "../tensors.json", .unsafeName, "tensorsFile"),
        Bad(["groups"], ["g": ["type": "embed", "shards": [5], "tensors": []]], .outOfBounds, "groups.g.shards[0]"),
        Bad(["groups"], ["g": ["type": "embed", "shards": [0]]], .missing, "groups.g.tensors"),
        Bad(["moeConfig"], ["numExperts": 0], .invalid, "moeConfig.numExperts"),
        Bad(["moeConfig"], ["numExperts": 2, "numExpertsPerToken": 3], .invalid, "moeConfig.numExpertsPerToken"),
        Bad(
            ["moeConfig"], ["numExperts": 2, "expertShardMap": ["0": 7]], .outOfBounds, "moeConfig.expertShardMap.0"),
    ]

    @Test("a bad manifest is refused with its fault and its place", arguments: bad)
    func refuses(_ bad: Bad) {
        let error = failure { () throws(RDRRError) in _ = try parse(sampleManifest().setting(bad.path, to: bad.value)) }
        #expect(error?.code == bad.code)
        #expect(error?.place == bad.place)
        #expect(error?.message.isEmpty == false && error?.advice.isEmpty == false)
    }

    @Test("the table's manifest is good as it stands, with numbers written as 192.0 and null fields too")
    func sampleIsGood() throws {
        _ = try parse(sampleManifest())
        _ = try parse(sampleManifest().setting(["totalSize"], to: .number(192)))
        _ = try parse(sampleManifest().setting(["moeConfig"], to: .null))
        _ = try parse(sampleManifest().setting(["somethingNew"], to: ["x": 1]))
    }

    @Test("text that is no JSON, no object, or too large is refused")
    func refusesText() {
        let whole = Array(sampleManifest().serialized().utf8)
        for length in [0, 1, whole.count / 2, whole.count - 1] {
            #expect(
                failure { () throws(RDRRError) in _ = try RDRRManifest(parsing: Array(whole[..<length])) }?.code
                    == .notJSON)
        }
        #expect(failure { () throws(RDRRError) in _ = try RDRRManifest(parsing: Array("[]".utf8)) }?.code == .wrongKind)
        #expect(
            failure { () throws(RDRRError) in
                _ = try RDRRManifest(parsing: [UInt8](repeating: 0x20, count: RDRRManifest.largestManifest + 1))
            }?.code == .tooLarge)
        let deep = Array((String(repeating: "[", count: 100_000)).utf8)
        #expect(failure { () throws(RDRRError) in _ = try RDRRManifest(parsing: deep) }?.code == .notJSON)
    }

    @Test("the key of a hash says nothing about its algorithm")
    func hashKeys() throws {
        let blake = JSON.string(String(repeating: "01", count: 32))
        // Declared SHA-256: `hash` wins over `blake3`, and `blake3` alone is a SHA-256 all the same.
        var json = sampleManifest().setting(["hashAlgorithm"], to: "sha256").setting(
            ["shards", 0, "blake3"], to: blake)
        #expect(try parse(json).shards[0].hashHex == String(repeating: "ab", count: 32))
        json = json.setting(["shards", 0, "hash"], to: nil)
        #expect(try parse(json).shards[0].hashHex == String(repeating: "01", count: 32))
        #expect(try parse(json).shards[0].algorithm == .sha256)
        // Declared BLAKE3: `blake3` wins.
        json = sampleManifest().setting(["shards", 0, "blake3"], to: blake)
        #expect(try parse(json).shards[0].hashHex == String(repeating: "01", count: 32))
        // Not declared at all: either may be meant.
        json = sampleManifest().setting(["hashAlgorithm"], to: nil)
        #expect(try parse(json).shards[0].isAlgorithmStated == false)
        // Declared for each shard.
        json = json.setting(["shards", 0, "hashAlgorithm"], to: "blake3")
        #expect(try parse(json).shards[0].algorithm == .blake3)
        #expect(try parse(json).shards[0].isAlgorithmStated)
    }

    @Test("an empty file has the hash of nothing")
    func emptyFile() throws {
        let json = sampleManifest().setting(["files", 0, "size"], to: 0)
            .setting(["files", 0, "hash"], to: .string(BLAKE3.hash([UInt8]()).hex))
        let manifest = try parse(json)
        #expect(manifest.files[0].groupCount == 0)
    }

    @Test(
        "sizes follow from type, shape and layout",
        arguments: [
            ("Q4_K_M", [3, 300], "row", 3 * 2 * 144), ("Q4_K_M", [3, 300], nil, 4 * 144), ("Q8_0", [2, 64], nil, 136),
            ("Q4_1", [2, 64], nil, 80), ("BF16", [3], nil, 6), ("I64", [2], nil, 16), ("F32", [], nil, 4),
            ("W4A16", [4, 64], nil, 128), ("Q6_K", [256], nil, 210), ("F32", [0, 4], nil, 0), ("MXFP4", [7], nil, 1),
            ("SOMETHING_NEW", [7], nil, 5),
        ] as [(String, [Int], String?, Int)])
    func sizes(dtype: String, shape: [Int], layout: String?, size: Int) throws {
        func manifest(_ size: Int) -> JSON {
            sampleManifest()
                .setting(["shards", 1, "size"], to: 10_000).setting(["totalSize"], to: 10_128)
                .setting(
                    ["tensors", "b"],
                    to: [
                        "shard": 1, "offset": 32, "size": .integer(Int64(size)),
                        "shape": .array(shape.map { .integer(Int64($0)) }), "dtype": .string(dtype),
                        "layout": layout.map { .string($0) } ?? .null,
                    ])
        }
        #expect(try parse(manifest(size)).tensor(named: "b")?.size == size)
        if TensorType(named: dtype) != nil {
            #expect(failure { () throws(RDRRError) in _ = try parse(manifest(size + 1)) }?.code == .sizeMismatch)
        }
    }

    @Test("a manifest with one byte changed is read or refused, never a trap")
    func fuzz() throws {
        var random = Entropy(seed: 0xD1CE)
        var seeds = [Array(sampleManifest().serialized().utf8)]
        for path in ["dreamer-tiny-model/manifest.json", "doppler-mini-model/manifest.json"] {
            if let bytes = ModelFixtures.bytes(path) { seeds.append(bytes) }
        }
        let words = [
            "-1", "0", "1e99", "9007199254740993", "1152921504606846976", "\"../x\"", "null", "[]", "{}", "\"\"",
        ]
        for round in 0..<1500 {
            var bytes = seeds[round % seeds.count]
            for _ in 0...Int.random(in: 0...3, using: &random) {
                let place = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0...3, using: &random) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.removeSubrange(place..<min(bytes.count, place + Int.random(in: 1...9, using: &random)))
                case 2: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 20)], at: place)
                default:
                    // A number is replaced by something that hurts more than noise does.
                    let digits = bytes[place...].prefix(200).firstIndex { (0x30...0x39).contains($0) } ?? place
                    let end = bytes[digits...].firstIndex { !(0x30...0x39).contains($0) } ?? digits
                    let word = words.randomElement(using: &random) ?? "0"
                    bytes.replaceSubrange(digits..<end, with: Array(word.utf8))
                }
                if bytes.isEmpty { bytes = [0] }
            }
            if let manifest = try? RDRRManifest(parsing: bytes) {
                _ = ModelInspector(manifest).text
                _ = manifest.shards(forExpert: 1)
            }
        }
    }
}
