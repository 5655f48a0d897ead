// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// A program on a device of Vulkan: steps are recorded when they first run, for one token and for powers of two.
final class VulkanExecutable: Executable, @unchecked Sendable {
    // Unchecked: there is one caller at a time.

    let program: Program
    let options: ExecutionOptions
    private let plan: DispatchPlan
    private let context: VulkanContext
    private let weights: VulkanWeights
    let rows: VulkanRows
    let staging: VulkanStaging
    private let sets: VulkanTexelSets
    private var recordings: [RecordingKey: VulkanRecording] = [:]
    private var missing: MissingWeights?
    private var stopwatch = OperationStopwatch()
    private var isLost = false

    private struct RecordingKey: Hashable {
        let steps: Range<Int>
        let counts: VulkanDispatcher.Counts
    }

    init(_ program: Program, options: ExecutionOptions, context: VulkanContext) throws(ComputeError) {
        for case .attend(_, _, let shape, _) in program.operations
        where shape.headLength % 8 != 0 || shape.headLength > 1024 {
            throw ComputeError(.shape, "heads of \(shape.headLength) numbers: Vulkan takes multiples of 8 up to 1024")
        }
        for shape in program.caches where shape.headLength % 8 != 0 {
            throw ComputeError(.shape, "heads of \(shape.headLength) numbers: Vulkan takes multiples of 8")
        }
        self.program = program
        self.options = options
        self.context = context
        plan = DispatchPlan(program)
        staging = try VulkanStaging(context)
        rows = try VulkanRows(program, options: options, context)
        weights = try VulkanWeights(program, plan, context, staging)
        sets = VulkanTexelSets(rows.arena, context)
        try rows.clear(staging)
    }

    var timings: [OperationTiming] { stopwatch.timings }

    func resetTimings() { stopwatch = OperationStopwatch() }

    func provide(missing: MissingWeights?) { self.missing = missing }

    var memory: MemoryUse {
        let (caches, working) = rows.bytes
        return MemoryUse(weights: weights.bytes, caches: caches, working: working)
    }

    func bind(_ weight: WeightID, part: Int, to bytes: WeightBytes) throws(ComputeError) {
        guard program.weights.indices.contains(weight.index) else {
            throw ComputeError(.shape, "weight \(weight.index) of \(program.weights.count)")
        }
        try whileThere { () throws(ComputeError) in try copy(weight, part, bytes) }
    }

    /// The bytes stay where they are until they are copied.
    private func copy(_ weight: WeightID, _ part: Int, _ bytes: WeightBytes) throws(ComputeError) {
        defer { withExtendedLifetime(bytes.owner) {} }
        try weights.bind(weight, part: part, to: bytes.bytes)
    }

    // MARK: Running

    func run(_ batch: Batch, segments: Range<Int>) throws(ComputeError) {
        guard segments.lowerBound >= 0, segments.upperBound <= program.segments.count else {
            throw ComputeError(.shape, "segments \(segments) of \(program.segments.count)")
        }
        try batch.check(options, program: program)
        if segments.isEmpty { return }
        try whileThere { () throws(ComputeError) in
            try rows.put(batch)
            for weight in Set(program.segments[segments].flatMap(\.weights)) where program[weight].parts == 1 {
                if weights.missing(of: weight) != nil { try provide(weight, part: 0) }
            }
            let counts = VulkanDispatcher.Counts(
                tokens: Self.roomy(batch.count, options.tokens),
                outputs: Self.roomy(batch.outputs.count, options.outputs))
            let steps =
                plan.segments[segments.lowerBound].lowerBound..<plan.segments[segments.upperBound - 1].upperBound
            var start = steps.lowerBound
            while start < steps.upperBound {
                // As far as what experts are asked may not be there.
                let end = (start + 1..<steps.upperBound).first { mixtureWithGaps(at: $0) != nil } ?? steps.upperBound
                if let mixture = mixtureWithGaps(at: start) { try provideExperts(mixture, batch) }
                try recording(start..<end, counts).run(&stopwatch)
                start = end
            }
            context.keepPipelines()
        }
    }

    /// A recording serves all counts up to its own, which are 1 and powers of two.
    private static func roomy(_ count: Int, _ most: Int) -> Int {
        var room = 1
        while room < count { room *= 2 }
        return count == 0 ? 0 : min(room, most)
    }

    private func recording(
        _ steps: Range<Int>, _ counts: VulkanDispatcher.Counts
    ) throws(ComputeError) -> VulkanRecording {
        let key = RecordingKey(steps: steps, counts: counts)
        if let recording = recordings[key] { return recording }
        let dispatcher = VulkanDispatcher(
            program: program, options: options, context: context, weights: weights, rows: rows)
        let recording = try VulkanRecording(steps, of: plan, counts, dispatcher, sets, staging)
        // Loading leaves recordings of few segments behind, which nobody wants again.
        if recordings.count >= Self.mostRecordings { recordings.removeAll() }
        recordings[key] = recording
        return recording
    }

    private static let mostRecordings = 64

    /// Remembers that the device is gone.
    private func whileThere(_ body: () throws(ComputeError) -> Void) throws(ComputeError) {
        guard !isLost else { throw ComputeError(.deviceLost, "the device was lost: load the model again") }
        do {
            try body()
        } catch {
            if error.code == .deviceLost { isLost = true }
            throw error
        }
    }

    // MARK: What is not there

    private func provide(_ weight: WeightID, part: Int) throws(ComputeError) {
        guard let missing else {
            let shape = program[weight]
            throw ComputeError(.missing, shape.parts > 1 ? "\(shape.name), part \(part)" : shape.name)
        }
        try copy(weight, part, try missing(weight, part))
    }

    /// The mixture whose experts a step asks, if some of them are not there.
    private func mixtureWithGaps(at step: Int) -> ExpertMixture? {
        guard case .expertGates(let mixture, _) = plan.steps[step] else { return nil }
        let parts = [mixture.gates, mixture.ups, mixture.downs]
        return parts.contains { weights.missing(of: $0) != nil } ? mixture : nil
    }

    /// Binds the experts that the router chose, as far as they are not there.
    private func provideExperts(_ mixture: ExpertMixture, _ batch: Batch) throws(ComputeError) {
        guard let experts = rows.experts else { return }
        let count = program[mixture.gates].parts
        var chosen = Set<Int>()
        try staging.read(batch.count * mixture.used * 4, from: rows.arena, at: experts.choices * 4) {
            bytes, _, length in
            for index in 0..<length / 4 {
                chosen.insert(Int(bytes.load(fromByteOffset: index * 4, as: UInt32.self)))
            }
        }
        for expert in chosen.sorted() where expert < count {
            for weight in [mixture.gates, mixture.ups, mixture.downs] where !weights.isBound(weight, part: expert) {
                try provide(weight, part: expert)
            }
        }
    }

    // MARK: Reading

    func read(_ activation: Activation, row: Int, into values: inout MutableSpan<Float>) throws(ComputeError) {
        let count = activation.rows == .tokens ? options.tokens : options.outputs
        guard program.activations.indices.contains(activation.index), row >= 0, row < count,
            values.count == activation.length
        else {
            throw ComputeError(.shape, "row \(row) of \(count), \(values.count) numbers of \(activation.length)")
        }
        let place = rows.activations[activation.index]
        try values.withUnsafeMutableBytes { values throws(ComputeError) in
            guard let target = values.baseAddress else { return }
            try staging.read(
                values.count, from: rows.arena, at: (place.offset + row * place.stride) * 4
            ) { bytes, start, length in
                (target + start).copyMemory(from: bytes, byteCount: length)
            }
        }
    }
}
