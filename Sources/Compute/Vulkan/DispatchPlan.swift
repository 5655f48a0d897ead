// SPDX-License-Identifier: Apache-2.0

/// A program as the kernels that a device of Vulkan runs for it: operations one by one, or several in one where what
/// lies between them is not wanted by anybody.
///
///     multiply, add                     →  the product is added where it is stored
///     multiply by two matrices, gate    →  pairs of rows, of which the gate is made at once
///     rotate keys, store                →  keys turn while they are stored
///     rotate queries, attend            →  queries turn while they are read
struct DispatchPlan {
    /// One kernel's work.
    enum Step {
        case embed(table: WeightID, scale: Float, into: Activation)
        case normalize(Activation, weight: WeightID, offset: Float, epsilon: Float, into: Activation)
        case product(Product)
        case rotate(Activation, headLength: Int, by: RotationID)
        case store(keys: Activation, values: Activation, in: CacheID, turning: RotationID?)
        case attend(Activation, in: CacheID, shape: AttentionShape, into: Activation, turning: RotationID?)
        case gate(Operation.Gate, Activation, up: Activation, into: Activation)
        case add(Activation, to: Activation)
        case gather(Activation, into: Activation)
        /// Chooses experts.
        case route(ExpertMixture, router: Activation)
        /// Asks the chosen ones: the pieces of a mixture.
        case expertGates(ExpertMixture, by: Activation)
        case expertDowns(ExpertMixture, router: Activation)
        case expertSum(ExpertMixture, into: Activation)
    }

    /// Products of matrices of one format, stacked, with the same column.
    struct Product {
        enum Ending {
            case stored
            case added(to: Activation)
            case gated(Operation.Gate, into: Activation)
        }

        let products: [Operation.Product]
        let x: Activation
        var ending = Ending.stored
    }

    private(set) var steps: [Step] = []
    /// What times of a step are summed under.
    private(set) var names: [String] = []
    /// Which steps belong to each segment.
    private(set) var segments: [Range<Int>] = []

    /// How many outputs a kernel of products knows.
    private static let mostOutputs = 3

    init(_ program: Program) {
        for segment in program.segments {
            let start = steps.count
            var index = segment.operations.lowerBound
            while index < segment.operations.upperBound {
                index += append(program, index, end: segment.operations.upperBound)
            }
            segments.append(start..<steps.count)
        }
    }

    /// Appends what is made of an operation and of some that follow; how many they are.
    private mutating func append(_ program: Program, _ index: Int, end: Int) -> Int {
        let operations = program.operations
        let operation = operations[index]
        let next = index + 1 < end ? operations[index + 1] : nil
        switch operation {
        case .embed(let table, let scale, let output):
            add(.embed(table: table, scale: scale, into: output), program.name(of: operation))
        case .normalize(let x, let weight, let offset, let epsilon, let output):
            add(.normalize(x, weight: weight, offset: offset, epsilon: epsilon, into: output), "normalize")
        case .multiply(let products, let x):
            return appendProducts(program, index, products, x, next)
        case .rotate(let x, let headLength, let rotation):
            return appendRotation(program, index, end: end, x, headLength, rotation)
        case .store(let keys, let values, let cache):
            add(.store(keys: keys, values: values, in: cache, turning: nil), "store")
        case .attend(let queries, let cache, let shape, let output):
            add(.attend(queries, in: cache, shape: shape, into: output, turning: nil), "attend")
        case .gate(let gate, let x, let up, let output):
            add(.gate(gate, x, up: up, into: output), program.name(of: operation))
        case .add(let x, let y):
            add(.add(x, to: y), "add")
        case .gather(let x, let output):
            add(.gather(x, into: output), "gather")
        case .mix(let mixture, let router, let x, let output):
            let name = program.name(of: operation)
            add(.route(mixture, router: router), "route")
            add(.expertGates(mixture, by: x), name)
            add(.expertDowns(mixture, router: router), name)
            add(.expertSum(mixture, into: output), name)
        }
        return 1
    }

    private mutating func add(_ step: Step, _ name: String) {
        steps.append(step)
        names.append(name)
    }

