// SPDX-License-Identifier: Apache-2.0

import Glibc
import Hashing
import RDRR
import Swarm
import Testing
import Wire

/// A folder of the test's own, removed with it.
final class Place {
    let root: String

    init() {
        var template = Array("/tmp/dreamer-swarm-XXXXXX".utf8CString)
        let made = mkdtemp(&template)
        precondition(made != nil, "no folder can be made in /tmp")
        root = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { remove(root) }

    func path(_ name: String) -> String { "\(root)/\(name)" }

    func write(_ bytes: [UInt8], _ name: String) throws {
        if let slash = name.lastIndex(of: "/") { mkdir(path(String(name[..<slash])), 0o777) }
        let file = try #require(fopen(path(name), "wb"))
        defer { fclose(file) }
        #expect(fwrite(bytes, 1, bytes.count, file) == bytes.count)
    }

    /// A folder with a manifest of the newest generation and random shards.
    func makeModel(_ name: String, sizes: [Int]) throws -> (RDRRManifest, MagnetLink) {
        let model = Model(sizes: sizes)
        var offset = 0
        var shards: [JSON] = []
        for (index, entry) in model.catalog.entries.enumerated() {
            let file = "shard_0000\(index).bin"
            try write(model.contents[index], "\(name)/\(file)")
            shards.append([
                "index": .integer(Int64(index)), "filename": .string(file), "size": .integer(Int64(entry.size)),
                "hash": .string(Hex.encode(entry.hash)), "offset": .integer(Int64(offset)),
            ])
            offset += entry.size
        }
        let json: JSON = [
            "version": 1, "modelId": "noise", "modelType": "transformer", "quantization": "F16", "hashAlgorithm": "blake3",
            "eos_token_id": 1,
            "architecture": [
                "numLayers": 1, "hiddenSize": 8, "intermediateSize": 8, "numAttentionHeads": 1, "numKeyValueHeads": 1,
                "headDim": 8, "vocabSize": 8, "maxSeqLen": 8,
            ],
            "shards": .array(shards), "totalSize": .integer(Int64(offset)), "tensors": [:],
            "inference": ["schema": "doppler.execution/v1"],
        ]
        let bytes = Array(json.serialized(indented: true).utf8)
        try write(bytes, "\(name)/manifest.json")
        let manifest = try RDRRManifest(parsing: bytes)
        return (manifest, MagnetLink(to: manifest))
    }

    func expectSame(_ one: String, _ other: String, _ manifest: RDRRManifest) throws {
        for name in manifest.entries.map(\.name) + ["manifest.json"] {
            let (a, b) = (try MappedFile(path: path("\(one)/\(name)")), try MappedFile(path: path("\(other)/\(name)")))
            let isSame = a.count == b.count
                && a.bytes.withUnsafeBytes { x in
                    b.bytes.withUnsafeBytes { y in x.count == 0 || memcmp(x.baseAddress!, y.baseAddress!, x.count) == 0 }
                }
            #expect(isSame, "\(name)")
        }
    }

    private func remove(_ path: String) {
        if let folder = opendir(path) {
            while let item = readdir(folder) {
                let start = UnsafeRawPointer(item) + MemoryLayout<dirent>.offset(of: \.d_name)!
                let name = String(cString: start.assumingMemoryBound(to: CChar.self))
                if name != ".", name != ".." { remove("\(path)/\(name)") }
            }
            closedir(folder)
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

/// A web server that is a folder, without proofs.
struct FolderOrigin: FallbackOrigin {
    let folder: String

    func manifest(limit: Int) async throws -> [UInt8] {
        let file = try MappedFile(path: "\(folder)/manifest.json")
        return copy(file, 0..<file.count)
    }

    func proof(of name: String, byteCount: Int) async throws -> [UInt8]? { nil }

    func fetch(
        _ name: String, range: Range<Int64>, fileSize: Int64?,
        consume: @escaping @Sendable ([UInt8], Int64) async throws -> Void
    ) async throws {
        let file = try MappedFile(path: "\(folder)/\(name)")
        for start in stride(from: Int(range.lowerBound), to: Int(range.upperBound), by: 30_000) {
            let end = min(start + 30_000, Int(range.upperBound))
            try await consume(copy(file, start..<end), Int64(start))
        }
    }

    private func copy(_ file: MappedFile, _ range: Range<Int>) -> [UInt8] {
        file.bytes.extracting(range).withUnsafeBytes { Array($0) }
    }
}
