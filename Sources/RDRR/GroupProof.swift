// SPDX-License-Identifier: Apache-2.0
public import Hashing
internal import Wire

/// The values of a file's groups of 131,072 bytes: non-root chaining values of BLAKE3 in order. For a BLAKE3 hash they
/// are a proof, because they merge to the hash of the whole; each group can then be checked by itself. For a SHA-256 hash
/// they are what the sender commits itself to.
public struct GroupProof: Hashable, Sendable {
    /// The bytes of a group; the last one of a file may be shorter. A power of two of BLAKE3's chunks.
    public static let groupSize = 131_072
    /// The bytes of a group's value.
    public static let valueSize = 32
    /// The name of the subfolder of a model folder that holds the proofs.
    public static let folderName = "proofs"

    /// The size of the file.
    public let size: Int
    /// One value a group.
    public let values: [BLAKE3.Digest]

    /// How many groups a file has; none for an empty one.
    public static func groupCount(ofSize size: Int) -> Int {
        size / groupSize + (size % groupSize == 0 ? 0 : 1)
    }

    /// The bytes of a group. `group` must be less than the file's number of groups.
    public static func range(ofGroup group: Int, size: Int) -> Range<Int> {
        let start = group * groupSize
        return start..<min(start + groupSize, size)
    }

    /// The path of an entry's proof inside its model folder.
    public static func path(forName name: String) -> String { "\(folderName)/\(name).b3" }

    /// The values of bytes that are at hand.
    public init(of bytes: RawSpan) {
        var builder = Builder()
        bytes.withUnsafeBytes { builder.update($0) }
        self = builder.finish()
    }

    /// The values of bytes that are at hand.
    public init(of bytes: [UInt8]) { self.init(of: bytes.span.bytes) }

    /// Values from a `.b3` file or a proof that came over the network: 32 bytes a group. Nothing is proved yet.
    public init(parsing bytes: RawSpan, size: Int) throws(RDRRError) {
        let count = Self.groupCount(ofSize: size)
        guard size >= 0, bytes.byteCount == count * Self.valueSize else {
            throw RDRRError(
                .sizeMismatch, at: "proof", "\(bytes.byteCount) bytes are no values of \(count) groups",
                advice: "make the proofs again with dreamer pack, or get them from elsewhere")
        }
        self.size = size
        values = (0..<count).map { group in
            BLAKE3.Digest(bytes: bytes.extracting(group * Self.valueSize..<(group + 1) * Self.valueSize))
        }
    }

    /// Values from a `.b3` file or a proof that came over the network. Nothing is proved yet.
    public init(parsing bytes: [UInt8], size: Int) throws(RDRRError) {
        try self.init(parsing: bytes.span.bytes, size: size)
    }

    fileprivate init(size: Int, values: [BLAKE3.Digest]) {
        self.size = size
        self.values = values
    }

    /// The values one after the other, as they are stored and sent.
    public var bytes: [UInt8] { values.flatMap(\.bytes) }

    /// The BLAKE3 hash of the whole file that the values merge to; `nil` for a file of fewer than two groups, whose hash
    /// is not made of group values.
    public var root: BLAKE3.Digest? { values.count < 2 ? nil : BLAKE3.rootFromGroups(values) }

    /// Whether the values are those of the file with this hash. Only a BLAKE3 entry of several groups can be proved.
    public func proves(_ entry: RDRRManifest.Entry) -> Bool {
        guard entry.size == size, entry.algorithm == .blake3 || !entry.isAlgorithmStated, let root else { return false }
        return root.bytes == entry.hash
    }

    /// Whether `bytes` are that group of the file.
    public func matches(group: Int, bytes: RawSpan) -> Bool {
        guard values.indices.contains(group), bytes.byteCount == Self.range(ofGroup: group, size: size).count else {
            return false
        }
        return Self.value(ofGroup: group, bytes: bytes) == values[group]
    }

    /// Whether `bytes` are that group of the file.
    public func matches(group: Int, bytes: [UInt8]) -> Bool { matches(group: group, bytes: bytes.span.bytes) }

    /// The value of a group's bytes, at most 131,072.
    public static func value(ofGroup group: Int, bytes: RawSpan) -> BLAKE3.Digest {
        bytes.withUnsafeBytes {
            BLAKE3.chainingValue(ofSubtree: $0, chunkCounter: UInt64(group) * chunksPerGroup)
        }
    }

    /// BLAKE3's chunks of 1,024 bytes in a group.
    static let chunksPerGroup = UInt64(groupSize / 1024)
}

extension GroupProof {
    /// Makes the values of a file that is read from start to end, in pieces of any size.
    public struct Builder: Sendable {
        private var pending: [UInt8] = []
        private var values: [BLAKE3.Digest] = []
        private var size = 0

        /// A builder before the first byte.
        public init() {}

        /// Takes the next bytes.
        public mutating func update(_ bytes: UnsafeRawBufferPointer) {
            size += bytes.count
            var rest = bytes[...]
            if !pending.isEmpty {
                let taken = rest.prefix(groupSize - pending.count)
                pending.append(contentsOf: taken)
                rest = rest.dropFirst(taken.count)
                guard pending.count == groupSize else { return }
                pending.withUnsafeBytes { append($0) }
                pending.removeAll(keepingCapacity: true)
            }
            while rest.count >= groupSize {
                append(UnsafeRawBufferPointer(rebasing: rest.prefix(groupSize)))
                rest = rest.dropFirst(groupSize)
            }
            pending.append(contentsOf: rest)
        }

        /// The values of all bytes taken so far.
        public consuming func finish() -> GroupProof {
            if !pending.isEmpty { pending.withUnsafeBytes { append($0) } }
            return GroupProof(size: size, values: values)
        }

        private mutating func append(_ group: UnsafeRawBufferPointer) {
            values.append(
                BLAKE3.chainingValue(ofSubtree: group, chunkCounter: UInt64(values.count) * chunksPerGroup))
        }
    }
}

extension RDRRManifest.Entry {
    /// Whether `bytes` are the whole file.
    public func matches(whole bytes: RawSpan, threads: Int = 1) -> Bool {
        guard bytes.byteCount == size else { return false }
        return bytes.withUnsafeBytes { buffer in
            if algorithm == .blake3 || !isAlgorithmStated {
                if BLAKE3.hash(buffer, threads: threads).bytes == hash { return true }
                if isAlgorithmStated { return false }
            }
            var sha256 = SHA256()
            sha256.update(buffer)
            return sha256.finalize() == hash
        }
    }

    /// Whether `bytes` are the whole file.
    public func matches(whole bytes: [UInt8], threads: Int = 1) -> Bool {
        matches(whole: bytes.span.bytes, threads: threads)
    }
}