    private mutating func appendProducts(
        _ program: Program, _ index: Int, _ products: [Operation.Product], _ x: Activation, _ next: Operation?
    ) -> Int {
        let name = program.name(of: program.operations[index])
        if products.count == 1, case .add(let sum, let target)? = next, sum == products[0].output,
            target != x, Self.isForgotten(sum, after: index + 1, in: program)
        {
            add(.product(Product(products: products, x: x, ending: .added(to: target))), name + " + add")
            return 2
        }
        if products.count == 2, case .gate(let gate, let first, let up, let output)? = next,
            first == products[0].output, up == products[1].output, first != up, output != x,
            program[products[0].weight].format == program[products[1].weight].format,
            first == output || Self.isForgotten(first, after: index + 1, in: program),
            up == output || Self.isForgotten(up, after: index + 1, in: program)
        {
            add(.product(Product(products: products, x: x, ending: .gated(gate, into: output))), name + " + gate")
            return 2
        }
        var rest = products[...]
        while let first = rest.first {
            let format = program[first.weight].format
            let alike = rest.prefix { program[$0.weight].format == format }.prefix(Self.mostOutputs)
            add(.product(Product(products: Array(alike), x: x)), name)
            rest = rest.dropFirst(alike.count)
        }
        return 1
    }

    /// One or two rotations, and what is done with what they turned.
    private mutating func appendRotation(
        _ program: Program, _ index: Int, end: Int, _ x: Activation, _ headLength: Int, _ rotation: RotationID
    ) -> Int {
        let following = program.operations[index..<end]
        if case .store(let keys, let values, let cache)? = following.dropFirst().first, keys == x, keys != values,
            headLength == program[cache].headLength, Self.isForgotten(keys, after: index + 1, in: program)
        {
            add(.store(keys: keys, values: values, in: cache, turning: rotation), "store")
            return 2
        }
        if case .attend(let queries, let cache, let shape, let output)? = following.dropFirst().first, queries == x,
            headLength == shape.headLength, Self.isForgotten(queries, after: index + 1, in: program)
        {
            add(.attend(queries, in: cache, shape: shape, into: output, turning: rotation), "attend")
            return 2
        }
        // Queries and keys turn, keys are stored, queries are read: the usual order in a layer.
        if following.count >= 4, case .rotate(let keys, let keyLength, let keyRotation) = following[index + 1],
            case .store(let stored, let values, let cache) = following[index + 2],
            case .attend(let queries, let read, let shape, let output) = following[index + 3], stored == keys,
            queries == x, keys != x, values != x, values != keys, headLength == shape.headLength,
            keyLength == program[cache].headLength, Self.isForgotten(keys, after: index + 2, in: program),
            Self.isForgotten(queries, after: index + 3, in: program)
        {
            add(.store(keys: keys, values: values, in: cache, turning: keyRotation), "store")
            add(.attend(queries, in: read, shape: shape, into: output, turning: rotation), "attend")
            return 4
        }
        add(.rotate(x, headLength: headLength, by: rotation), "rotate")
        return 1
    }

    /// Whether an operation writes all of an activation before any reads it, looking from one on: nobody sees what it
    /// was.
    private static func isForgotten(_ activation: Activation, after index: Int, in program: Program) -> Bool {
        for operation in program.operations[(index + 1)...] {
            let (reads, writes) = operation.touched
            if reads.contains(activation) { return false }
            if writes.contains(activation) { return true }
        }
        return false
    }
}

extension Operation {
    /// The activations that an operation reads, and those that it writes whole.
    fileprivate var touched: (reads: [Activation], writes: [Activation]) {
        switch self {
        case .embed(_, _, let output): ([], [output])
        case .normalize(let x, _, _, _, let output): ([x], [output])
        case .multiply(let products, let x): ([x], products.map(\.output))
        case .rotate(let x, _, _): ([x], [x])
        case .store(let keys, let values, _): ([keys, values], [])
        case .attend(let queries, _, _, let output): ([queries], [output])
        case .gate(_, let x, let up, let output): ([x, up], [output])
        case .add(let x, let y): ([x, y], [y])
        case .gather(let x, let output): ([x], [output])
        case .mix(_, let router, let x, let output): ([router, x], [output])
        }
    }
}
