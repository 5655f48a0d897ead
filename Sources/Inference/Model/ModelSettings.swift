// SPDX-License-Identifier: Apache-2.0
internal import Compute
internal import RDRR
internal import Wire

/// What a model says of its network, looked up where each source of models says it: the manifest, the metadata of the GGUF
/// file it was made from, or Hugging Face's `config.json`.
struct ModelSettings {
    let kind: String
    let isGGUF: Bool
    private let manifest: RDRRManifest
    /// Hugging Face's settings of the part that reads and writes text.
    private let config: JSON

    init(_ manifest: RDRRManifest, config: JSON) {
        self.manifest = manifest
        isGGUF = manifest.tensor(named: "token_embd.weight") != nil
        self.config = config["text_config"].map { $0.object == nil ? config : $0 } ?? config
        kind = manifest.json["architecture"]?["kind"]?.string ?? config["model_type"]?.string ?? manifest.modelType
    }

    /// A fault of the whole.
    func fault(_ message: String) -> InferenceError {
        InferenceError(
            .mismatch, at: "architecture of \(manifest.modelId)", message,
            advice: "pack the model again from its source, with a present version")
    }

    /// A value of the GGUF file's metadata, under the architecture's own name.
    private func metadata(_ key: String) -> JSON? {
        let value = manifest.json["metadata"]?["gguf"]?["\(kind).\(key)"]
        return value?.isNull == true ? nil : value
    }

    private func setting(_ key: String) -> JSON? {
        let value = config[key]
        return value?.isNull == true ? nil : value
    }

    private func inference(_ part: String, _ key: String) -> JSON? {
        let value = manifest.json["inference"]?[part]?[key]
        return value?.isNull == true ? nil : value
    }

    // MARK: Sizes

    /// A size that must be there.
    func size(_ name: String, most: Int) throws(InferenceError) -> Int {
        guard let size = try optionalSize(name, most: most) else {
            throw InferenceError(
                .missing, at: "architecture.\(name)", "the manifest does not say it",
                advice: "pack the model again from its source, with a present version")
        }
        return size
    }

    /// A size, where it is there.
    func optionalSize(_ name: String, most: Int) throws(InferenceError) -> Int? {
        guard let value = manifest.json["architecture"]?[name], !value.isNull else { return nil }
        guard let size = value.integer, size > 0, size <= most else {
            throw InferenceError(
                .mismatch, at: "architecture.\(name)",
                "\(value.serialized().prefix(40)) cannot be: it is from 1 to \(most)",
                advice: "pack the model again from its source")
        }
        return Int(size)
    }

    /// Numbers inside an expert's gated unit, where they differ from the layer's own.
    var expertWidth: Int? {
        manifest.json["moeConfig"]?["expertIntermediateSize"]?.integer.flatMap {
            (1...(1 << 22)).contains($0) ? Int($0) : nil
        }
    }

    /// What norms add to the mean square.
    var epsilon: Double? {
        inference("normalization", "rmsNormEps")?.number ?? metadata("attention.layer_norm_rms_epsilon")?.number
            ?? setting("rms_norm_eps")?.number ?? manifest.json["architecture"]?["rmsNormEps"]?.number
    }

    /// How many experts there are, and how many each token asks.
    func experts() throws(InferenceError) -> ModelArchitecture.Experts? {
        guard let layout = manifest.experts else { return nil }
        guard let used = layout.perToken, used > 0, used <= layout.count else {
            throw fault("it does not say how many of its \(layout.count) experts a token asks")
        }
        return ModelArchitecture.Experts(count: layout.count, used: used)
    }

    // MARK: Rotations

    /// Which numbers of a head are pairs: the manifest says it.
    func convention() throws(InferenceError) -> RotaryEmbedding.Convention {
        guard let isInterleaved = inference("rope", "ropeInterleaved")?.bool else {
            throw InferenceError(
                .missing, at: "inference.rope.ropeInterleaved",
                "the manifest does not say which numbers rotary embedding pairs",
                advice: "pack the model again from its source, with a present version")
        }
        return isInterleaved ? .interleaved : .halfSplit
    }

    /// Numbers of a head that turn.
    func rotatedLength(head: Int) -> Int {
        if let count = metadata("rope.dimension_count")?.integer { return Int(clamping: count) }
        if let part = inference("rope", "partialRotaryFactor")?.number, part > 0, part <= 1 {
            return Int(Double(head) * part)
        }
        return head
    }

