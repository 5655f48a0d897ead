// SPDX-License-Identifier: Apache-2.0

/// One step of a program. Inputs are read before outputs are written only where it says so: otherwise they are different
/// activations. All rows of the activations' kind take part.
public enum Operation: Hashable, Sendable {
    /// Row t becomes `scale` times the table's row of token t's id.
    case embed(table: WeightID, scale: Float, into: Activation)

    /// RMSNorm (arXiv:1910.07467): each run of as many numbers as there are weights is divided by the root of its mean
    /// square plus `epsilon`, and multiplied with weight + `offset`. A row may hold several runs: heads. The output may be
    /// the input.
    case normalize(Activation, weight: WeightID, offset: Float, epsilon: Float, into: Activation)

    /// Matrices by the same column: `into = W · x`, plus the bias.
    case multiply([Product], by: Activation)

    /// Turns heads of `headLength` numbers by the token's position, in place.
    case rotate(Activation, headLength: Int, by: RotationID)

    /// Keeps keys and values at the token's position of its sequence, over what was there.
    case store(keys: Activation, values: Activation, in: CacheID)

    /// What the queries of a token read from the values of its sequence, at its own position and before it.
    case attend(Activation, in: CacheID, shape: AttentionShape, into: Activation)

    /// `into = gate(x) · up`. The output may be one of the inputs.
    case gate(Gate, Activation, up: Activation, into: Activation)

    /// `to += x`.
    case add(Activation, to: Activation)

    /// The rows of the tokens whose result is wanted.
    case gather(Activation, into: Activation)

    /// A mixture of experts: `into = Σ weight(e) · down(e) · (gate(gates(e) · x) · (ups(e) · x))` over the experts e that
    /// the router's numbers choose for the token.
    case mix(ExpertMixture, router: Activation, by: Activation, into: Activation)

    /// How a gate is applied.
    public enum Gate: String, CaseIterable, Sendable {
        /// silu(gate) · up, silu(x) = x / (1 + e^−x).
        case swiGLU
        /// gelu(gate) · up, GELU by its approximation with tanh.
        case geGLU
    }

    /// One of several products with a column.
    public struct Product: Hashable, Sendable {
        /// The matrix.
        public let weight: WeightID
        /// What is added to each row's sum: a vector of as many numbers as the matrix has rows.
        public let bias: WeightID?
        /// Takes a number for each row of the matrix.
        public let output: Activation

        /// A product.
        public init(_ weight: WeightID, bias: WeightID? = nil, into output: Activation) {
            self.weight = weight
            self.bias = bias
            self.output = output
        }
    }
}

/// The experts of a layer, and how they are chosen and weighed.
public struct ExpertMixture: Hashable, Sendable {
    /// The experts' matrices, a part for each expert.
    public let gates, ups, downs: WeightID
    /// How many experts each token asks: those with the largest of the router's numbers.
    public let used: Int
    /// Whether the weights are softmax over the chosen experts' numbers (they sum to 1), or over all experts'.
    public let normalizes: Bool
    /// How a gate is applied.
    public let gate: Operation.Gate

    /// Experts of a layer.
    public init(
        gates: WeightID, ups: WeightID, downs: WeightID, used: Int, normalizes: Bool, gate: Operation.Gate
    ) {
        self.gates = gates
        self.ups = ups
        self.downs = downs
        self.used = used
        self.normalizes = normalizes
        self.gate = gate
    }
}
