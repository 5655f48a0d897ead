// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Turns a folder as Hugging Face publishes them (config.json, safetensors files, tokenizer files) into what a manifest
/// says. Tensors keep their names and bytes, and the folder's small files go along as they are.
struct SafetensorsImport {
    private let folder: String
    private let names: Set<String>
    private let config: JSON

    /// The largest of the small files that is read as JSON here.
    private static let largestFile = 256 << 20

    /// What goes along when it is there: all that a tokenizer or a runtime may need, and the licence.
    private static let companions = [
        "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "added_tokens.json", "chat_template.jinja",
        "chat_template.json", "config.json", "generation_config.json", "merges.txt", "preprocessor_config.json",
        "processor_config.json", "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model",
        "tokenizer_config.json", "vocab.json", "vocab.txt",
    ]

    /// Opens a folder whose names are known.
    init(folder: String, names: [String]) throws(RDRRError) {
        self.folder = folder
        self.names = Set(names)
        guard self.names.contains("config.json") else {
            let advice =
                names.contains(RDRRManifest.manifestName)
                ? "this folder is RDRR already; run dreamer seed or dreamer inspect on it"
                : "give a GGUF file, or a folder with config.json and safetensors files"
            throw RDRRError(.notAModel, at: folder, "there is no config.json in it", advice: advice)
        }
        config = try Self.json("\(folder)/config.json")
        guard config.object != nil else {
            throw RDRRError(
                .notAModel, at: "\(folder)/config.json", "it is no JSON object", advice: "get the file again")
        }
    }

    /// Everything the manifest will say.
    func model() throws(RDRRError) -> ImportedModel {
        var model = ImportedModel()
        try addTensors(to: &model)
        let kind = config["model_type"]?.string ?? "transformer"
        let slug = ImportedModel.slug(Self.lastComponent(config["_name_or_path"]?.string ?? ""))
        model.modelId = slug.isEmpty ? model.fallbackId(kind: kind) : slug
        model.modelType = ModelKind.modelType(of: kind)
        model.quantization = model.dominantType() ?? "F16"
        model.architecture = architecture(kind, tensors: model.tensors)
        model.moeConfig = moeConfig(kind)
        try addCompanions(to: &model)
        addTokenizer(to: &model)
        model.inference = inference(kind, tensors: model.tensors)
        let template = model.companions.contains { $0.name == GGUFTokenizer.chatTemplateName }
        model.inference["chatTemplate"] =
            template
            ? ["type": "jinja", "enabled": true, "file": .string(GGUFTokenizer.chatTemplateName)]
            : ["type": .null, "enabled": false]
        let generation = names.contains("generation_config.json") ? try? Self.json("\(folder)/generation_config.json") : nil
        let ends = generation?["eos_token_id"] ?? field("eos_token_id") ?? .null
        model.endOfSequence = ends.array?.count == 1 ? ends.array?[0] ?? .null : ends
        model.metadata["source"] = "safetensors"
        model.metadata["hasTokenizer"] = .bool(!model.tokenizer.isNull)
        model.metadata["tensorNames"] = "huggingface"
        return model
    }

    // MARK: Tensors

    private func addTensors(to model: inout ImportedModel) throws(RDRRError) {
        var taken: Set<String> = []
        for name in try fileNames() {
            let file = try SystemFile(reading: "\(folder)/\(name)")
            for tensor in try SafetensorsFile(file: file).tensors {
                guard taken.insert(tensor.name).inserted else {
                    throw RDRRError(
                        .duplicateName, at: file.path, "the tensor \(tensor.name) is in another file too",
                        advice: "remove the safetensors files that do not belong to the model")
                }
                model.tensors.append(
                    ImportedModel.SourceTensor(
                        name: tensor.name, shape: tensor.shape, dtype: tensor.dtype, layout: nil,
                        source: model.sources.count, range: tensor.range))
            }
            model.sources.append(file)
        }
        guard !model.tensors.isEmpty else {
            throw RDRRError(
                .notAModel, at: folder, "the safetensors files hold no tensors", advice: "get the model again")
        }
    }

    /// The files with the weights, by the index if there is one.
    private func fileNames() throws(RDRRError) -> [String] {
        let indexName = "model.safetensors.index.json"
        if names.contains(indexName) {
            let path = "\(folder)/\(indexName)"
            var files: Set<String> = []
            for (_, file) in try ManifestField(path: path, value: Self.json(path)).required("weight_map").members() {
                let name = try file.string()
                if let objection = RDRRManifest.objection(toName: name) {
                    throw file.fault(.unsafeName, objection, advice: "get the index again from its source")
                }
                guard names.contains(name) else {
                    throw file.fault(.missing, "the file \(name) is not in the folder", advice: "get the missing file")
                }
                files.insert(name)
            }
            return files.sorted()
        }
        if names.contains("model.safetensors") { return ["model.safetensors"] }
        let files = names.filter { $0.hasSuffix(".safetensors") }.sorted()
        guard !files.isEmpty else {
            throw RDRRError(
                .notAModel, at: folder, "there are no safetensors files in it",
                advice: "give a GGUF file, or a folder with config.json and safetensors files")
        }
        return files
    }

    // MARK: The network

    /// A field of config.json, looked for in `text_config` too, where models of several modalities keep it.
    private func field(_ name: String) -> JSON? {
        if let value = config[name], !value.isNull { return value }
        if let value = config["text_config"]?[name], !value.isNull { return value }
        return nil
    }

