// SPDX-License-Identifier: Apache-2.0

import Hashing
public import RDRR

/// What a model's folder holds as peers count it: the shards, then the other files.
public struct SwarmCatalog: Sendable {
    /// One shard or file.
    public struct Entry: Hashable, Sendable {
        /// Its file name.
        public let name: String
        /// Its size in bytes.
        public let size: Int
        /// Its hash, 32 bytes.
        public let hash: [UInt8]
        /// What kind of hash that is.
        public let algorithm: HashAlgorithm

        /// An entry from its parts.
        public init(name: String, size: Int, hash: [UInt8], algorithm: HashAlgorithm) {
            self.name = name
            self.size = size
            self.hash = hash
            self.algorithm = algorithm
        }

        /// How many groups it has; 0 for an empty file.
        public var groupCount: Int { (size + SwarmCatalog.groupSize - 1) / SwarmCatalog.groupSize }

        /// The bytes of a group, counted from the entry's start.
        public func range(ofGroup group: Int) -> Range<Int> {
            let start = group * SwarmCatalog.groupSize
            return start..<min(size, start + SwarmCatalog.groupSize)
        }

        /// The bytes of a run of groups.
        public func range(ofGroups groups: Range<Int>) -> Range<Int> {
            groups.lowerBound * SwarmCatalog.groupSize..<min(size, groups.upperBound * SwarmCatalog.groupSize)
        }

        /// Whether these group values are those of the entry's hash. A SHA-256 says nothing about them.
        func isProved(by values: [BLAKE3.Digest]) -> Bool {
            values.count == groupCount && groupCount > 1 && algorithm == .blake3
                && BLAKE3.rootFromGroups(values).bytes == hash
        }
    }

    /// The bytes of a group, the unit of requests, of verification and of blame.
    public static let groupSize = 131_072
    /// The bytes of a group's value.
    public static let valueSize = 32
    /// The most entries that fit a bitfield message: 64 KiB less the JSON around it, as base64.
    public static let maximumEntryCount = (ControlMessage.maximumByteCount - 64) / 4 * 3 * 8

    /// The most bytes that entries may have together, 8 TiB: a node keeps some state for each group, and a manifest costs
    /// its author nothing.
    public static let maximumSize = 8 << 40

    /// The entries, by shard index.
    public let entries: [Entry]
    /// The bytes of all entries.
    public let totalSize: Int

    /// A catalog of these entries.
    public init(entries: [Entry]) {
        self.entries = entries
        totalSize = entries.reduce(0) { $0 + $1.size }
    }

    /// Why peers cannot exchange these entries, `nil` if they can.
    public var objection: String? {
        if entries.count > SwarmCatalog.maximumEntryCount {
            return "the manifest lists \(entries.count) files, more than peers can announce"
        }
        if totalSize > SwarmCatalog.maximumSize {
            return "the manifest claims \(totalSize) bytes, more than peers exchange (\(SwarmCatalog.maximumSize)); "
                + "do not use this model unless you trust its source"
        }
        return nil
    }

    /// What a manifest lists.
    public init(_ manifest: RDRRManifest) {
        self.init(
            entries: manifest.entries.map {
                Entry(name: $0.name, size: $0.size, hash: $0.hash, algorithm: $0.algorithm)
            })
    }
}
