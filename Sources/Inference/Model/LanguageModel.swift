// SPDX-License-Identifier: Apache-2.0
public import Compute
public import RDRR
internal import Synchronization

/// For how much a model is loaded.
public struct ModelOptions: Hashable, Sendable {
    /// The longest text of a sequence, in tokens; as long as the model was made for, and as memory allows, when `nil`.
    public var context: Int?
    /// Sequences that are kept beside each other.
    public var sequences: Int
    /// The most tokens that go through the network together.
    public var batch: Int
    /// How keys and values are stored: F32, F16 or Q8_0.
    public var cacheFormat: BlockFormat
    /// The most bytes that keys and values may take.
    public var cacheLimit: Int
    /// How products are taken.
    public var precision: Precision
    /// The most tokens of a batch whose result is wanted; as many as sequences when `nil`.
    public var outputs: Int?
    /// Whether times of operations are kept.
    public var profiles: Bool

    /// Options; the fast ones by default.
    public init(
        context: Int? = nil, sequences: Int = 1, batch: Int = 128, cacheFormat: BlockFormat = .f16,
        cacheLimit: Int = 1 << 30, precision: Precision = .integers, outputs: Int? = nil, profiles: Bool = false
    ) {
        self.context = context
        self.sequences = sequences
        self.batch = batch
        self.cacheFormat = cacheFormat
        self.cacheLimit = cacheLimit
        self.precision = precision
        self.outputs = outputs
        self.profiles = profiles
    }
}

/// A model on a device, with its weights bound: what gives numbers for the next token. One caller at a time runs it.
public final class LanguageModel: Sendable {
    /// What the model is.
    public let manifest: RDRRManifest
    /// Its network.
    public let architecture: ModelArchitecture
    /// The program with its weights.
    public let executable: any Executable
    /// Where the program leaves a number for each token of the vocabulary, for each output.
    public let logits: Activation
    /// The longest text of a sequence, in tokens.
    public var context: Int { executable.options.positions }

    /// Puts a model folder on a device. The shards are mapped, not read.
    ///
    /// - Parameter experts: where a mixture's experts come from, each when a token asks for it; its shards need not be in the
    ///   folder then. `nil` takes them out of the folder as all else.
    public convenience init(
        _ folder: ModelFolder, on device: any ComputeDevice, options: ModelOptions = ModelOptions(),
        experts: (any ExpertSource)? = nil
    ) throws {
        let shards = try MappedShards(folder)
        // How the network is laid out depends on it.
        for shard in folder.manifest.tensor(named: TensorNames.ropeFactors)?.shards ?? [] { try shards.map(shard) }
        try self.init(folder, shards, on: device, options: options, feed: nil, experts: experts.map(ExpertFeed.init))
        for shard in experts == nil ? Array(folder.manifest.shards.indices) : graph.shardsInOrder {
            try shards.map(shard)
        }
        for weight in graph.sources.indices where isBoundFirst(WeightID(index: weight)) { try bind(weight) }
    }

    private let graph: ModelGraph
    private let shards: MappedShards
    private let feed: ShardFeed?
    private let experts: ExpertFeed?
    /// Segments whose weights are bound; all, where there is nothing to wait for.
    private let boundSegments: Mutex<Int>

    /// Compiles a model whose shards need not be there yet.
    init(
        _ folder: ModelFolder, _ shards: MappedShards, on device: any ComputeDevice, options: ModelOptions,
        feed: ShardFeed?, experts: ExpertFeed?
    ) throws {
        self.shards = shards
        self.feed = feed
        self.experts = experts
        manifest = folder.manifest
        architecture = try ModelArchitecture(folder)
        graph = try ModelGraph(
            architecture, manifest, ropeFactors: try Self.ropeFactors(folder.manifest, shards, architecture))
        logits = graph.logits
        let positions = try Self.positions(architecture, graph.program, options)
        let execution = ExecutionOptions(
            tokens: min(options.batch, max(1, positions)), outputs: options.outputs ?? options.sequences,
            sequences: options.sequences, positions: positions, cacheFormat: options.cacheFormat,
            precision: options.precision, profiles: options.profiles)
        executable = try device.compile(graph.program, options: execution)
        boundSegments = Mutex(feed == nil ? graph.program.segments.count : 0)
        feed?.setOrder(graph.shardsInOrder, thenOthers: experts == nil)
        // An expert's weights are bound when a token asks for it.
        executable.provide { [graph, shards] (weight, part) throws(ComputeError) in
            let source = graph.sources[weight.index][part]
            do {
                let layer = graph.expertLayers[weight]
                if let experts, let layer { return try experts.bytes(of: source, expert: part, layer: layer) }
                try feed?.wait(
                    for: source.shards, others: layer.map { graph.shards(ofExpert: part, in: $0) } ?? [])
                let bytes = try shards.bytes(of: source.tensor, range: source.range)
                return WeightBytes(bytes.buffer, owner: bytes.owner)
            } catch {
                throw ComputeError(.missing, "\(source.tensor.name): \(error)")
            }
        }
    }

