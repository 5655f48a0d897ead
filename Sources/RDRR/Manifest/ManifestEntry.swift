// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import Wire

/// The hash functions that a manifest may name. Both give 32 bytes.
public enum HashAlgorithm: String, Hashable, Sendable, CaseIterable {
    /// BLAKE3-256: parts can be checked before the whole is there.
    case blake3
    /// SHA-256 (FIPS 180-4): only the whole can be checked.
    case sha256

    /// The hash of no bytes at all.
    public var hashOfNothing: [UInt8] {
        switch self {
        case .blake3: BLAKE3.hash([UInt8]()).bytes
        case .sha256: SHA256.hash([UInt8]())
        }
    }
}

extension RDRRManifest {
    /// A file of the folder that peers can fetch: a shard, or another file that the manifest lists with its hash.
    public struct Entry: Hashable, Sendable {
        /// The protocol's shard index: the place in `entries`.
        public let index: Int
        /// The file's name: plain, without a path.
        public let name: String
        /// The file's length in bytes.
        public let size: Int
        /// The 32 bytes of the hash of the whole file.
        public let hash: [UInt8]
        /// The hash function of `hash`; SHA-256 when the manifest does not say.
        public let algorithm: HashAlgorithm
        /// Whether the manifest states the hash function. If not, either may give `hash`: the first writers of the
        /// format left it out.
        public let isAlgorithmStated: Bool

        /// An entry of a manifest that is being written.
        public init(
            index: Int, name: String, size: Int, hash: [UInt8], algorithm: HashAlgorithm, isAlgorithmStated: Bool = true
        ) {
            self.index = index
            self.name = name
            self.size = size
            self.hash = hash
            self.algorithm = algorithm
            self.isAlgorithmStated = isAlgorithmStated
        }

        /// The hash in lowercase hex.
        public var hashHex: String { Hex.encode(hash) }
        /// How many groups of 131,072 bytes the file has.
        public var groupCount: Int { GroupProof.groupCount(ofSize: size) }
    }

    /// Whether a name is plain: it stays inside its folder on any system and is not the manifest's own.
    public static func isPlain(name: String) -> Bool { objection(toName: name) == nil }

    /// Why a name is not plain, `nil` for a plain one.
    static func objection(toName name: String) -> String? {
        // On UTF-8, not on Characters: a slash followed by a combining mark is another Character, yet still a slash.
        let bytes = name.utf8
        if bytes.isEmpty { return "the name is empty" }
        if bytes.contains(UInt8(ascii: "/")) || bytes.contains(UInt8(ascii: "\\")) {
            // Quoted as Swift writes it: a terminal is not to obey what stands in a name.
            return "the name \(String(name.prefix(100)).debugDescription) holds a path, it could leave the folder"
        }
        if bytes.contains(0) { return "the name holds a NUL character" }
        if name == "." || name == ".." { return "the name means a folder" }
        if name == manifestName { return "the name belongs to the manifest itself" }
        // NAME_MAX of Linux file systems, less the ".b3" of the file's proof.
        if bytes.count > 252 { return "the name is longer than 252 bytes" }
        return nil
    }

