// SPDX-License-Identifier: Apache-2.0
import Glibc
import RDRR
import TestSupport
import Wire

/// Real model files, where there are any.
enum ModelFixtures {
    static let folder: String? = Fixtures.external("rdrr")

    static func bytes(_ path: String) -> [UInt8]? {
        folder.flatMap { readFile("\($0)/\(path)") }
    }
}

/// A whole file, `nil` when there is none.
func readFile(_ path: String) -> [UInt8]? {
    guard let file = fopen(path, "rb") else { return nil }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { return bytes }
        bytes += buffer[..<count]
    }
}

func writeFile(_ bytes: [UInt8], to path: String) {
    guard let file = fopen(path, "wb") else { return }
    fwrite(bytes, 1, bytes.count, file)
    fclose(file)
}

/// A folder that is removed with everything in it when the last owner lets go.
final class TemporaryFolder: Sendable {
    let path: String

    init() {
        var template = Array("/tmp/rdrr-tests-XXXXXX".utf8CString)
        path = mkdtemp(&template).map { String(cString: $0) } ?? "/tmp"
    }

    deinit {
        if path != "/tmp" { Self.remove(path) }
    }

    func names(_ sub: String = "") -> [String] { Self.names(path + "/" + sub) }

    private static func names(_ path: String) -> [String] {
        guard let folder = opendir(path) else { return [] }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: &entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    private static func remove(_ path: String) {
        for name in names(path) where unlink("\(path)/\(name)") != 0 { remove("\(path)/\(name)") }
        rmdir(path)
    }
}

/// The error that `body` throws.
func failure(_ body: () throws(RDRRError) -> Void) -> RDRRError? {
    do throws(RDRRError) {
        try body()
        return nil
    } catch {
        return error
    }
}

/// A small manifest of the newest generation, valid as it stands.
func sampleManifest() -> JSON {
    [
        "version": 1, "modelId": "sample", "modelType": "transformer", "quantization": "F32",
        "architecture": ["numLayers": 1, "hiddenSize": 4, "vocabSize": 8],
        "inference": ["schema": .null],
        "hashAlgorithm": "blake3",
        "eos_token_id": 2,
        "shards": [
            [
                "index": 0, "filename": "shard_00000.bin", "size": 128, "offset": 0,
                "hash": .string(String(repeating: "ab", count: 32)),
            ],
            [
                "index": 1, "filename": "shard_00001.bin", "size": 64, "offset": 128,
                "hash": .string(String(repeating: "cd", count: 32)),
            ],
        ],
        "files": [
            [
                "name": "tokenizer.json", "size": 10, "hash": .string(String(repeating: "ef", count: 32)),
                "hashAlgorithm": "blake3",
            ]
        ],
        "tensors": [
            "a": [
                "spans": [
                    ["shardIndex": 0, "offset": 0, "size": 128],
                    ["shardIndex": 1, "offset": 0, "size": 32],
                ],
                "size": 160, "shape": [8, 5], "dtype": "F32", "role": "embedding", "group": "embed",
            ],
            "b": ["shard": 1, "offset": 32, "size": 32, "shape": [8], "dtype": "F32", "role": "norm", "group": "head"],
        ],
        "totalSize": 192,
    ]
}

extension JSON {
    /// This value with the one at a path replaced; a step is a member's name or an element's index, `nil` removes.
    func setting(_ path: [PathStep], to value: JSON?) -> JSON {
        guard let first = path.first else { return value ?? .null }
        let rest = Array(path.dropFirst())
        switch (self, first) {
        case (.object(var object), .name(let name)):
            object[name] = rest.isEmpty ? value : (object[name] ?? .object(.init())).setting(rest, to: value)
            return .object(object)
        case (.array(var array), .index(let index)):
            array[index] = array[index].setting(rest, to: value)
            return .array(array)
        default: return self
        }
    }
}

enum PathStep: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, Sendable {
    case name(String)
    case index(Int)
    init(stringLiteral value: String) { self = .name(value) }
    init(integerLiteral value: Int) { self = .index(value) }
}

func parse(_ json: JSON) throws(RDRRError) -> RDRRManifest {
    try RDRRManifest(parsing: Array(json.serialized().utf8))
}
