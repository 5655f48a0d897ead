// SPDX-License-Identifier: Apache-2.0

/// A program that the processor interprets, operation by operation; threads share each.
final class CPUExecutable: Executable, @unchecked Sendable {
    // Unchecked: there is one caller at a time.

    let program: Program
    let options: ExecutionOptions
    let backend: CPUBackend

    var weights: [BoundWeight]
    private(set) var rotations: [RotationTable]
    private let activations: [HostMemory]
    private let caches: [CPUCache]
    var mixing: MixingRoom?
    var missing: MissingWeights?
    private var stopwatch = OperationStopwatch()

    /// Weights as they were bound.
    struct BoundWeight {
        /// A matrix for each part, where it lies.
        var parts: [WeightMatrix?]
        /// Of a vector: its numbers, with what normalizing adds to them.
        var vector: [Float] = []
        /// Whoever keeps the bytes of each part.
        var owners: [AnyObject?]
        /// What is added to a vector's numbers.
        var offset: Float = 0
    }

    init(_ program: Program, options: ExecutionOptions, backend: CPUBackend) throws(ComputeError) {
        self.program = program
        self.options = options
        self.backend = backend
        weights = program.weights.map {
            BoundWeight(
                parts: Array(repeating: nil, count: $0.parts), owners: Array(repeating: nil, count: $0.parts))
        }
        for operation in program.operations {
            if case .normalize(_, let weight, let offset, _, _) = operation { weights[weight.index].offset = offset }
        }
        rotations = program.rotations.map { RotationTable($0) }
        var activations: [HostMemory] = []
        for activation in program.activations {
            let rows = activation.rows == .tokens ? options.tokens : options.outputs
            // Lengths and rows are bounded, their product is no more than 2^46 bytes.
            let memory = try HostMemory(byteCount: activation.length * rows * 4, for: "activations")
            memory.base.bindMemory(to: Float.self, capacity: activation.length * rows)
            activations.append(memory)
        }
        self.activations = activations
        var caches: [CPUCache] = []
        for cache in program.caches {
            caches.append(try CPUCache(cache, options: options, instructions: backend.instructions))
        }
        self.caches = caches
    }

    var timings: [OperationTiming] { stopwatch.timings }

    func resetTimings() { stopwatch = OperationStopwatch() }

    func provide(missing: MissingWeights?) { self.missing = missing }

    var memory: MemoryUse {
        let bound = zip(program.weights, weights).reduce(0) { sum, weight in
            sum + weight.0.partBytes * weight.1.parts.count { $0 != nil }
        }
        let working = program.activations.reduce(0) {
            $0 + 4 * $1.length * ($1.rows == .tokens ? options.tokens : options.outputs)
        }
        return MemoryUse(weights: bound, caches: options.cacheBytes(of: program), working: working)
    }

