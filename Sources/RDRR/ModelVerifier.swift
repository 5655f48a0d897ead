// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Hashing
internal import Synchronization

/// Checks every shard and file of a model folder against its manifest.
public struct ModelVerifier: Sendable {
    /// What became of one shard or file.
    public struct Finding: Hashable, Sendable {
        /// The shard or file.
        public let entry: RDRRManifest.Entry
        /// What was found.
        public let outcome: Outcome
    }

    /// What a shard or file may be.
    public enum Outcome: Hashable, Sendable {
        /// Its bytes have the hash of the manifest.
        case good
        /// It is not there.
        case missing
        /// It has another length.
        case wrongSize(found: Int)
        /// It has another hash, given in hex, and from `firstBadByte` on it is not what the stored proof says, where
        /// there is one.
        case wrongHash(found: String, firstBadByte: Int?)
        /// It is good, but the stored group values beside it are not its own: other programs would reject them.
        case wrongProof
        /// It could not be read.
        case unreadable(RDRRError)

        /// Whether the bytes are what they should be.
        public var isGood: Bool { self == .good || self == .wrongProof }
    }

    /// How far the check has come.
    public struct Progress: Hashable, Sendable {
        /// The shard or file that was checked last.
        public let finding: Finding
        /// Bytes checked, or found missing.
        public let bytesDone: Int
        /// Bytes of all shards and files.
        public let bytesTotal: Int
    }

    /// All findings.
    public struct Report: Hashable, Sendable {
        /// One for each shard and file, in the manifest's order.
        public let findings: [Finding]
        /// Whether every shard and file is good.
        public var isGood: Bool { findings.allSatisfy(\.outcome.isGood) }
        /// The bytes of the good ones.
        public var goodBytes: Int { findings.reduce(0) { $0 + ($1.outcome.isGood ? $1.entry.size : 0) } }
        /// What is not in order.
        public var faults: [Finding] { findings.filter { $0.outcome != .good } }
    }

    /// The folder that is checked.
    public let folder: ModelFolder
    /// How many shards and files are read and hashed at the same time.
    public let threads: Int

    /// A check of a folder.
    public init(_ folder: ModelFolder, threads: Int = 1) {
        self.folder = folder
        self.threads = max(1, threads)
    }

    /// Checks everything. A wrong file is a finding, not an error.
    ///
    /// - Parameter progress: called after each shard or file; one call at a time, from the thread that checked it.
    public func verify(progress: (@Sendable (Progress) -> Void)? = nil) -> Report {
        let entries = folder.manifest.entries
        let total = folder.manifest.totalEntrySize
        let state = Mutex((next: 0, done: 0, findings: [Finding?](repeating: nil, count: entries.count)))
        Workers.run(min(threads, entries.count)) {
            while true {
                let index = state.withLock { state in
                    defer { state.next += 1 }
                    return state.next
                }
                guard index < entries.count else { return }
                let finding = Finding(entry: entries[index], outcome: verify(entries[index]))
                state.withLock { state in
                    state.findings[index] = finding
                    state.done += entries[index].size
                    progress?(Progress(finding: finding, bytesDone: state.done, bytesTotal: total))
                }
            }
        }
        return Report(findings: state.withLock { $0.findings.compactMap { $0 } })
    }

    /// Checks one shard or file.
    public func verify(_ entry: RDRRManifest.Entry) -> Outcome {
        do throws(RDRRError) {
            let file = try SystemFile(reading: folder.path(of: entry))
            let size = try file.size()
            guard size == entry.size else { return .wrongSize(found: size) }
            let (hash, proof) = try hash(file, as: entry)
            guard hash == entry.hash else {
                return .wrongHash(found: Hex.encode(hash), firstBadByte: firstBadByte(of: entry, found: proof))
            }
            return isStoredProofWrong(of: entry, found: proof) ? .wrongProof : .good
        } catch {
            return error.code == .missing ? .missing : .unreadable(error)
        }
    }

    /// The hash and the group values of a file. Without a stated hash function either may be meant.
    private func hash(
        _ file: SystemFile, as entry: RDRRManifest.Entry
    ) throws(RDRRError) -> (hash: [UInt8], proof: GroupProof) {
        let first = try hash(file, algorithm: entry.algorithm)
        guard first.hash != entry.hash, !entry.isAlgorithmStated else { return first }
        let second = try hash(file, algorithm: entry.algorithm == .blake3 ? .sha256 : .blake3)
        return second.hash == entry.hash ? second : first
    }

    private func hash(
        _ file: SystemFile, algorithm: HashAlgorithm
    ) throws(RDRRError) -> (hash: [UInt8], proof: GroupProof) {
        var hasher = EntryHasher(algorithm: algorithm)
        try file.forEachPiece { hasher.update($0) }
        return hasher.finish()
    }

    private func firstBadByte(of entry: RDRRManifest.Entry, found: GroupProof) -> Int? {
        guard let stored = folder.storedProof(of: entry), stored.values.count == found.values.count else { return nil }
        return zip(stored.values, found.values).enumerated().first { $0.element.0 != $0.element.1 }
            .map { $0.offset * GroupProof.groupSize }
    }

    private func isStoredProofWrong(of entry: RDRRManifest.Entry, found: GroupProof) -> Bool {
        guard entry.groupCount > 1,
            let bytes = try? ModelFolder.read(folder.proofPath(of: entry), limit: 1 << 30)
        else { return false }
        return bytes != found.bytes
    }
}

/// Threads for work that keeps processors or disks busy and never waits for anything else.
enum Workers {
    /// Runs `body` on so many threads, the caller's among them, and returns when all have ended.
    static func run(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        var threads: [pthread_t] = []
        for _ in 1..<max(1, count) {
            var thread = pthread_t()
            let box = Unmanaged.passRetained(Box(body))
            let status = pthread_create(&thread, nil, { argument in
                if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
                return nil
            }, box.toOpaque())
            if status == 0 { threads.append(thread) } else { box.release() }
        }
        body()
        for thread in threads { pthread_join(thread, nil) }
    }

    private final class Box: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
}
