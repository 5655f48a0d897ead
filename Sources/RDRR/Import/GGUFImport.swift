// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Turns a GGUF file into what a manifest says. Tensors keep GGUF's names and bytes: nothing is converted.
struct GGUFImport {
    private let file: SystemFile
    private let gguf: GGUFFile
    private let kind: String

    /// Opens the file and checks its header.
    init(path: String) throws(RDRRError) {
        file = try SystemFile(reading: path)
        gguf = try GGUFFile(file: file)
        guard let kind = gguf.metadata["general.architecture"]?.string, !kind.isEmpty else {
            throw RDRRError(
                .missing, at: path, "the file does not say its architecture (general.architecture)",
                advice: "convert the model again with a present converter")
        }
        guard !gguf.tensors.isEmpty else {
            throw RDRRError(
                .notAModel, at: path, "the file holds no tensors, a vocabulary alone perhaps",
                advice: "give the file with the weights")
        }
        if let parts = gguf.metadata["split.count"]?.integer, parts > 1 {
            throw RDRRError(
                .unsupported, at: path, "the model is split over \(parts) GGUF files",
                advice: "join them first with llama-gguf-split --merge")
        }
        self.kind = kind
    }

    /// Everything the manifest will say.
    func model() throws(RDRRError) -> ImportedModel {
        var model = ImportedModel()
        model.sources = [file]
        model.tensors = gguf.tensors.map {
            ImportedModel.SourceTensor(
                name: $0.name, shape: $0.shape, dtype: $0.type.storage.name,
                layout: $0.type.storage.name == "Q4_K_M" ? "row" : nil, source: 0, range: $0.range)
        }
        let name = gguf.metadata["general.name"]?.string ?? gguf.metadata["general.basename"]?.string ?? ""
        let slug = ImportedModel.slug(name)
        model.modelId = slug.isEmpty ? model.fallbackId(kind: kind) : slug
        model.modelType = ModelKind.modelType(of: kind)
        model.quantization = quantization ?? model.dominantType() ?? "F32"
        model.architecture = architecture
        model.moeConfig = moeConfig
        model.inference = inference(&model.warnings)

        let vocabulary = GGUFTokenizer(gguf)
        model.companions = vocabulary.companions
        model.tokenizer = vocabulary.manifestEntry
        model.endOfSequence = vocabulary.endOfSequence
        if vocabulary.manifestEntry.isNull { model.warnings.append("the file brings no vocabulary") }
        model.inference["chatTemplate"] = vocabulary.chatTemplateEntry

        model.metadata["source"] = "gguf"
        model.metadata["hasTokenizer"] = .bool(!vocabulary.manifestEntry.isNull)
        model.metadata["tensorNames"] = "gguf"
        model.metadata["gguf"] = keptMetadata
        return model
    }

    private func integer(_ key: String) -> Int64? {
        // A value for each layer: the largest is the one to allocate for.
        gguf.metadata["\(kind).\(key)"]?.integers?.max()
    }

    private func number(_ key: String) -> Double? { gguf.metadata["\(kind).\(key)"]?.number }

    private var architecture: JSON.Object {
        var result: JSON.Object = ["kind": .string(kind)]
        func set(_ name: String, _ value: Int64?) { if let value, value > 0 { result[name] = .integer(value) } }
        let heads = integer("attention.head_count")
        let width = integer("embedding_length")
        let embedding = gguf.tensors.first { $0.name == "token_embd.weight" }
        let vocabulary = gguf.metadata["tokenizer.ggml.tokens"]?.strings?.count ?? embedding?.shape.first
        set("numLayers", integer("block_count"))
        set("hiddenSize", width)
        set("intermediateSize", integer("feed_forward_length"))
        set("numAttentionHeads", heads)
        set("numKeyValueHeads", integer("attention.head_count_kv") ?? heads)
        var headSize = integer("attention.key_length")
        if headSize == nil, let heads, heads > 0, let width { headSize = width / heads }
        set("headDim", headSize)
        set("vocabSize", integer("vocab_size") ?? vocabulary.map(Int64.init))
        set("maxSeqLen", integer("context_length"))
        if let theta = number("rope.freq_base") { result["ropeTheta"] = JSON(theta) }
        if let epsilon = number("attention.layer_norm_rms_epsilon") { result["rmsNormEps"] = JSON(epsilon) }
        return result
    }

