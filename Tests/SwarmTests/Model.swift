// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
import Swarm
import Wire

/// A made-up model: its entries, their bytes and their group values.
struct Model: Sendable {
    let contents: [[UInt8]]
    let catalog: SwarmCatalog
    let manifest: [UInt8]
    let values: [[BLAKE3.Digest]]

    var digest: BLAKE3.Digest { BLAKE3.hash(manifest) }

    init(sizes: [Int], algorithm: HashAlgorithm = .blake3, seed: UInt64 = 1) {
        let contents = sizes.enumerated().map { Model.noise($0.element, seed: seed &* 1_000 &+ UInt64($0.offset)) }
        self.contents = contents
        catalog = SwarmCatalog(
            entries: contents.enumerated().map { index, bytes in
                SwarmCatalog.Entry(
                    name: "shard_\(index)", size: bytes.count,
                    hash: algorithm == .blake3 ? BLAKE3.hash(bytes).bytes : SHA256.hash(bytes), algorithm: algorithm)
            })
        manifest = Array("{\"seed\": \(seed), \"sizes\": \(sizes)}".utf8)
        values = contents.map { Model.values(of: $0) }
    }

    /// Bytes without a pattern, quickly made.
    private static func noise(_ count: Int, seed: UInt64) -> [UInt8] {
        var state = seed | 1
        return [UInt8](unsafeUninitializedCapacity: count + 8) { buffer, used in
            for start in stride(from: 0, to: count, by: 8) {
                state ^= state &<< 13
                state ^= state &>> 7
                state ^= state &<< 17
                UnsafeMutableRawBufferPointer(buffer).storeBytes(of: state, toByteOffset: start, as: UInt64.self)
            }
            used = count
        }
    }

    static func values(of bytes: [UInt8]) -> [BLAKE3.Digest] {
        stride(from: 0, to: bytes.count, by: SwarmCatalog.groupSize).map { start in
            bytes.withUnsafeBytes {
                BLAKE3.chainingValue(
                    ofSubtree: UnsafeRawBufferPointer(
                        rebasing: $0[start..<min(start + SwarmCatalog.groupSize, bytes.count)]),
                    chunkCounter: UInt64(start / 1024))
            }
        }
    }
}

/// SHA-256 of the certificate of a node of a test.
func certificate(_ number: UInt8) -> [UInt8] { SHA256.hash([number]) }

extension BulkHeader {
    /// A whole message: the header and then data.
    func message(_ data: [UInt8]) -> [UInt8] { bytes + data }
}

extension Timestamp {
    static func seconds(_ seconds: Double) -> Timestamp { Timestamp(nanoseconds: Int64(seconds * 1e9)) }
}