    private func architecture(_ kind: String, tensors: [ImportedModel.SourceTensor]) -> JSON.Object {
        var result: JSON.Object = ["kind": .string(kind)]
        func set(_ name: String, _ keys: String...) {
            for key in keys {
                if let value = field(key)?.integer, value > 0, value <= ManifestField.largestInteger {
                    result[name] = .integer(value)
                    return
                }
            }
        }
        set("numLayers", "num_hidden_layers", "n_layer", "num_layers")
        set("hiddenSize", "hidden_size", "n_embd", "d_model")
        set("intermediateSize", "intermediate_size", "n_inner")
        set("numAttentionHeads", "num_attention_heads", "n_head")
        set("numKeyValueHeads", "num_key_value_heads", "num_attention_heads", "n_head")
        set("headDim", "head_dim")
        if result["headDim"] == nil, let width = result["hiddenSize"]?.integer,
            let heads = result["numAttentionHeads"]?.integer, width >= heads
        {
            result["headDim"] = .integer(width / heads)
        }
        set("vocabSize", "vocab_size")
        set("maxSeqLen", "max_position_embeddings", "n_positions")
        if let theta = field("rope_theta")?.number { result["ropeTheta"] = JSON(theta) }
        if let epsilon = field("rms_norm_eps")?.number { result["rmsNormEps"] = JSON(epsilon) }
        return result
    }

    private func moeConfig(_ kind: String) -> JSON {
        let count = field("num_local_experts") ?? field("num_experts") ?? field("n_routed_experts")
        guard let experts = count?.integer, experts > 0 else { return .null }
        var config: JSON.Object = ["numExperts": .integer(experts)]
        if let used = (field("num_experts_per_tok") ?? field("experts_per_token"))?.integer, used > 0, used <= experts {
            config["numExpertsPerToken"] = .integer(used)
        }
        config["expertFormat"] = .string(ModelKind.expertFormat(of: kind))
        if let size = field("moe_intermediate_size")?.integer, size > 0 { config["expertIntermediateSize"] = .integer(size) }
        return .object(config)
    }

    private func inference(_ kind: String, tensors: [ImportedModel.SourceTensor]) -> JSON.Object {
        let names = tensors.map(\.name)
        let scaling = field("rope_scaling")
        return [
            "attention": [
                "slidingWindow": JSON(field("sliding_window")?.number),
                "attnLogitSoftcapping": JSON(field("attn_logit_softcapping")?.number),
                "queryKeyNorm": .bool(names.contains { $0.hasSuffix("self_attn.q_norm.weight") }),
                "attentionBias": .bool(names.contains { $0.hasSuffix("self_attn.q_proj.bias") }),
            ],
            "normalization": ["rmsNormEps": JSON(field("rms_norm_eps")?.number)],
            "ffn": [
                "activation": field("hidden_act") ?? field("hidden_activation") ?? .null,
                "gatedActivation": .bool(names.contains { $0.contains("gate_proj") || $0.contains("gate_up_proj") }),
            ],
            "rope": [
                "ropeTheta": JSON(field("rope_theta")?.number),
                "ropeInterleaved": .bool(ModelKind.huggingFaceRotatesNeighbours(kind)),
                "partialRotaryFactor": JSON(field("partial_rotary_factor")?.number),
                "ropeScalingType": scaling?["rope_type"] ?? scaling?["type"] ?? .null,
                "ropeScalingFactor": JSON(scaling?["factor"]?.number ?? 1),
            ],
            "output": [
                "finalLogitSoftcapping": JSON(field("final_logit_softcapping")?.number),
                "tieWordEmbeddings": .bool(!names.contains { $0.hasSuffix("lm_head.weight") }),
            ],
        ]
    }

    // MARK: Files

    private func addCompanions(to model: inout ImportedModel) throws(RDRRError) {
        for name in Self.companions where names.contains(name) {
            model.companions.append(.init(name: name, content: .file(try SystemFile(reading: "\(folder)/\(name)"))))
        }
        // Models publish the template in a file of its own or inside the tokenizer's settings; a runtime wants the file.
        if !names.contains(GGUFTokenizer.chatTemplateName), names.contains("tokenizer_config.json"),
            let settings = try? Self.json("\(folder)/tokenizer_config.json"),
            let template = settings["chat_template"]?.string
        {
            model.companions.append(
                .init(name: GGUFTokenizer.chatTemplateName, content: .bytes(Array(template.utf8))))
        }
    }

    private func addTokenizer(to model: inout ImportedModel) {
        var entry: JSON.Object
        if names.contains("tokenizer.json") {
            entry = ["type": "huggingface", "file": "tokenizer.json"]
        } else if names.contains("tokenizer.model") {
            entry = ["type": "sentencepiece", "sentencepieceModel": "tokenizer.model"]
        } else {
            model.warnings.append("the folder holds neither tokenizer.json nor tokenizer.model")
            return
        }
        if let size = field("vocab_size")?.integer { entry["vocabSize"] = .integer(size) }
        for (name, key) in [("bosTokenId", "bos_token_id"), ("eosTokenId", "eos_token_id"), ("padTokenId", "pad_token_id")] {
            if let id = field(key), id.integer != nil { entry[name] = id }
        }
        if let settings = try? Self.json("\(folder)/tokenizer_config.json") {
            if let flag = settings["add_bos_token"]?.bool { entry["addBosToken"] = .bool(flag) }
            if let flag = settings["add_eos_token"]?.bool { entry["addEosToken"] = .bool(flag) }
        }
        model.tokenizer = .object(entry)
    }

    private static func json(_ path: String) throws(RDRRError) -> JSON {
        let bytes = try ModelFolder.read(path, limit: largestFile)
        do {
            return try JSON(parsing: bytes)
        } catch {
            throw RDRRError(.notJSON, at: path, "\(error)", advice: "get the file again")
        }
    }

    private static func lastComponent(_ path: String) -> String {
        path.split(separator: "/").last.map(String.init) ?? ""
    }
}