    /// By how much pairs turn in layers that see all, or in those that see a window.
    func rotations(isWindowed: Bool) throws(InferenceError) -> ModelArchitecture.Rotations {
        // Since its version 5 `transformers` keeps one set of parameters, or one for each kind of layer.
        let parameters = setting("rope_parameters")
        let own = parameters?[isWindowed ? "sliding_attention" : "full_attention"] ?? parameters
        if isWindowed {
            // Gemma 3's technical report (arXiv:2503.19786) §2: 10 000 in layers with a window.
            let base =
                metadata("rope.freq_base_swa")?.number ?? own?["rope_theta"]?.number
                ?? setting("rope_local_base_freq")?.number ?? 10_000
            return ModelArchitecture.Rotations(base: base)
        }
        let base =
            inference("rope", "ropeTheta")?.number ?? own?["rope_theta"]?.number ?? setting("rope_theta")?.number
            ?? manifest.json["architecture"]?["ropeTheta"]?.number ?? 10_000
        guard base > 1, base.isFinite else { throw fault("pairs cannot turn by a base of \(base)") }
        var rotations = ModelArchitecture.Rotations(base: base)
        let scaling = setting("rope_scaling") ?? own
        let type = inference("rope", "ropeScalingType")?.string ?? scaling?["rope_type"]?.string ?? "none"
        let factor = scaling?["factor"]?.number ?? inference("rope", "ropeScalingFactor")?.number ?? 1
        guard factor >= 1, factor.isFinite else { throw fault("positions cannot be stretched by \(factor)") }
        switch type {
        case "none", "default": break
        case "linear": rotations.factor = factor
        case "llama3":
            guard let low = scaling?["low_freq_factor"]?.number, let high = scaling?["high_freq_factor"]?.number,
                let length = scaling?["original_max_position_embeddings"]?.number, high > low
            else { throw fault("rope_scaling says llama3 without its numbers") }
            rotations.banded = .init(factor: factor, low: low, high: high, length: length)
        default:
            throw InferenceError(
                .unsupported, at: "inference.rope.ropeScalingType",
                "positions stretched the way “\(type.prefix(40))” are not known here",
                advice: "known are none, linear and llama3; use a model of one of these")
        }
        return rotations
    }

    // MARK: Attention

    /// How many positions a layer with a window sees.
    var window: Int? {
        let stated = metadata("attention.sliding_window") ?? setting("sliding_window")
        guard let size = stated?.integer, size > 0 else { return nil }
        // Qwen's settings name a window that they do not use unless they say so.
        if kind.hasPrefix("qwen"), !isGGUF, setting("use_sliding_window")?.bool != true { return nil }
        // As good as none.
        return size < 1 << 31 ? Int(size) : nil
    }

    /// Which layers see a window alone.
    func windowLayers(count: Int, family: ModelArchitecture.Family) -> Set<Int> {
        if let types = setting("layer_types")?.array, types.count == count {
            return Set((0..<count).filter { types[$0].string == "sliding_attention" })
        }
        if let each = metadata("attention.sliding_window_pattern")?.array, each.count == count {
            return Set((0..<count).filter { each[$0].bool == true })
        }
        if kind.hasPrefix("qwen"), let first = setting("max_window_layers")?.integer {
            return Set((0..<count).filter { $0 >= first })
        }
        guard family == .gemma3 else { return Set(0..<count) }
        // Gemma 3's technical report (arXiv:2503.19786) §2: five layers with a window for one that sees all.
        let stated = metadata("attention.sliding_window_pattern") ?? setting("sliding_window_pattern")
        let period = max(1, Int(clamping: stated?.integer ?? 6))
        return Set((0..<count).filter { ($0 + 1) % period != 0 })
    }

    /// What products of queries and keys are multiplied with.
    func attentionScale(width: Int, heads: Int, headLength: Int, layers: Int) -> Float {
        if let scalar = setting("query_pre_attn_scalar")?.number, scalar > 0 { return Float(1 / scalar.squareRoot()) }
        if let scale = metadata("attention.scale")?.number, scale > 0 { return Float(scale) }
        // GGUF does not say it: Gemma 3 of 27 billion parameters, with 62 layers, alone differs.
        if kind == "gemma3", isGGUF, layers == 62 { return 1 / (Float(width) / Float(heads)).squareRoot() }
        return 1 / Float(headLength).squareRoot()
    }

    /// What would change the result and is not done here.
    func refuseWhatIsNotKnown() throws(InferenceError) {
        for (part, key) in [("attention", "attnLogitSoftcapping"), ("output", "finalLogitSoftcapping")] {
            guard let value = inference(part, key)?.number, value != 0 else { continue }
            throw InferenceError(
                .unsupported, at: "inference.\(part).\(key)",
                "the network bounds numbers by \(value), which is not done here",
                advice: "use another model")
        }
        if let activation = inference("ffn", "activation")?.string {
            let known = kind.hasPrefix("gemma") ? ["gelu_pytorch_tanh", "gelu_tanh"] : ["silu", "swish"]
            guard known.contains(activation) else {
                throw InferenceError(
                    .unsupported, at: "inference.ffn.activation",
                    "the activation “\(activation.prefix(40))” is not known for \(kind)", advice: "use another model")
            }
        }
    }
}
