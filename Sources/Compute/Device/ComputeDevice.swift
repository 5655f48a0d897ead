// SPDX-License-Identifier: Apache-2.0

/// What runs programs: the processor, or a device of Vulkan.
public protocol ComputeDevice: AnyObject, Sendable {
    /// Its name for people, with what was chosen for it: threads and instructions, or driver and features.
    var name: String { get }

    /// Makes of a program what can be run. Memory for activations and caches is taken here, that for weights when they
    /// are bound.
    func compile(_ program: Program, options: ExecutionOptions) throws(ComputeError) -> any Executable
}

/// For how much a program is compiled, and how it computes.
public struct ExecutionOptions: Hashable, Sendable {
    /// The most tokens of a batch.
    public var tokens: Int
    /// The most tokens of a batch whose result is wanted.
    public var outputs: Int
    /// Sequences that are kept beside each other.
    public var sequences: Int
    /// Positions that are kept of each.
    public var positions: Int
    /// How keys and values are stored: F32, F16 or Q8_0.
    public var cacheFormat: BlockFormat
    /// How products with quantised weights are taken.
    public var precision: Precision
    /// Whether times of operations are kept; it costs a little.
    public var profiles: Bool

    /// Options; the fast ones by default.
    public init(
        tokens: Int, outputs: Int = 1, sequences: Int = 1, positions: Int, cacheFormat: BlockFormat = .f16,
        precision: Precision = .integers, profiles: Bool = false
    ) {
        self.tokens = tokens
        self.outputs = outputs
        self.sequences = sequences
        self.positions = positions
        self.cacheFormat = cacheFormat
        self.precision = precision
        self.profiles = profiles
    }

    /// Bytes that the caches of a program take.
    public func cacheBytes(of program: Program) -> Int {
        program.caches.reduce(0) { $0 + 2 * (cacheFormat.byteCount(of: $1.rowLength) ?? 0) * sequences * positions }
    }

    func check(_ program: Program) throws(ComputeError) {
        guard tokens > 0, outputs > 0, sequences > 0, positions > 0, tokens <= 1 << 20, sequences <= 1 << 16,
            positions <= 1 << 24
        else {
            throw ComputeError(
                .shape, "batches of \(tokens) tokens, \(sequences) sequences of \(positions) positions")
        }
        guard cacheFormat.isEncodable else {
            throw ComputeError(
                .format, "keys and values are stored as F32, F16 or Q8_0, not as \(cacheFormat.name)")
        }
        for cache in program.caches where cacheFormat.byteCount(of: cache.headLength) == nil {
            throw ComputeError(
                .format, "heads of \(cache.headLength) numbers cannot be stored as \(cacheFormat.name)")
        }
    }
}

/// Bytes of weights in memory that somebody keeps: a mapped file, mostly.
public struct WeightBytes: @unchecked Sendable {
    // Unchecked: the memory is only read.

    /// The bytes.
    public let bytes: UnsafeRawBufferPointer
    /// Whoever keeps them where they are, as long as this lives.
    public let owner: AnyObject?

    /// Bytes that live as long as their owner; without one, as long as the executable they are bound to.
    public init(_ bytes: UnsafeRawBufferPointer, owner: AnyObject?) {
        self.bytes = bytes
        self.owner = owner
    }
}

/// Gives the bytes of a part of weights that was not bound when it was needed: an expert that a token asks for.
public typealias MissingWeights = (_ weight: WeightID, _ part: Int) throws(ComputeError) -> WeightBytes

/// A program on a device, with its weights and its caches. One caller at a time.
public protocol Executable: AnyObject, Sendable {
    /// What it was made of.
    var program: Program { get }
    /// For how much it was made.
    var options: ExecutionOptions { get }
    /// What it takes of the device's memory.
    var memory: MemoryUse { get }
    /// Times since the last ``resetTimings()``, if it was compiled to keep them.
    var timings: [OperationTiming] { get }

    /// Binds a part of weights to bytes. The processor uses them where they lie; others copy them.
    func bind(_ weight: WeightID, part: Int, to bytes: WeightBytes) throws(ComputeError)

    /// Asked for parts that are not bound when they are needed, on the thread that runs.
    func provide(missing: MissingWeights?)

    /// Runs segments of the program one after the other: all of them, or while weights still come a few. The batch is
    /// the same for all segments of a run.
    func run(_ batch: Batch, segments: Range<Int>) throws(ComputeError)

    /// A row of what a run left in an activation.
    func read(_ activation: Activation, row: Int, into values: inout MutableSpan<Float>) throws(ComputeError)

    /// The keys and then the values that are kept of positions of a sequence, in ``ExecutionOptions/cacheFormat``: rows
    /// of all heads, one position after the other.
    func readCache(_ cache: CacheID, sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8]

    /// Puts back what ``readCache(_:sequence:positions:)`` gave.
    func writeCache(
        _ cache: CacheID, sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>
    ) throws(ComputeError)

    /// Forgets the times.
    func resetTimings()
}

extension Executable {
    /// Runs the whole program.
    public func run(_ batch: Batch) throws(ComputeError) {
        try run(batch, segments: 0..<program.segments.count)
    }
}

/// Memory that an executable takes of its device, in bytes.
public struct MemoryUse: Hashable, Sendable {
    /// Weights: of the processor those that are mapped, which others share.
    public var weights: Int
    /// Keys and values.
    public var caches: Int
    /// Everything else.
    public var working: Int

    /// Memory of three kinds.
    public init(weights: Int, caches: Int, working: Int) {
        self.weights = weights
        self.caches = caches
        self.working = working
    }
}

/// How long operations of one kind took.
public struct OperationTiming: Hashable, Sendable {
    /// Which kind, with the format of its weights.
    public let name: String
    /// How often it ran.
    public var count: Int
    /// How long all of them took.
    public var duration: Duration

    /// Times of a kind of operations.
    public init(name: String, count: Int, duration: Duration) {
        self.name = name
        self.count = count
        self.duration = duration
    }
}
