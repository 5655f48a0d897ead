// SPDX-License-Identifier: Apache-2.0

/// What a model computes for a batch of tokens, told once. A device makes of it what it then runs for every batch.
///
/// Shapes are checked when an operation is appended, so that devices need not.
public struct Program: Sendable {
    /// The weights that operations name.
    public private(set) var weights: [WeightShape] = []
    /// The rows of numbers that operations read and write.
    public private(set) var activations: [Activation] = []
    /// What is kept from run to run.
    public private(set) var caches: [CacheShape] = []
    /// By what heads turn.
    public private(set) var rotations: [RotaryEmbedding] = []
    /// All operations in order.
    public private(set) var operations: [Operation] = []
    /// The operations in groups, each of which can run as soon as its weights are there.
    public private(set) var segments: [ProgramSegment] = []

    /// A program of nothing.
    public init() {}

    // MARK: Declarations

    /// Weights of a shape; vectors have a single row.
    public mutating func weight(
        _ name: String, format: BlockFormat, rows: Int = 1, columns: Int, parts: Int = 1
    ) throws(ComputeError) -> WeightID {
        guard rows > 0, columns > 0, parts > 0, rows % parts == 0, let row = format.byteCount(of: columns),
            !row.multipliedReportingOverflow(by: rows).overflow
        else {
            throw ComputeError(.shape, "\(name): \(rows) rows of \(columns) weights cannot be \(format.name)")
        }
        weights.append(WeightShape(name: name, format: format, rows: rows, columns: columns, parts: parts))
        return WeightID(index: weights.count - 1)
    }

    /// A row of `length` numbers for each token, or for each output.
    public mutating func activation(_ length: Int, rows: Activation.Rows = .tokens) throws(ComputeError) -> Activation {
        guard length > 0, length <= Self.longestRow else {
            throw ComputeError(.shape, "an activation of \(length) numbers")
        }
        activations.append(Activation(index: activations.count, length: length, rows: rows))
        return activations[activations.count - 1]
    }

    /// Far beyond any vocabulary, and small enough that sizes in bytes do not overflow.
    private static let longestRow = 1 << 24

    /// Keys and values that stay.
    public mutating func cache(keyValueHeads: Int, headLength: Int) throws(ComputeError) -> CacheID {
        guard keyValueHeads > 0, headLength > 0, headLength <= Self.longestRow / keyValueHeads else {
            throw ComputeError(.shape, "\(keyValueHeads) heads of \(headLength) numbers")
        }
        caches.append(CacheShape(keyValueHeads: keyValueHeads, headLength: headLength))
        return CacheID(index: caches.count - 1)
    }

    /// Rotations; the same ones have the same number.
    public mutating func rotation(_ rotation: RotaryEmbedding) -> RotationID {
        if let index = rotations.firstIndex(of: rotation) { return RotationID(index: index) }
        rotations.append(rotation)
        return RotationID(index: rotations.count - 1)
    }

    /// The operations that follow belong to a segment of this name.
    public mutating func beginSegment(_ name: String) {
        segments.append(ProgramSegment(name: name, operations: operations.count..<operations.count, weights: []))
    }

    /// What the shape of a number's weights is.
    public subscript(weight: WeightID) -> WeightShape { weights[weight.index] }
    /// What is kept under a number.
    public subscript(cache: CacheID) -> CacheShape { caches[cache.index] }
    /// By what a number turns.
    public subscript(rotation: RotationID) -> RotaryEmbedding { rotations[rotation.index] }

    /// Tokens that an embedding table has rows for; ids are below.
    public var vocabulary: Int {
        var count = Int.max
        for case .embed(let table, _, _) in operations { count = min(count, self[table].rows) }
        return count
    }

    // MARK: Operations

    /// Appends an operation whose shapes fit each other.
    public mutating func append(_ operation: Operation) throws(ComputeError) {
        if let fault = fault(in: operation) { throw ComputeError(.shape, fault) }
        if segments.isEmpty { beginSegment("all") }
        operations.append(operation)
        let last = segments.count - 1
        segments[last].operations = segments[last].operations.lowerBound..<operations.count
        for weight in Self.weights(of: operation) where !segments[last].weights.contains(weight) {
            segments[last].weights.append(weight)
        }
    }

