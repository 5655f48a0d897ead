// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// How heads of queries look at heads of keys and values.
public struct AttentionShape: Hashable, Sendable {
    /// Heads of queries.
    public let heads: Int
    /// Heads of keys and values, each shared by as many heads of queries as the first number is a multiple.
    public let keyValueHeads: Int
    /// Numbers of a head.
    public let headLength: Int
    /// What products of queries and keys are multiplied with, mostly 1/√headLength.
    public let scale: Float
    /// How many positions a query sees, its own included; all before it when `nil`.
    public let window: Int?

    /// A shape whose numbers fit each other.
    public init(
        heads: Int, keyValueHeads: Int, headLength: Int, scale: Float? = nil, window: Int? = nil
    ) throws(ComputeError) {
        guard heads > 0, keyValueHeads > 0, heads % keyValueHeads == 0, headLength > 0, window ?? 1 > 0 else {
            throw ComputeError(
                .shape, "\(heads) heads of \(headLength) numbers cannot share \(keyValueHeads) heads of keys")
        }
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headLength = headLength
        self.scale = scale ?? 1 / Float(headLength).squareRoot()
        self.window = window
    }
}

/// Keys or values of a sequence in one layer, in memory of somebody else: a row of `headLength` numbers for each position
/// and head.
public struct CachedRows: @unchecked Sendable {
    // Unchecked: kernels only read the memory.

    let base: UnsafeRawPointer
    /// How the numbers are stored.
    public let format: BlockFormat
    /// Bytes from one position to the next.
    public let rowStride: Int
    /// Bytes from one head to the next.
    public let headStride: Int
    /// Positions that are stored, from 0.
    public let count: Int

    /// Rows in memory of somebody else.
    public init(
        _ bytes: UnsafeRawBufferPointer, format: BlockFormat, shape: AttentionShape, rowStride: Int, headStride: Int,
        count: Int
    ) throws(ComputeError) {
        guard format.isEncodable, let rowBytes = format.byteCount(of: shape.headLength) else {
            throw ComputeError(
                .format, "keys and values of \(shape.headLength) numbers cannot be stored as \(format.name)")
        }
        guard count > 0, rowStride >= 0, headStride >= 0, let base = bytes.baseAddress,
            Self.end(of: shape.keyValueHeads, headStride, count, rowStride, rowBytes) <= bytes.count
        else {
            throw ComputeError(
                .shape, "\(count) positions of \(shape.keyValueHeads) heads do not fit \(bytes.count) bytes")
        }
        self.base = base
        self.format = format
        self.rowStride = rowStride
        self.headStride = headStride
        self.count = count
    }

    /// Where the last row ends; as large as can be when it overflows.
    private static func end(of heads: Int, _ headStride: Int, _ count: Int, _ rowStride: Int, _ rowBytes: Int) -> Int {
        let (a, first) = (heads - 1).multipliedReportingOverflow(by: headStride)
        let (b, second) = (count - 1).multipliedReportingOverflow(by: rowStride)
        let (c, third) = a.addingReportingOverflow(b)
        let (d, fourth) = c.addingReportingOverflow(rowBytes)
        return first || second || third || fourth ? .max : d
    }
}

extension CPUBackend {
    /// What queries read from the values of the positions that they see, by softmax(scale · q·k).
    ///
    /// - Parameters:
    ///   - queries: of tokens one after the other, each `heads · headLength` numbers.
    ///   - first: the position of the first token; each sees its own position and those before it.
    ///   - count: how many tokens there are; their keys and values are stored.
    ///   - output: takes as many numbers as there are queries.
    public func attend(
        _ queries: UnsafePointer<Float>, first: Int, count: Int, keys: CachedRows, values: CachedRows,
        shape: AttentionShape, into output: UnsafeMutablePointer<Float>
    ) throws(ComputeError) {
        guard count > 0 else { return }
        guard first >= 0, first <= keys.count - count, first <= values.count - count else {
            throw ComputeError(
                .shape, "positions \(first) and \(count - 1) more are not stored: there are \(keys.count)")
        }
        var job = AttentionJob(
            queries: queries, first: first, count: count, keys: keys, values: values, shape: shape, output: output,
            instructions: instructions, counter: counters)
        job.plan(threads)
        let room = scratch(length: job.scratchLength, shared: job.sharedLength)
        job.scratch = room.base
        job.scratchStride = room.stride
        job.shared = room.shared
        counters[0] = 0
        withUnsafePointer(to: &job) { job in
            pool.run(UnsafeRawPointer(job)) { context, part, _ in
                context.assumingMemoryBound(to: AttentionJob.self).pointee.run(part)
            }
        }
        if job.parts > 1 { job.merge() }
    }
}

/// What each head of keys has to do with some tokens is one item; where there are few tokens, a part of the positions.
private struct AttentionJob {
    let queries: UnsafePointer<Float>
    let first: Int
    let count: Int
    let keys: CachedRows
    let values: CachedRows
    let shape: AttentionShape
    let output: UnsafeMutablePointer<Float>
    let instructions: InstructionSet
    let counter: UnsafeMutablePointer<Int>
    var scratch: UnsafeMutablePointer<Float>?
    var scratchStride = 0
    var shared: UnsafeMutablePointer<Float>?