    func bind(_ weight: WeightID, part: Int, to bytes: WeightBytes) throws(ComputeError) {
        let shape = program[weight]
        guard part >= 0, part < shape.parts else {
            throw ComputeError(.shape, "\(shape.name): part \(part) of \(shape.parts)")
        }
        guard bytes.bytes.count == shape.partBytes else {
            throw ComputeError(
                .shape, "\(shape.name): \(bytes.bytes.count) bytes, its shape has \(shape.partBytes)")
        }
        let matrix = try WeightMatrix(
            bytes.bytes, format: shape.format, rows: shape.rows / shape.parts, columns: shape.columns)
        weights[weight.index].parts[part] = matrix
        weights[weight.index].owners[part] = bytes.owner
        if shape.rows == 1, shape.format == .f32 {
            // A few numbers; in the file they need not lie where a number may lie in memory.
            let offset = weights[weight.index].offset
            weights[weight.index].vector = (0..<shape.columns).map {
                Float(
                    bitPattern: UInt32(littleEndian: bytes.bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self))
                )
                    + offset
            }
        }
    }

    func run(_ batch: Batch, segments: Range<Int>) throws(ComputeError) {
        guard segments.lowerBound >= 0, segments.upperBound <= program.segments.count else {
            throw ComputeError(.shape, "segments \(segments) of \(program.segments.count)")
        }
        let runs = batch.runs
        if segments.lowerBound == 0 {
            try batch.check(options, program: program)
            for index in rotations.indices { rotations[index].prepare(positions: batch.positions) }
        }
        for segment in program.segments[segments] {
            for index in segment.operations {
                let start = options.profiles ? stopwatch.now() : nil
                try run(program.operations[index], batch, runs)
                if let start { stopwatch.note(program.name(of: program.operations[index]), since: start) }
            }
        }
    }

    private func run(_ operation: Operation, _ batch: Batch, _ runs: [Range<Int>]) throws(ComputeError) {
        let count = batch.count
        switch operation {
        case .embed(let table, let scale, let output):
            let matrix = try matrix(table)
            for (index, id) in batch.ids.enumerated() {
                let row = self[output] + index * output.length
                matrix.dequantize(row: Int(id), into: row)
                if scale != 1 { VectorMath.multiply(row, by: scale, count: output.length) }
            }
        case .normalize(let x, let weight, _, let epsilon, let output):
            let length = program[weight].columns
            try vector(weight).withUnsafeBufferPointer { vector in
                guard let vector = vector.baseAddress else { return }
                backend.rmsNorm(
                    self[x], weight: vector, epsilon: epsilon, length: length,
                    count: rows(x, batch) * (x.length / length), into: self[output])
            }
        case .multiply(let products, let x):
            try multiply(products, by: x, count: rows(x, batch))
        case .rotate(let x, let headLength, let rotation):
            backend.rotate(
                self[x], rotations[rotation.index], heads: x.length / headLength, headLength: headLength, count: count)
        case .store(let keys, let values, let cache):
            caches[cache.index].store(keys: self[keys], values: self[values], batch)
        case .attend(let queries, let cache, let shape, let output):
            for tokens in runs {
                let first = Int(batch.positions[tokens.lowerBound])
                let rows = try caches[cache.index].rows(
                    ofSequence: Int(batch.sequences[tokens.lowerBound]), count: first + tokens.count, shape: shape)
                try backend.attend(
                    self[queries] + tokens.lowerBound * queries.length, first: first, count: tokens.count,
                    keys: rows.keys, values: rows.values, shape: shape,
                    into: self[output] + tokens.lowerBound * output.length)
            }
        case .gate(let gate, let x, let up, let output):
            backend.gate(gate, self[x], self[up], count: rows(x, batch) * x.length, into: self[output])
        case .add(let x, let y):
            backend.add(self[x], to: self[y], count: rows(x, batch) * x.length)
        case .gather(let x, let output):
            for (row, token) in batch.outputs.enumerated() {
                (self[output] + row * x.length).update(from: self[x] + Int(token) * x.length, count: x.length)
            }
        case .mix(let mixture, let router, let x, let output):
            try mix(mixture, router: router, by: x, into: output, count: count)
        }
    }

    private func multiply(_ products: [Operation.Product], by x: Activation, count: Int) throws(ComputeError) {
        guard count > 0 else { return }
        var jobs: [MatrixProduct] = []
        jobs.reserveCapacity(products.count)
        for product in products {
            jobs.append(
                MatrixProduct(try matrix(product.weight), into: self[product.output], stride: product.output.length))
        }
        try multiply(jobs, by: self[x], length: x.length, count: count)
        for product in products {
            guard let bias = product.bias else { continue }
            let length = product.output.length
            try vector(bias).withUnsafeBufferPointer { vector in
                guard let vector = vector.baseAddress else { return }
                for row in 0..<count {
                    VectorMath.add(vector, to: self[product.output] + row * length, count: length)
                }
            }
        }
    }

    /// Products with columns in memory of this object's.
    func multiply(
        _ jobs: [MatrixProduct], by x: UnsafePointer<Float>, length: Int, count: Int
    ) throws(ComputeError) {
        try jobs.withUnsafeBufferPointer { jobs throws(ComputeError) in
            try backend.multiply(jobs, by: x, length: length, count: count, precision: options.precision)
        }
    }

    func read(_ activation: Activation, row: Int, into values: inout MutableSpan<Float>) throws(ComputeError) {
        let rows = activation.rows == .tokens ? options.tokens : options.outputs
        guard program.activations.indices.contains(activation.index), row >= 0, row < rows,
            values.count == activation.length
        else {
            throw ComputeError(.shape, "row \(row) of \(rows), \(values.count) numbers of \(activation.length)")
        }
        let source = self[activation] + row * activation.length
        values.withUnsafeMutableBufferPointer { values in
            _ = values.update(fromContentsOf: UnsafeBufferPointer(start: source, count: values.count))
        }
    }

    func readCache(_ cache: CacheID, sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8] {
        try caches[cache.index].read(sequence: sequence, positions: positions)
    }

    func writeCache(
        _ cache: CacheID, sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>
    ) throws(ComputeError) {
        try caches[cache.index].write(sequence: sequence, positions: positions, bytes)
    }

    // MARK: What operations name

    subscript(activation: Activation) -> UnsafeMutablePointer<Float> {
        activations[activation.index].base.assumingMemoryBound(to: Float.self)
    }

    private func rows(_ activation: Activation, _ batch: Batch) -> Int {
        activation.rows == .tokens ? batch.count : batch.outputs.count
    }

    func matrix(_ weight: WeightID, part: Int = 0) throws(ComputeError) -> WeightMatrix {
        if let matrix = weights[weight.index].parts[part] { return matrix }
        if let missing {
            try bind(weight, part: part, to: missing(weight, part))
            if let matrix = weights[weight.index].parts[part] { return matrix }
        }
        throw unbound(weight, part)
    }

    private func vector(_ weight: WeightID) throws(ComputeError) -> [Float] {
        _ = try matrix(weight)
        return weights[weight.index].vector
    }

    private func unbound(_ weight: WeightID, _ part: Int) -> ComputeError {
        let shape = program[weight]
        return ComputeError(.missing, shape.parts > 1 ? "\(shape.name), part \(part)" : shape.name)
    }
}
