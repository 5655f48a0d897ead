// SPDX-License-Identifier: Apache-2.0

/// What the name of a tensor or a group says about experts: the layer, the expert, or that all experts of the layer are
/// packed into one tensor.
struct ExpertName: Hashable {
    /// The layer, from `layers.4.`, `layer.4` or GGUF's `blk.4.`.
    private(set) var layer: Int?
    /// The expert, from `experts.7.` or `expert.7`.
    private(set) var expert: Int?
    /// Whether the tensor holds every expert of the layer, one after the other.
    private(set) var isPacked = false

    /// Reads a name.
    init(_ name: String) {
        let parts = name.split { $0 == "." || $0 == "_" }
        for (index, part) in parts.enumerated() {
            let number = index + 1 < parts.count ? Int(parts[index + 1]).flatMap { $0 >= 0 ? $0 : nil } : nil
            switch part {
            case "layer", "layers", "blk", "h":
                if layer == nil, let number { layer = number }
            case "expert", "experts":
                // `shared_experts` belongs to every token, it is nobody's expert.
                let isShared = index > 0 && parts[index - 1] == "shared"
                if let number, !isShared { expert = number } else if !isShared && part == "experts" { isPacked = true }
            case "exps":
                // GGUF: ffn_gate_exps, ffn_up_exps, ffn_down_exps.
                isPacked = true
            default: break
            }
        }
        if expert != nil { isPacked = false }
    }
}