    private var moeConfig: JSON {
        guard let experts = integer("expert_count"), experts > 0 else { return .null }
        var config: JSON.Object = ["numExperts": .integer(experts)]
        if let used = integer("expert_used_count"), used > 0 { config["numExpertsPerToken"] = .integer(used) }
        config["expertFormat"] = .string(ModelKind.expertFormat(of: kind))
        if let size = integer("expert_feed_forward_length"), size > 0 { config["expertIntermediateSize"] = .integer(size) }
        return .object(config)
    }

    private func inference(_ warnings: inout [String]) -> JSON.Object {
        let interleaved = ModelKind.ggufRotatesNeighbours(kind)
        var rope: JSON.Object = [
            "ropeTheta": JSON(number("rope.freq_base")), "ropeInterleaved": interleaved.map { .bool($0) } ?? .null,
        ]
        if interleaved == nil && gguf.metadata["\(kind).rope.dimension_count"] != nil {
            warnings.append("which values rotary embedding pairs is not known for \(kind); inference.rope leaves it open")
        }
        if let size = integer("rope.dimension_count"), let head = architecture["headDim"]?.integer, head > 0 {
            rope["partialRotaryFactor"] = size == head ? .null : JSON(Double(size) / Double(head))
        }
        let scaling = gguf.metadata["\(kind).rope.scaling.type"]?.string
        rope["ropeScalingType"] = scaling.map { .string($0) } ?? .null
        rope["ropeScalingFactor"] = JSON(number("rope.scaling.factor") ?? 1)
        let names = Set(gguf.tensors.map(\.name))
        return [
            "attention": [
                "slidingWindow": JSON(number("attention.sliding_window")),
                "attnLogitSoftcapping": JSON(number("attn_logit_softcapping")),
                "queryKeyNorm": .bool(names.contains { $0.hasSuffix("attn_q_norm.weight") }),
                "attentionBias": .bool(names.contains { $0.hasSuffix("attn_q.bias") }),
            ],
            "normalization": ["rmsNormEps": JSON(number("attention.layer_norm_rms_epsilon"))],
            "ffn": ["gatedActivation": .bool(names.contains { $0.contains("ffn_gate") })],
            "rope": .object(rope),
            "output": [
                "finalLogitSoftcapping": JSON(number("final_logit_softcapping")),
                "tieWordEmbeddings": .bool(!names.contains("output.weight")),
            ],
        ]
    }

    /// The metadata that is neither vocabulary nor long, so that nothing a runtime may need is lost.
    private var keptMetadata: JSON {
        var kept = JSON.Object()
        for (key, value) in gguf.metadata.sorted(by: { $0.key < $1.key }) where !key.hasPrefix("tokenizer.") {
            if let json = value.json { kept[key] = json }
        }
        return .object(kept)
    }

    private var quantization: String? {
        gguf.metadata["general.file_type"]?.integer.flatMap { Self.fileTypes[$0] }
    }

    /// llama.h `enum llama_ftype`.
    private static let fileTypes: [Int64: String] = [
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
        12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
        20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
        28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
        39: "NVFP4", 40: "Q1_0",
    ]
}

extension GGUFValue {
    /// The value for a manifest; `nil` for a long array.
    fileprivate var json: JSON? {
        // Values for each layer or section are short; longer ones are vocabularies and their like.
        let longest = 1024
        switch self {
        case .integer(let value): return JSON(Double(value))
        case .float, .double: return JSON(number)
        case .bool(let value): return .bool(value)
        case .string(let value): return value.utf8.count <= 65_536 ? .string(value) : nil
        case .integers(let values) where values.count <= longest: return .array(values.map { JSON(Double($0)) })
        case .floats(let values) where values.count <= longest:
            return .array(values.map { JSON(GGUFValue.shortest(Float($0))) })
        case .bools(let values) where values.count <= longest: return .array(values.map { .bool($0) })
        case .strings(let values) where values.count <= longest: return .array(values.map { .string($0) })
        default: return nil
        }
    }
}
