// SPDX-License-Identifier: Apache-2.0

/// The processor that runs models: threads, the instructions they use, and what memory they work in.
///
/// One caller at a time. All arrays of activations are columns one after the other: of a token each, `length` numbers.
/// No memory for numbers is taken by a call that is no larger than one before it.
public final class CPUBackend: @unchecked Sendable {
    // Unchecked: there is one caller at a time, and threads write to places of their own.

    /// With which instructions kernels run.
    public let instructions: InstructionSet
    /// How many threads work, the caller among them.
    public var threads: Int { pool.count }

    let pool: ThreadPool
    private var quantized: QuantizedColumns?
    private var scratch: HostMemory?
    private var scratchLength = 0
    private var scratchShared = 0
    /// For each thread what it is to do next, a line of cache apart.
    let counters: UnsafeMutablePointer<Int>
    /// Numbers from one counter to the next: two lines, which some processors fetch together.
    static let counterStride = 16

    /// A processor with so many threads; instructions that it lacks are replaced by the best it has.
    public init(threads: Int, instructions: InstructionSet = .best) {
        self.instructions = instructions.isSupported ? instructions : .best
        pool = ThreadPool(threads: threads)
        counters = .allocate(capacity: pool.count * Self.counterStride)
        counters.initialize(repeating: 0, count: pool.count * Self.counterStride)
    }

    deinit { counters.deallocate() }

    /// Room for `length` numbers for each thread, at `base + thread * stride`, and for `shared` numbers of all of them;
    /// all on borders of lines of cache, which threads do not write to together.
    func scratch(
        length: Int, shared: Int = 0
    ) throws(ComputeError) -> (
        base: UnsafeMutablePointer<Float>, stride: Int, shared: UnsafeMutablePointer<Float>
    ) {
        let stride = (length + 31) & ~15
        let memory: HostMemory
        if let scratch, stride <= scratchLength, shared <= scratchShared {
            memory = scratch
        } else {
            let (length, all) = (max(stride, scratchLength), max(shared, scratchShared))
            memory = try HostMemory(byteCount: (length * threads + all) * 4, for: "what threads compute with")
            (scratch, scratchLength, scratchShared) = (memory, length, all)
        }
        let base = memory.base.assumingMemoryBound(to: Float.self)
        return (base, scratchLength, base + scratchLength * threads)
    }

    /// The columns as integers, in memory of this object.
    func quantize(_ values: UnsafePointer<Float>, length: Int, count: Int) throws(ComputeError) -> QuantizedColumns {
        let quantized: QuantizedColumns
        if let last = self.quantized, length * count <= last.capacity {
            quantized = last
        } else {
            quantized = try QuantizedColumns(capacity: length * count)
            self.quantized = quantized
        }
        try quantized.prepare(length: length, count: count)
        let blocks = length / 32 * count
        // Below this the threads would cost more than they bring: a block takes some 10 ns.
        if blocks < 512 {
            quantized.fill(values, blocks: 0..<blocks, with: instructions)
        } else {
            var job = QuantizeJob(
                values: values, columns: quantized, blocks: blocks, instructions: instructions)
            withUnsafePointer(to: &job) { job in
                pool.run(UnsafeRawPointer(job)) { context, part, parts in
                    let job = context.assumingMemoryBound(to: QuantizeJob.self).pointee
                    let blocks = share(of: job.blocks, part, parts, multiple: 1)
                    job.columns.fill(job.values + blocks.lowerBound * 32, blocks: blocks, with: job.instructions)
                }
            }
        }
        return quantized
    }

    private struct QuantizeJob {
        let values: UnsafePointer<Float>
        let columns: QuantizedColumns
        let blocks: Int
        let instructions: InstructionSet
    }
}

/// The part of `count` things that a thread takes; borders are multiples of `multiple`.
func share(of count: Int, _ part: Int, _ parts: Int, multiple: Int) -> Range<Int> {
    let units = (count + multiple - 1) / multiple
    let start = min(count, units * part / parts * multiple)
    let end = min(count, units * (part + 1) / parts * multiple)
    return start..<end
}
