// SPDX-License-Identifier: Apache-2.0

/// Weights of a program: its number among them.
public struct WeightID: Hashable, Sendable {
    /// From 0, in the order in which they were declared.
    public let index: Int

    /// The weights that were declared at this place.
    public init(index: Int) {
        self.index = index
    }
}

/// What weights a program wants under a number: a matrix, or a vector as a single row.
public struct WeightShape: Hashable, Sendable {
    /// What messages call them: the tensor's name.
    public let name: String
    /// How they are stored.
    public let format: BlockFormat
    /// Rows: outputs of a product. Of all parts together.
    public let rows: Int
    /// Weights of a row: inputs of a product.
    public let columns: Int
    /// How many parts are bound one by one: the experts of a layer, mostly 1. Each has `rows / parts` rows.
    public let parts: Int

    /// Bytes of a row.
    public var rowBytes: Int { format.byteCount(of: columns) ?? 0 }
    /// Bytes of one part.
    public var partBytes: Int { rows / parts * rowBytes }
}

/// Numbers of a run in single precision: a row of `length` of them for each token, or for each output.
public struct Activation: Hashable, Sendable {
    /// What there is a row for.
    public enum Rows: String, Sendable {
        /// Each token of the batch.
        case tokens
        /// Each token whose result is wanted.
        case outputs
    }

    /// From 0, in the order in which they were declared.
    public let index: Int
    /// Numbers of a row.
    public let length: Int
    /// What there is a row for.
    public let rows: Rows
}

/// Keys and values of a layer, kept from run to run for every sequence: its number.
public struct CacheID: Hashable, Sendable {
    /// From 0, in the order in which they were declared.
    public let index: Int
}

/// What is kept of each position.
public struct CacheShape: Hashable, Sendable {
    /// Heads of keys and of values.
    public let keyValueHeads: Int
    /// Numbers of a head.
    public let headLength: Int

    /// Numbers that are kept of each position as keys, and once more as values.
    public var rowLength: Int { keyValueHeads * headLength }
}

/// Rotations that layers share: their number.
public struct RotationID: Hashable, Sendable {
    /// From 0, in the order in which they were declared.
    public let index: Int
}

/// Operations that run one after the other once the weights they name are there: a layer.
public struct ProgramSegment: Hashable, Sendable {
    /// What messages call it.
    public let name: String
    /// Which of the program's operations.
    public internal(set) var operations: Range<Int>
    /// The weights that they need, each once, in the order of need.
    public internal(set) var weights: [WeightID]
}