    /// Reads `shards`: names, sizes, hashes, offsets.
    static func readShards(_ root: ManifestField, generation: Generation) throws(RDRRError) -> [Entry] {
        let list = try root.required("shards").elements()
        guard !list.isEmpty else {
            throw RDRRError(
                .missing, at: "shards", "the list is empty", advice: "a model has at least one shard")
        }
        let common = try readAlgorithm(root.member("hashAlgorithm"))
        var names: Set<String> = []
        var entries: [Entry] = []
        entries.reserveCapacity(list.count)
        var offset = 0
        for (index, shard) in list.enumerated() {
            if let stated = shard.member("index"), try stated.count() != index {
                throw stated.fault(.invalid, "the shard at position \(index) carries another index")
            }
            let name = try readName(shard.required("filename", "fileName"), taken: &names)
            let size = try shard.required("size")
            let byteCount = try size.positive()
            if let stated = shard.member("offset"), try stated.count() != offset {
                let problem =
                    try stated.count() < offset ? "overlaps the one before" : "leaves a gap after the one before"
                throw stated.fault(.notContiguous, "the shard \(problem): it must start at \(offset)")
            }
            offset += byteCount
            guard offset <= ManifestField.largestInteger else {
                throw size.fault(.invalid, "the shards together claim more than 2^53 bytes")
            }
            let own = try readAlgorithm(shard.member("hashAlgorithm"))
            let algorithm = common ?? own
            // Early writers used the key `blake3` for whatever hash they had: the key says nothing about the algorithm.
            let hash = try readHash(
                algorithm == .blake3 ? shard.required("blake3", "hash") : shard.required("hash", "blake3"))
            entries.append(
                Entry(
                    index: index, name: name, size: byteCount, hash: hash, algorithm: algorithm ?? .sha256,
                    isAlgorithmStated: algorithm != nil))
        }
        if generation == .g1, let odd = entries.first(where: { $0.algorithm != entries[0].algorithm }) {
            throw RDRRError(
                .invalid, at: "shards[\(odd.index)].hashAlgorithm", "the shards name different hash functions",
                advice: ManifestField.manifestAdvice)
        }
        let total = try root.required("totalSize")
        guard try total.count() == offset else {
            throw total.fault(.sizeMismatch, "\(try total.count()) is not the sum of the shards' sizes, \(offset)")
        }
        return entries
    }

    /// Reads `files`, our list of the folder's other files: PROTOCOL.md §1.
    static func readFiles(_ root: ManifestField, shards: [Entry]) throws(RDRRError) -> [Entry] {
        guard let list = root.member("files") else { return [] }
        var names = Set(shards.map(\.name))
        var entries: [Entry] = []
        var total = shards.reduce(0) { $0 + $1.size }
        for (index, file) in try list.elements().enumerated() {
            let name = try readName(file.required("name"), taken: &names)
            let size = try file.required("size").count()
            total += size
            guard total <= ManifestField.largestInteger else {
                throw try file.required("size").fault(.invalid, "shards and files together claim more than 2^53 bytes")
            }
            guard let algorithm = try readAlgorithm(file.required("hashAlgorithm")) else { continue }
            let hash = try readHash(file.required("hash"))
            guard size > 0 || hash == algorithm.hashOfNothing else {
                throw try file.required("hash").fault(.invalid, "a file of 0 bytes must have the hash of nothing")
            }
            entries.append(
                Entry(index: shards.count + index, name: name, size: size, hash: hash, algorithm: algorithm))
        }
        return entries
    }

    private static func readName(_ field: ManifestField, taken: inout Set<String>) throws(RDRRError) -> String {
        let name = try field.string()
        if let objection = objection(toName: name) {
            throw field.fault(.unsafeName, objection, advice: "do not use this model unless you trust its source")
        }
        guard taken.insert(name).inserted else {
            throw field.fault(.duplicateName, "the name \"\(name)\" is used twice")
        }
        return name
    }

    private static func readAlgorithm(_ field: ManifestField?) throws(RDRRError) -> HashAlgorithm? {
        guard let field else { return nil }
        let name = try field.string()
        guard let algorithm = HashAlgorithm(rawValue: name) else {
            throw field.fault(.unsupported, "the hash function \"\(name)\" is not known: blake3 or sha256")
        }
        return algorithm
    }

    private static func readHash(_ field: ManifestField) throws(RDRRError) -> [UInt8] {
        let text = try field.string()
        let isHex = text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard text.utf8.count == 64, isHex, let bytes = Hex.decode(text) else {
            throw field.fault(.invalid, "a hash must be 64 lowercase hex digits")
        }
        return bytes
    }
}
