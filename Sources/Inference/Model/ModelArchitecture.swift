// SPDX-License-Identifier: Apache-2.0
internal import Compute

/// The network of a model: a stack of equal layers of attention and gated units, with the differences between families
/// as values.
public struct ModelArchitecture: Hashable, Sendable {
    /// Families of networks that are known.
    public enum Family: String, CaseIterable, Sendable {
        /// Llama and what is built like it: SmolLM2, Mistral, and Mixtral with its experts.
        case llama
        /// Biases on queries, keys and values.
        case qwen2
        /// Queries and keys normalized, head by head.
        case qwen3
        /// Four norms a layer, most layers with a window, embeddings scaled.
        case gemma3
    }

    /// How a model names its tensors.
    public enum Naming: String, Sendable {
        /// `blk.0.attn_q.weight`.
        case gguf
        /// `model.layers.0.self_attn.q_proj.weight`.
        case huggingFace
    }

    /// By how much pairs turn.
    struct Rotations: Hashable, Sendable {
        var base: Double
        /// Positions are divided by this.
        var factor = 1.0
        /// Frequencies are lowered by what they are (Llama 3).
        var banded: Banded?

        /// Numbers of `rope_type: llama3`.
        struct Banded: Hashable, Sendable {
            let factor: Double
            let low: Double
            let high: Double
            let length: Double
        }
    }

    /// Experts in each layer.
    struct Experts: Hashable, Sendable {
        let count: Int
        let used: Int
    }

    /// Which family.
    public let family: Family
    /// How tensors are named.
    public let naming: Naming
    /// Layers.
    public let layers: Int
    /// Numbers of a token between layers.
    public let width: Int
    /// Numbers inside a layer's gated unit, or inside an expert's.
    public let hidden: Int
    /// Heads of queries.
    public let heads: Int
    /// Heads of keys and values.
    public let keyValueHeads: Int
    /// Numbers of a head.
    public let headLength: Int
    /// Tokens that there are rows for.
    public let vocabulary: Int
    /// The longest text that the model was made for, in tokens.
    public let context: Int

    let epsilon: Float
    let convention: RotaryEmbedding.Convention
    /// Numbers of a head that turn.
    let rotated: Int
    let rotations: Rotations
    /// Of layers with a window, where they differ.
    let windowRotations: Rotations?
    let attentionScale: Float
    let window: Int?
    /// Which layers see the window alone; empty when all are alike.
    let windowLayers: Set<Int>
    let experts: Experts?

    /// How many experts a layer has; `nil` when it has none.
    public var expertCount: Int? { experts?.count }
    /// How many positions before it a token sees in a layer; all when `nil`.
    func window(ofLayer layer: Int) -> Int? { windowLayers.contains(layer) ? window : nil }
    var gate: Operation.Gate { family == .gemma3 ? .geGLU : .swiGLU }
    var embeddingScale: Float { family == .gemma3 ? Float(width).squareRoot() : 1 }
    /// Gemma's norms are stored as their difference from 1, but not in GGUF.
    var normOffset: Float { family == .gemma3 && naming == .huggingFace ? 1 : 0 }

    func rotations(ofLayer layer: Int) -> Rotations {
        windowLayers.contains(layer) ? windowRotations ?? rotations : rotations
    }
}

extension ModelArchitecture.Rotations {
    /// What pairs turn by from one position to the next, `factors` being the divisors that a model may bring.
    func embedding(
        convention: RotaryEmbedding.Convention, dimensions: Int, factors: [Float]?
    ) -> RotaryEmbedding {
        let plain = RotaryEmbedding(convention: convention, dimensions: dimensions, base: base, factor: factor)
        var frequencies = plain.frequencies
        if let factors, factors.count == frequencies.count {
            for index in frequencies.indices { frequencies[index] /= Double(factors[index]) }
        }
        if let banded { frequencies = frequencies.map(banded.lowered) }
        return RotaryEmbedding(convention: convention, frequencies: frequencies)
    }
}

extension ModelArchitecture.Rotations.Banded {
    /// Short waves stay, long ones are stretched by the factor, and between them it goes over.
    func lowered(_ frequency: Double) -> Double {
        let turns = length * frequency / (2 * .pi)
        if turns > high { return frequency }
        if turns < low { return frequency / factor }
        let smooth = (turns - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }
}
