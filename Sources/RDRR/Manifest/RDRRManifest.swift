// SPDX-License-Identifier: Apache-2.0
public import Hashing
public import Wire

/// The manifest of a model folder (RDRR), read and checked: what files there are, what is in them, and the hashes that
/// every byte is checked against.
///
/// Three generations of the format exist that all call themselves version 1; they are told apart by their fields. All
/// are read, and unknown fields are kept, because a manifest is passed on as the bytes it came in.
public struct RDRRManifest: Sendable {
    /// The generations of the format.
    public enum Generation: Int, Hashable, Sendable {
        /// The first: `fileName`, a hash function for each shard, no offsets.
        case g0
        /// The second: `groups` and tensors in a file of their own.
        case g1
        /// The present one: one hash function, offsets, a role for each tensor.
        case g2
    }

    /// The manifest's file name in every model folder.
    public static let manifestName = "manifest.json"
    /// The largest manifest that is read: 64 MiB.
    public static let largestManifest = 64 << 20

    /// The exact bytes the manifest was read from. They are what travels, and what `digest` is the hash of.
    public let bytes: [UInt8]
    /// The whole manifest as JSON, for what has no property here.
    public let json: JSON
    /// BLAKE3-256 of `bytes`: the model's identity among peers.
    public let digest: BLAKE3.Digest
    /// Which generation of the format this is.
    public let generation: Generation
    /// The model's name for people.
    public let modelId: String
    /// The kind of model: `transformer`, `mixtral` and so on; an open set.
    public let modelType: String
    /// How the weights are stored, for people: `Q4_K_M`, `F16`.
    public let quantization: String
    /// The shards, in order; together they hold the tensors.
    public let shards: [Entry]
    /// The folder's other files that the manifest lists with a hash.
    public let files: [Entry]
    /// The sum of the shards' sizes.
    public let totalSize: Int
    /// The tensors, in the manifest's order; empty while they are in a file of their own that was not added yet.
    public private(set) var tensors: [Tensor]
    /// The name of the file that holds the tensors, if it is not the manifest.
    public let tensorsFile: String?
    /// Named sets of tensors (second generation).
    public let groups: [Group]
    /// The experts, if the model is a mixture of experts.
    public let experts: ExpertLayout?
    /// What is odd but harmless, in words.
    public let warnings: [String]

    private var tensorIndex: [String: Int]

    /// Reads and checks a manifest.
    public init(parsing bytes: [UInt8]) throws(RDRRError) {
        let json = try Self.parse(bytes, place: "")
        guard json.object != nil else { throw ManifestField(path: "", value: json).wrongKind("a JSON object") }
        let root = ManifestField(path: "", value: json)
        let generation = try Self.generation(of: root)
        var warnings: [String] = []
        try Self.checkVersion(root, generation: generation, warnings: &warnings)

        self.bytes = bytes
        self.json = json
        self.generation = generation
        modelId = try root.required("modelId").text()
        modelType = try root.required("modelType").string()
        quantization = try root.required("quantization").string()
        shards = try Self.readShards(root, generation: generation)
        files = try Self.readFiles(root, shards: shards)
        totalSize = shards.reduce(0) { $0 + $1.size }
        groups = try Self.readGroups(root, shardCount: shards.count)
        tensorsFile = try Self.readPlainName(root.member("tensorsFile"))
        tensors = []
        tensorIndex = [:]
        if let inline = root.member("tensors") {
            tensors = try Self.readTensors(inline, shards: shards)
        } else if tensorsFile == nil && groups.isEmpty {
            throw RDRRError(
                .missing, at: "tensors", "neither tensors nor tensorsFile nor groups is there",
                advice: ManifestField.manifestAdvice)
        }
        experts = try ExpertLayout(root)
        try Self.checkArchitecture(root)
        Self.collectWarnings(root, generation: generation, shards: shards, files: files, into: &warnings)
        self.warnings = warnings
        digest = BLAKE3.hash(bytes)
        indexTensors()
    }

    /// Shards and files: what peers exchange. The place in this list is the protocol's shard index.
    public var entries: [Entry] { shards + files }

    /// The bytes of all shards and files.
    public var totalEntrySize: Int { totalSize + files.reduce(0) { $0 + $1.size } }

    /// The name under which peers meet: SHA-1 of the 64 hex digits of `digest`.
    public var infoHash: [UInt8] { SHA1.hash(Array(digest.hex.utf8)) }

    /// The tensor of that name.
    public func tensor(named name: String) -> Tensor? {
        tensorIndex[name].map { tensors[$0] }
    }

    /// The group of that name.
    public func group(named name: String) -> Group? {
        groups.first { $0.name == name }
    }