    private static func weights(of operation: Operation) -> [WeightID] {
        switch operation {
        case .embed(let table, _, _): [table]
        case .normalize(_, let weight, _, _, _): [weight]
        case .multiply(let products, _): products.flatMap { [$0.weight] + ($0.bias.map { [$0] } ?? []) }
        case .mix(let mixture, _, _, _): [mixture.gates, mixture.ups, mixture.downs]
        case .rotate, .store, .attend, .gate, .add, .gather: []
        }
    }

    /// What does not fit, in words; `nil` if all does.
    private func fault(in operation: Operation) -> String? {
        switch operation {
        case .embed(let table, _, let output):
            let shape = self[table]
            return shape.columns == output.length && shape.parts == 1 && output.rows == .tokens
                ? nil : "\(shape.name) has rows of \(shape.columns), embeddings are of \(output.length)"
        case .normalize(let x, let weight, _, _, let output):
            let shape = self[weight]
            guard shape.rows == 1, shape.format == .f32 else { return "\(shape.name) is no vector of F32" }
            return x.length % shape.columns == 0 && Self.alike(x, output)
                ? nil : "\(shape.name) has \(shape.columns) weights, what it normalizes \(x.length)"
        case .multiply(let products, let x):
            for product in products {
                let shape = self[product.weight]
                guard shape.columns == x.length, shape.rows == product.output.length, shape.parts == 1,
                    product.output.rows == x.rows, product.output != x
                else {
                    return "\(shape.name) turns \(shape.columns) numbers into \(shape.rows), "
                        + "\(x.length) and \(product.output.length) are there"
                }
                guard let bias = product.bias else { continue }
                guard self[bias].rows == 1, self[bias].format == .f32, self[bias].columns == shape.rows else {
                    return "\(self[bias].name) is no F32 vector for the \(shape.rows) rows of \(shape.name)"
                }
            }
            return products.isEmpty ? "no product" : nil
        case .rotate(let x, let headLength, let rotation):
            return headLength > 0 && x.length % headLength == 0 && x.rows == .tokens
                && self[rotation].frequencies.count * 2 <= headLength
                ? nil : "heads of \(headLength) numbers cannot turn \(self[rotation].frequencies.count) pairs"
        case .store(let keys, let values, let cache):
            let length = self[cache].rowLength
            return keys.length == length && values.length == length && keys.rows == .tokens && values.rows == .tokens
                ? nil : "keys of \(keys.length) and values of \(values.length) for a cache of \(length)"
        case .attend(let queries, let cache, let shape, let output):
            let kept = self[cache]
            return queries.length == shape.heads * shape.headLength && shape.keyValueHeads == kept.keyValueHeads
                && shape.headLength == kept.headLength && Self.alike(queries, output) && queries != output
                && queries.rows == .tokens
                ? nil : "\(shape.heads) heads of \(shape.headLength) numbers do not fit \(queries.length) queries"
        case .gate(_, let gate, let up, let output):
            return Self.alike(gate, up) && Self.alike(up, output) ? nil : "a gate of unlike rows"
        case .add(let x, let y):
            return Self.alike(x, y) && x != y ? nil : "\(x.length) numbers cannot be added to \(y.length)"
        case .gather(let x, let output):
            return x.length == output.length && x.rows == .tokens && output.rows == .outputs
                ? nil : "outputs of \(output.length) numbers are no rows of \(x.length)"
        case .mix(let mixture, let router, let x, let output):
            let (gates, ups, downs) = (self[mixture.gates], self[mixture.ups], self[mixture.downs])
            let experts = router.length
            guard gates.parts == experts, ups.parts == experts, downs.parts == experts, mixture.used > 0,
                mixture.used <= experts
            else { return "\(gates.name): \(mixture.used) of \(experts) experts, \(gates.parts) are there" }
            return gates.rows == ups.rows && gates.columns == x.length && ups.columns == x.length
                && downs.columns * experts == gates.rows && downs.rows == output.length * experts
                && Self.alike(x, output) && x != output && router.rows == x.rows && x.rows == .tokens
                ? nil : "\(gates.name), \(ups.name) and \(downs.name) do not fit each other"
        }
    }

    private static func alike(_ a: Activation, _ b: Activation) -> Bool { a.length == b.length && a.rows == b.rows }
}
