// SPDX-License-Identifier: Apache-2.0

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
///
/// Rows of a head that follow each other are read two to three times as fast as those between which other heads lie.
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
        let multiplications = 2 * shape.heads * shape.headLength * count * min(first + count, shape.window ?? .max)
        let meets = threads > 1 && multiplications >= Self.worthMeeting
        job.plan(meets ? threads : 1)
        let room = try scratch(length: job.scratchLength, shared: job.sharedLength)
        job.scratch = room.base
        job.scratchStride = room.stride
        job.shared = room.shared
        counters[0] = 0
        guard meets else { return job.run(0) }
        withUnsafePointer(to: &job) { job in
            pool.run(UnsafeRawPointer(job)) { context, part, _ in
                context.assumingMemoryBound(to: AttentionJob.self).pointee.run(part)
            }
        }
        if job.parts > 1 { job.merge() }
    }
}
