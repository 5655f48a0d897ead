// SPDX-License-Identifier: Apache-2.0
internal import Hashing
public import Wire

/// What a model folder holds, counted from its manifest: for people as text, for programs as JSON.
public struct ModelInspector: Sendable {
    /// Tensors of one type.
    public struct TypeCount: Hashable, Sendable {
        /// The type's name.
        public let dtype: String
        /// How many tensors.
        public let tensors: Int
        /// Their values.
        public let weights: Int
        /// Their bytes.
        public let bytes: Int
    }

    /// The manifest that is described.
    public let manifest: RDRRManifest
    /// The tensors by type, the type with the most bytes first.
    public let types: [TypeCount]
    /// Values of all tensors: the model's number of parameters.
    public let weights: Int
    /// Layers, as the architecture states them or the tensors' names show.
    public let layers: Int?
    /// Bytes that one expert of one layer takes, where experts can be told apart.
    public let expertBytes: Int?

    /// Counts what a manifest lists.
    public init(_ manifest: RDRRManifest) {
        self.manifest = manifest
        var counts: [String: (tensors: Int, weights: Int, bytes: Int)] = [:]
        for tensor in manifest.tensors {
            // The product was checked to be below 2^53 when the manifest was read.
            let weights = TensorType.product(tensor.shape) ?? 0
            let count = counts[tensor.dtype, default: (0, 0, 0)]
            counts[tensor.dtype] = (count.tensors + 1, count.weights &+ weights, count.bytes &+ tensor.size)
        }
        types = counts.map {
            TypeCount(dtype: $0.key, tensors: $0.value.tensors, weights: $0.value.weights, bytes: $0.value.bytes)
        }.sorted { ($1.bytes, $0.dtype) < ($0.bytes, $1.dtype) }
        weights = types.reduce(0) { $0 &+ $1.weights }
        let named = manifest.tensors.compactMap { ExpertName($0.name).layer }.max().map { $0 &+ 1 }
        layers = manifest.json["architecture"]?["numLayers"]?.integer.map { Int($0) } ?? named
        let layer = manifest.tensors.first { tensor in
            let name = ExpertName(tensor.name)
            return name.layer != nil && (name.expert == 0 || name.isPacked)
        }.flatMap { ExpertName($0.name).layer }
        let slices = manifest.experts == nil ? [] : manifest.slices(ofExpert: 0, layer: layer)
        expertBytes = slices.isEmpty ? nil : slices.reduce(0) { $0 &+ $1.range.count }
    }

    /// Everything as JSON.
    public var json: JSON {
        func integer(_ value: Int?) -> JSON { value.map { .integer(Int64($0)) } ?? .null }
        func list(_ entries: [RDRRManifest.Entry]) -> JSON {
            .array(
                entries.map {
                    [
                        "index": integer($0.index), "name": .string($0.name), "size": integer($0.size),
                        "hash": .string($0.hashHex), "hashAlgorithm": .string($0.algorithm.rawValue),
                    ]
                })
        }
        return [
            "modelId": .string(manifest.modelId),
            "modelType": .string(manifest.modelType),
            "quantization": .string(manifest.quantization),
            "generation": integer(manifest.generation.rawValue),
            "manifestDigest": .string(manifest.digest.hex),
            "architecture": manifest.json["architecture"] ?? .null,
            "layers": integer(layers),
            "weights": integer(weights),
            "experts": manifest.experts.map { experts in
                [
                    "count": integer(experts.count), "perToken": integer(experts.perToken),
                    "format": experts.format.map { .string($0) } ?? .null, "bytesOfOne": integer(expertBytes),
                ]
            } ?? .null,
            "tensors": integer(manifest.tensors.count),
            "types": .array(
                types.map {
                    [
                        "dtype": .string($0.dtype), "tensors": integer($0.tensors), "weights": integer($0.weights),
                        "bytes": integer($0.bytes),
                    ]
                }),
            "tokenizer": manifest.json["tokenizer"] ?? .null,
            "chatTemplate": manifest.json["inference"]?["chatTemplate"] ?? .null,
            "totalSize": integer(manifest.totalSize),
            "totalEntrySize": integer(manifest.totalEntrySize),
            "shards": list(manifest.shards),
            "files": list(manifest.files),
            "unlistedFiles": .array(manifest.unlistedFiles.map { .string($0) }),
            "warnings": .array(manifest.warnings.map { .string($0) }),
        ]
    }

    /// Everything as lines for people.
    public var text: String {
        var lines: [(String, String)] = [
            ("model", manifest.modelId),
            ("kind", kind),
            ("weights", "\(Self.grouped(weights)) in \(manifest.tensors.count) tensors"),
        ]
        for type in types {
            lines.append(("", "\(type.dtype): \(type.tensors) tensors, \(Self.grouped(type.bytes)) bytes"))
        }
        if let experts = manifest.experts {
            let used = experts.perToken.map { ", \($0) for a token" } ?? ""
            let bytes = expertBytes.map { ", \(Self.grouped($0)) bytes each in a layer" } ?? ""
            lines.append(("experts", "\(experts.count)\(used)\(bytes)"))
        }
        if let tokenizer = manifest.json["tokenizer"], !tokenizer.isNull {
            let kind = tokenizer["tokenizerType"]?.string ?? tokenizer["type"]?.string ?? "unknown kind"
            let size = tokenizer["vocabSize"]?.integer.map { ", \($0) tokens" } ?? ""
            lines.append(("tokenizer", kind + size))
        }
        let hashes = Set(manifest.entries.map(\.algorithm.rawValue)).sorted().joined(separator: ", ")
        lines.append(
            ("shards", "\(manifest.shards.count) of up to \(Self.grouped(manifest.shards.map(\.size).max() ?? 0)) bytes, \(hashes)"))
        for file in manifest.files { lines.append(("file", "\(file.name), \(Self.grouped(file.size)) bytes")) }
        for name in manifest.unlistedFiles { lines.append(("file", "\(name), without a hash")) }
        lines.append(("size", "\(Self.grouped(manifest.totalEntrySize)) bytes"))
        lines.append(("manifest", "generation \(manifest.generation.rawValue), BLAKE3 \(manifest.digest.hex)"))
        for warning in manifest.warnings { lines.append(("warning", warning)) }
        let width = lines.map(\.0.count).max() ?? 0
        return lines.map { $0.0 + String(repeating: " ", count: width - $0.0.count + 2) + $0.1 }
            .joined(separator: "\n")
    }

    private var kind: String {
        var parts = [manifest.modelType, manifest.quantization]
        if let layers { parts.append("\(layers) layers") }
        if let width = manifest.json["architecture"]?["hiddenSize"]?.integer { parts.append("width \(width)") }
        if let length = manifest.json["architecture"]?["maxSeqLen"]?.integer { parts.append("context \(length)") }
        return parts.joined(separator: ", ")
    }

    /// Digits in groups of three.
    private static func grouped(_ number: Int) -> String {
        var digits = Array(String(number))
        var index = digits.count - 3
        while index > 0 {
            digits.insert(",", at: index)
            index -= 3
        }
        return String(digits)
    }
}