    /// Tokens of an item.
    private var tokens = 1
    private var blocks = 1
    /// Parts of the positions that are looked at apart.
    private(set) var parts = 1

    init(
        queries: UnsafePointer<Float>, first: Int, count: Int, keys: CachedRows, values: CachedRows,
        shape: AttentionShape, output: UnsafeMutablePointer<Float>, instructions: InstructionSet,
        counter: UnsafeMutablePointer<Int>
    ) {
        self.queries = queries
        self.first = first
        self.count = count
        self.keys = keys
        self.values = values
        self.shape = shape
        self.output = output
        self.instructions = instructions
        self.counter = counter
    }

    /// Queries of an item: enough for keys and values to be worth being unpacked for them, and few enough to stay in the
    /// caches next to the processor.
    private static let queriesAtATime = 48
    /// Positions that are worth being looked at apart.
    private static let worthParting = 64

    private var group: Int { shape.heads / shape.keyValueHeads }

    mutating func plan(_ threads: Int) {
        tokens = min(count, max(1, Self.queriesAtATime / group))
        blocks = (count + tokens - 1) / tokens
        guard threads > 1, blocks == 1 else { return }
        parts = max(1, min(threads, seen(by: 0..<count).count / Self.worthParting))
    }

    /// Positions that some of these tokens see.
    private func seen(by tokens: Range<Int>) -> Range<Int> {
        let start = max(0, first + tokens.lowerBound + 1 - (shape.window ?? first + count))
        return start..<(first + tokens.upperBound)
    }

    var scratchLength: Int { compute_attention_scratch(shape.headLength, tokens * group) }

    /// Of each query in each part: the sums of values, the largest product, the sum of powers.
    var sharedLength: Int { parts == 1 ? 0 : parts * count * shape.heads * (compute_padded(shape.headLength) + 2) }

    func run(_ thread: Int) {
        let items = shape.keyValueHeads * blocks * parts
        while true {
            let item = compute_take(counter)
            guard item < items else { return }
            // Later tokens see more: the longest items come first.
            let block = blocks - 1 - item / (shape.keyValueHeads * parts)
            run(head: item / parts % shape.keyValueHeads, block: block, part: item % parts, thread)
        }
    }

    private func run(head: Int, block: Int, part: Int, _ thread: Int) {
        let range = block * tokens..<min(count, block * tokens + tokens)
        let seen = seen(by: range)
        let offset = range.lowerBound * shape.heads * shape.headLength + head * group * shape.headLength
        let queryCount = range.count * group
        var attention = compute_attention(
            queries: queries + offset, query_stride: shape.heads * shape.headLength,
            keys: (keys.base + head * keys.headStride).assumingMemoryBound(to: UInt8.self),
            values: (values.base + head * values.headStride).assumingMemoryBound(to: UInt8.self),
            key_stride: keys.rowStride, value_stride: values.rowStride, key_format: CInt(keys.format.rawValue),
            value_format: CInt(values.format.rawValue), length: shape.headLength, group: group,
            first: first + range.lowerBound, count: range.count, window: shape.window ?? first + count,
            begin: seen.lowerBound + seen.count * part / parts, end: seen.lowerBound + seen.count * (part + 1) / parts,
            scale: shape.scale, output: output + offset, sums: nil, largest: nil, powers: nil,
            scratch: scratch.map { $0 + thread * scratchStride })
        if parts > 1, let shared {
            let padded = compute_padded(shape.headLength)
            let sums = shared + (head * parts + part) * queryCount * (padded + 2)
            attention.sums = sums
            attention.largest = sums + queryCount * padded
            attention.powers = sums + queryCount * (padded + 1)
        }
        instructions.attend(&attention)
    }

    /// Puts the parts of each query together, by the largest product of all.
    func merge() {
        guard let shared else { return }
        let padded = compute_padded(shape.headLength)
        let queryCount = count * group
        for head in 0..<shape.keyValueHeads {
            let pieces = shared + head * parts * queryCount * (padded + 2)
            for query in 0..<queryCount {
                let target = output
                    + (query / group * shape.heads + head * group + query % group) * shape.headLength
                merge(pieces, query, queryCount, padded, into: target)
            }
        }
    }

    private func merge(
        _ pieces: UnsafeMutablePointer<Float>, _ query: Int, _ queryCount: Int, _ padded: Int,
        into target: UnsafeMutablePointer<Float>
    ) {
        let stride = queryCount * (padded + 2)
        var largest = -Float.infinity
        for part in 0..<parts { largest = max(largest, pieces[part * stride + queryCount * padded + query]) }
        var sum: Float = 0
        for i in 0..<shape.headLength { target[i] = 0 }
        for part in 0..<parts {
            let piece = pieces + part * stride
            let powers = piece[queryCount * (padded + 1) + query]
            // A part may have seen nothing.
            if powers == 0 { continue }
            let factor = VectorMath.exp(SIMD8(repeating: piece[queryCount * padded + query] - largest))[0]
            sum += powers * factor
            for i in 0..<shape.headLength { target[i] += piece[query * padded + i] * factor }
        }
        let inverse = 1 / sum
        for i in 0..<shape.headLength { target[i] *= inverse }
    }
}
