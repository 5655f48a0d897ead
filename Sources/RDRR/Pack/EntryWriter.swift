// SPDX-License-Identifier: Apache-2.0
internal import Hashing

/// Writes one file of a model folder and hashes it on the way.
struct EntryWriter: ~Copyable {
    private let file: SystemFile
    private var hasher: EntryHasher
    private(set) var size = 0

    /// Makes the file.
    init(path: String, algorithm: HashAlgorithm) throws(RDRRError) {
        file = try SystemFile(creating: path)
        hasher = EntryHasher(algorithm: algorithm)
    }

    /// Appends bytes.
    mutating func write(_ bytes: UnsafeRawBufferPointer) throws(RDRRError) {
        try file.write(bytes)
        hasher.update(bytes)
        size += bytes.count
    }

    /// Waits until the file is on the disk; its hash and group values.
    consuming func finish() throws(RDRRError) -> (hash: [UInt8], proof: GroupProof) {
        try file.synchronize()
        return hasher.finish()
    }
}

/// The hash of a file together with its group values, in one pass.
struct EntryHasher {
    private var groups = GroupProof.Builder()
    private var size = 0
    /// The hash of the whole; for BLAKE3 only of the first group, since the hash of several is made of their values.
    private var whole: Whole

    private enum Whole {
        case blake3(BLAKE3)
        case sha256(SHA256)
    }

    init(algorithm: HashAlgorithm) {
        whole = algorithm == .blake3 ? .blake3(BLAKE3()) : .sha256(SHA256())
    }

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        groups.update(bytes)
        switch whole {
        case .sha256(var hash):
            hash.update(bytes)
            whole = .sha256(hash)
        case .blake3(var hash):
            let counted = min(bytes.count, max(0, GroupProof.groupSize - size))
            if counted > 0 { hash.update(UnsafeRawBufferPointer(rebasing: bytes.prefix(counted))) }
            whole = .blake3(hash)
        }
        size += bytes.count
    }

    consuming func finish() -> (hash: [UInt8], proof: GroupProof) {
        let proof = groups.finish()
        switch whole {
        case .sha256(let hash): return (hash.finalize(), proof)
        case .blake3(let hash): return (proof.root?.bytes ?? hash.finalize(), proof)
        }
    }
}
