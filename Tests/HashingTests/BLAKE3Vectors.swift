// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The official vectors, Fixtures/blake3/test_vectors.json.
struct BLAKE3Vectors: Decodable {
    struct Case: Decodable {
        let inputLength: Int
        let hash: String
        let keyedHash: String
        let deriveKey: String

        enum CodingKeys: String, CodingKey {
            case inputLength = "input_len"
            case hash
            case keyedHash = "keyed_hash"
            case deriveKey = "derive_key"
        }
    }

    let key: String
    let contextString: String
    let cases: [Case]

    enum CodingKeys: String, CodingKey {
        case key
        case contextString = "context_string"
        case cases
    }

    static func load() throws -> BLAKE3Vectors {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let file = root.appending(path: "Fixtures/blake3/test_vectors.json")
        return try JSONDecoder().decode(BLAKE3Vectors.self, from: Data(contentsOf: file))
    }

    /// The input that the vectors use, of any length.
    static func input(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8($0 % 251) }
    }
}
