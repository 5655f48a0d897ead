// SPDX-License-Identifier: Apache-2.0

/// What a tensor's name says about its part in the model, for GGUF's names and Hugging Face's.
struct TensorName {
    /// RDRR's role: embedding, lm_head, norm, matmul, conv, expert, router, vision, projector, audio, other.
    let role: String
    /// RDRR's group: embed, head, layer.N, layer.N.expert.E, layer.N.shared_expert, vision, audio, projector, other.
    let group: String

    /// Reads a name.
    init(_ name: String, shape: [Int]) {
        let parts = name.split(separator: ".").map(String.init)
        let place = ExpertName(name)
        let isExpert = place.expert != nil || place.isPacked
        let modality = Self.modality(parts)
        if let modality {
            role = modality
            group = modality
            return
        }
        if let layer = place.layer {
            if let expert = place.expert {
                group = "layer.\(layer).expert.\(expert)"
            } else if Self.isShared(parts) {
                group = "layer.\(layer).shared_expert"
            } else {
                group = "layer.\(layer)"
            }
        } else if Self.isEmbedding(parts) {
            group = "embed"
        } else if Self.isHead(parts) || parts.contains(where: { $0.hasSuffix("norm") }) {
            group = "head"
        } else {
            group = "other"
        }
        role =
            if Self.isEmbedding(parts) {
                "embedding"
            } else if Self.isHead(parts) {
                "lm_head"
            } else if parts.contains(where: { $0.contains("norm") || $0 == "ln_f" || $0 == "ln_1" || $0 == "ln_2" }) {
                "norm"
            } else if Self.isRouter(parts) {
                "router"
            } else if isExpert {
                "expert"
            } else if parts.contains(where: { $0.contains("conv") }) {
                "conv"
            } else if shape.count == 2 && name.hasSuffix("weight") {
                "matmul"
            } else {
                "other"
            }
    }

    private static func isEmbedding(_ parts: [String]) -> Bool {
        ["token_embd", "embed_tokens", "wte", "tok_embeddings", "position_embd", "wpe"].contains { parts.contains($0) }
    }

    private static func isHead(_ parts: [String]) -> Bool {
        parts.contains("lm_head") || parts.first == "output"
    }

    private static func isRouter(_ parts: [String]) -> Bool {
        if parts.contains("ffn_gate_inp") || parts.contains("router") { return true }
        guard let gate = parts.firstIndex(of: "gate"), gate > 0 else { return false }
        return ["mlp", "block_sparse_moe", "moe", "feed_forward"].contains(parts[gate - 1])
    }

    private static func isShared(_ parts: [String]) -> Bool {
        parts.contains { $0.hasPrefix("shared_expert") || $0.hasSuffix("_shexp") }
    }

    private static func modality(_ parts: [String]) -> String? {
        if parts.contains(where: { $0.hasPrefix("vision") || $0 == "visual" }) || parts.first == "v" { return "vision" }
        if parts.contains(where: { $0.hasPrefix("audio") }) || parts.first == "a" { return "audio" }
        if parts.contains(where: { $0.contains("projector") }) || parts.first == "mm" { return "projector" }
        return nil
    }
}