    /// Ends the wait for weights that have not come, now and later: ``run(_:)`` throws instead.
    public func cancelLoading() {
        feed?.cancel()
        experts?.cancel()
    }

    /// Lets a batch go through the network; waits for weights that are still on their way.
    public func run(_ batch: Batch) throws {
        let count = graph.program.segments.count
        var bound = boundSegments.withLock { $0 }
        guard bound < count else { return try executable.run(batch) }
        if bound > 0 { try executable.run(batch, segments: 0..<bound) }
        while bound < count {
            for weight in graph.program.segments[bound].weights where graph.expertLayers[weight] == nil {
                try feed?.wait(for: graph.sources[weight.index][0].shards)
                try bind(weight.index)
            }
            try executable.run(batch, segments: bound..<bound + 1)
            bound += 1
            boundSegments.withLock { $0 = bound }
        }
    }

    /// Whether weights are bound when the model is loaded from its folder.
    private func isBoundFirst(_ weight: WeightID) -> Bool { experts == nil || graph.expertLayers[weight] == nil }

    /// How many positions of each sequence there is room for.
    private static func positions(
        _ architecture: ModelArchitecture, _ program: Program, _ options: ModelOptions
    ) throws(InferenceError) -> Int {
        guard options.batch > 0, options.sequences > 0, options.sequences <= 1 << 16, options.context ?? 1 > 0 else {
            throw InferenceError(
                .invalidOption, at: "options", "batches, sequences and context have at least one token",
                advice: "use positive numbers")
        }
        let wanted = min(options.context ?? architecture.context, architecture.context)
        if let context = options.context, context > architecture.context {
            throw InferenceError(
                .invalidOption, at: "context",
                "\(context) tokens are more than the model was made for, "
                    + "\(architecture.context)",
                advice: "ask for no more")
        }
        let one = ExecutionOptions(
            tokens: 1, sequences: options.sequences, positions: 1, cacheFormat: options.cacheFormat)
        let bytes = max(1, one.cacheBytes(of: program))
        let allowed = options.cacheLimit / bytes
        guard allowed >= min(wanted, options.context ?? 1) else {
            throw InferenceError(
                .tooLong, at: "context",
                "keys and values take \(bytes) bytes a token, and \(options.cacheLimit) are allowed: too few for "
                    + "\(options.context ?? 1) tokens",
                advice: "allow more memory, ask for less context, or store them in a smaller format")
        }
        return min(wanted, allowed)
    }

    /// The divisors of the frequencies that pairs turn by, where the model brings them: a small tensor that the network's
    /// layout depends on.
    private static func ropeFactors(
        _ manifest: RDRRManifest, _ shards: MappedShards, _ architecture: ModelArchitecture
    ) throws -> [Float]? {
        let name = TensorNames.ropeFactors
        guard let tensor = manifest.tensor(named: name) else { return nil }
        guard tensor.dtype == "F32", tensor.shape == [architecture.rotated / 2] else {
            throw InferenceError(
                .mismatch, at: name,
                "it is \(tensor.dtype) of shape \(tensor.shape), not F32 of "
                    + "[\(architecture.rotated / 2)]",
                advice: "get the model again")
        }
        let bytes = try shards.bytes(of: tensor, range: 0..<tensor.size)
        let factors = withExtendedLifetime(bytes.owner) { BlockFormat.f32.numbers(bytes.buffer) }
        guard factors.allSatisfy({ $0 > 0 && $0.isFinite }) else {
            throw InferenceError(
                .invalidNumbers, at: name, "a divisor is not a positive number", advice: "get the model again")
        }
        return factors
    }

    // MARK: Weights

    private func bind(_ weight: Int) throws {
        for (part, source) in graph.sources[weight].enumerated() {
            let bytes = try shards.bytes(of: source.tensor, range: source.range)
            let id = WeightID(index: weight)
            guard let format = source.widens else {
                try executable.bind(id, part: part, to: WeightBytes(bytes.buffer, owner: bytes.owner))
                continue
            }
            let numbers = format.numbers(bytes.buffer)
            let memory = try numbers.withUnsafeBytes { try HostMemory(copying: $0, for: source.tensor.name) }
            let widened = UnsafeRawBufferPointer(start: memory.base, count: numbers.count * 4)
            try executable.bind(id, part: part, to: WeightBytes(widened, owner: memory))
        }
    }
}
