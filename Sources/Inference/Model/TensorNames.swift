// SPDX-License-Identifier: Apache-2.0

/// The names of a model's tensors, in either naming.
struct TensorNames {
    /// Parts of a layer.
    enum Part: CaseIterable {
        case attentionNorm, query, key, value, queryNorm, keyNorm, attentionOutput, attentionPostNorm
        case feedForwardNorm, gate, up, down, feedForwardPostNorm
        case router, expertGates, expertUps, expertDowns
    }

    private let family: ModelArchitecture.Family
    private let naming: ModelArchitecture.Naming
    /// What Hugging Face's names begin with: models of several modalities keep the part for text under a name of its own.
    private let prefix: String

    init(_ family: ModelArchitecture.Family, _ naming: ModelArchitecture.Naming, prefix: String) {
        self.family = family
        self.naming = naming
        self.prefix = prefix
    }

    var embedding: String { naming == .gguf ? "token_embd.weight" : "\(prefix)model.embed_tokens.weight" }
    var finalNorm: String { naming == .gguf ? "output_norm.weight" : "\(prefix)model.norm.weight" }
    var head: String { naming == .gguf ? "output.weight" : "\(prefix)lm_head.weight" }
    /// Divisors of the frequencies that pairs turn by: in GGUF files of Llama 3.
    static let ropeFactors = "rope_freqs.weight"

    /// A tensor of a layer.
    func weight(_ part: Part, layer: Int) -> String { "\(stem(part, layer)).weight" }
    /// What is added to a product of a layer.
    func bias(_ part: Part, layer: Int) -> String { "\(stem(part, layer)).bias" }

    /// An expert's own tensor, where experts are not packed into one.
    func expert(_ part: Part, _ expert: Int, layer: Int) -> String {
        guard naming == .huggingFace else {
            let name = part == .expertGates ? "ffn_gate" : part == .expertUps ? "ffn_up" : "ffn_down"
            return "blk.\(layer).\(name).\(expert).weight"
        }
        let name = part == .expertGates ? "w1" : part == .expertUps ? "w3" : "w2"
        return "\(prefix)model.layers.\(layer).block_sparse_moe.experts.\(expert).\(name).weight"
    }

    private func stem(_ part: Part, _ layer: Int) -> String {
        naming == .gguf ? "blk.\(layer).\(gguf(part))" : "\(prefix)model.layers.\(layer).\(huggingFace(part))"
    }

    private func gguf(_ part: Part) -> String {
        switch part {
        case .attentionNorm: "attn_norm"
        case .query: "attn_q"
        case .key: "attn_k"
        case .value: "attn_v"
        case .queryNorm: "attn_q_norm"
        case .keyNorm: "attn_k_norm"
        case .attentionOutput: "attn_output"
        case .attentionPostNorm: "post_attention_norm"
        case .feedForwardNorm: "ffn_norm"
        case .gate: "ffn_gate"
        case .up: "ffn_up"
        case .down: "ffn_down"
        case .feedForwardPostNorm: "post_ffw_norm"
        case .router: "ffn_gate_inp"
        case .expertGates: "ffn_gate_exps"
        case .expertUps: "ffn_up_exps"
        case .expertDowns: "ffn_down_exps"
        }
    }

    private func huggingFace(_ part: Part) -> String {
        switch part {
        case .attentionNorm: "input_layernorm"
        case .query: "self_attn.q_proj"
        case .key: "self_attn.k_proj"
        case .value: "self_attn.v_proj"
        case .queryNorm: "self_attn.q_norm"
        case .keyNorm: "self_attn.k_norm"
        case .attentionOutput: "self_attn.o_proj"
        case .attentionPostNorm: "post_attention_layernorm"
        // What Llama calls the norm after attention is the norm before the feed-forward part.
        case .feedForwardNorm: family == .gemma3 ? "pre_feedforward_layernorm" : "post_attention_layernorm"
        case .gate: "mlp.gate_proj"
        case .up: "mlp.up_proj"
        case .down: "mlp.down_proj"
        case .feedForwardPostNorm: "post_feedforward_layernorm"
        case .router: "block_sparse_moe.gate"
        case .expertGates: "block_sparse_moe.experts.gate"
        case .expertUps: "block_sparse_moe.experts.up"
        case .expertDowns: "block_sparse_moe.experts.down"
        }
    }
}