    /// The files that the manifest names without a hash (a foreign folder): they cannot be had from peers.
    public var unlistedFiles: [String] {
        let tokenizer = json["tokenizer"]
        let named = [tensorsFile, tokenizer?["file"]?.string, tokenizer?["sentencepieceModel"]?.string]
        let listed = Set(entries.map(\.name))
        var unlisted: [String] = []
        for case let name? in named where !listed.contains(name) && !unlisted.contains(name) {
            if Self.isPlain(name: name) { unlisted.append(name) }
        }
        return unlisted
    }

    /// Adds the tensors of the manifest's `tensorsFile`, checked against the shards.
    public mutating func addTensors(parsing bytes: [UInt8]) throws(RDRRError) {
        let place = tensorsFile ?? "tensors.json"
        do throws(RDRRError) {
            let json = try Self.parse(bytes, place: "")
            tensors = try Self.readTensors(ManifestField(path: "", value: json), shards: shards)
        } catch {
            throw error.within(place)
        }
        indexTensors()
    }

    private mutating func indexTensors() {
        tensorIndex = [:]
        for (index, tensor) in tensors.enumerated() { tensorIndex[tensor.name] = index }
    }
}

// MARK: - Checks of the whole

extension RDRRManifest {
    private static func parse(_ bytes: [UInt8], place: String) throws(RDRRError) -> JSON {
        guard bytes.count <= largestManifest else {
            throw RDRRError(
                .tooLarge, at: place, "\(bytes.count) bytes are more than a manifest may have, 64 MiB",
                advice: ManifestField.manifestAdvice)
        }
        do {
            return try JSON(parsing: bytes)
        } catch {
            throw RDRRError(.notJSON, at: place, "\(error)", advice: ManifestField.manifestAdvice)
        }
    }

    private static func generation(of root: ManifestField) throws(RDRRError) -> Generation {
        let firstShard = root.value["shards"]?.array?.first
        if firstShard?["offset"] != nil { return .g2 }
        if root.member(["tensorsFile", "groups"]) != nil { return .g1 }
        return root.member("inference") != nil ? .g2 : .g0
    }

    private static func checkVersion(
        _ root: ManifestField, generation: Generation, warnings: inout [String]
    ) throws(RDRRError) {
        let field = try root.required("version")
        guard let version = field.value.number ?? field.value.string.flatMap(Double.init) else {
            throw field.fault(.wrongKind, "the version is no number")
        }
        guard version >= 1 else { throw field.fault(.unsupportedVersion, "version \(version) is not known") }
        if version > 2 && generation != .g2 {
            throw field.fault(
                .unsupportedVersion, "version \(version) is newer than this program knows",
                advice: "update this program")
        }
        if version > 1 {
            warnings.append("version \(version) is newer than this program knows; it is read as version 1")
        }
    }

    private static func readPlainName(_ field: ManifestField?) throws(RDRRError) -> String? {
        guard let field else { return nil }
        let name = try field.string()
        if let objection = objection(toName: name) {
            throw field.fault(.unsafeName, objection, advice: "do not use this model unless you trust its source")
        }
        return name
    }

    /// The sizes of the network, where they are stated, are positive: whoever allocates from them relies on it.
    private static func checkArchitecture(_ root: ManifestField) throws(RDRRError) {
        guard let architecture = root.member("architecture") else { return }
        if architecture.value.string != nil { return }
        guard architecture.value.object != nil else { throw architecture.wrongKind("an object or text") }
        let sizes = [
            "numLayers", "hiddenSize", "intermediateSize", "numAttentionHeads", "numKeyValueHeads", "headDim",
            "vocabSize",
            "maxSeqLen",
        ]
        for size in sizes { _ = try architecture.member(size)?.positive() }
    }

    private static func collectWarnings(
        _ root: ManifestField, generation: Generation, shards: [Entry], files: [Entry], into warnings: inout [String]
    ) {
        if let entry = shards.first(where: { !$0.isAlgorithmStated }) {
            warnings.append("shards[\(entry.index)] does not state its hash function; both are tried")
        }
        if let reference = root.member("weightsRef")?.value["artifactRoot"]?.string {
            warnings.append("the shards belong to another model folder (\(reference)); this one holds a variant of it")
        }
        if root.value["metadata"]?["sourceRuntime"]?["mode"]?.string == "direct-source" {
            warnings.append("the shards are parts of the source model's own files, not of RDRR")
        }
        let listed = Set(files.map(\.name))
        for path in [["tensorsFile"], ["tokenizer", "file"], ["tokenizer", "sentencepieceModel"]] {
            guard let name = path.reduce(root.value as JSON?, { $0?[$1] })?.string, !listed.contains(name) else {
                continue
            }
            warnings.append("\(path.joined(separator: ".")) names \(name), which has no hash: peers cannot give it")
        }
    }
}
