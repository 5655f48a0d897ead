// SPDX-License-Identifier: Apache-2.0

internal import Glibc

/// How fast kernels are, with weights that no cache holds all of.
public struct KernelBenchmark: Sendable {
    /// What was measured.
    public struct Result: Hashable, Sendable, CustomStringConvertible {
        /// The format of the weights, or of keys and values.
        public let format: BlockFormat
        /// How products were taken; attention always has single precision.
        public let precision: Precision
        /// The instructions.
        public let instructions: InstructionSet
        /// Threads that worked.
        public let threads: Int
        /// What was multiplied or looked at, such as `1536 × 576 by 128`.
        public let shape: String
        /// Seconds for one such product, or for one layer's attention.
        public let seconds: Double
        /// Bytes of weights, or of keys and values, read in a second, divided by 10^9.
        public let gigabytesPerSecond: Double
        /// Multiplications and additions in a second, divided by 10^9.
        public let gigaflops: Double

        /// One line of a table.
        public var description: String {
            func padded(_ text: String, _ width: Int) -> String {
                text + String(repeating: " ", count: max(1, width - text.count))
            }
            func number(_ value: Double) -> String {
                let tenths = Int((value * 10).rounded())
                return "\(tenths / 10).\(tenths % 10)"
            }
            return padded(format.name, 6) + padded(precision.rawValue, 8) + padded(instructions.rawValue, 10)
                + padded("\(threads) threads", 11) + padded(shape, 28) + padded("\(number(seconds * 1e6)) us", 13)
                + padded("\(number(gigabytesPerSecond)) GB/s", 12) + "\(number(gigaflops)) GFLOP/s"
        }
    }

    /// Rows of the weights. The usual ones are those of a feed-forward matrix of SmolLM2-135M.
    public var rows = 1536
    /// Weights of a row.
    public var rowLength = 576
    /// Bytes of all copies of the weights that follow each other, so that each product reads others.
    public var bytes = 96 << 20
    /// How long each figure is measured.
    public var duration = Duration.milliseconds(200)

    /// The measurement with its usual sizes.
    public init() {}

    /// Measures one kernel; the best time counts, as others on the machine only ever slow one down.
    public func measure(
        _ format: BlockFormat, _ precision: Precision, backend: CPUBackend, columns: Int
    ) throws(ComputeError) -> Result {
        guard columns > 0, let size = format.byteCount(of: rows * rowLength), size > 0 else {
            throw ComputeError(.shape, "\(rows) rows of \(rowLength) weights do not fill blocks of \(format.name)")
        }
        let copies = max(1, bytes / size)
        let memory = Memory(byteCount: size * copies)
        let values = [Float](unsafeUninitializedCapacity: rowLength * columns) { buffer, count in
            for i in 0..<rowLength * columns { buffer[i] = Float(i % 17) - 8 }
            count = rowLength * columns
        }
        let output = UnsafeMutablePointer<Float>.allocate(capacity: rows * columns)
        defer { output.deallocate() }
        // Some 4 MB at a time, which a neighbour on the processor interrupts less often than it does all of them.
        let together = max(1, min(copies, (4 << 20) / (size * columns)))
        var copy = 0
        let seconds =
            try best { () throws(ComputeError) in
                for _ in 0..<together {
                    let slice = UnsafeRawBufferPointer(rebasing: memory.bytes[(copy * size)..<(copy * size + size)])
                    var product = MatrixProduct(
                        try WeightMatrix(slice, format: format, rows: rows, columns: rowLength), into: output,
                        stride: rows)
                    try withUnsafePointer(to: &product) { product throws(ComputeError) in
                        try backend.multiply(
                            UnsafeBufferPointer(start: product, count: 1), by: values, length: rowLength,
                            count: columns,
                            precision: precision)
                    }
                    copy = (copy + 1) % copies
                }
            } / Double(together)
        return Result(
            format: format, precision: precision, instructions: backend.instructions, threads: backend.threads,
            shape: "\(rows) x \(rowLength) by \(columns)", seconds: seconds,
            gigabytesPerSecond: Double(size) / seconds / 1e9,
            gigaflops: 2 * Double(rows * rowLength * columns) / seconds / 1e9)
    }

    /// Measures the attention of one layer: of `count` tokens, the first at position `first`.
    public func measureAttention(
        _ format: BlockFormat, backend: CPUBackend, shape: AttentionShape, first: Int, count: Int
    ) throws(ComputeError) -> Result {
        guard first >= 0, count > 0, let rowBytes = format.byteCount(of: shape.headLength) else {
            throw ComputeError(.shape, "heads of \(shape.headLength) numbers do not fill blocks of \(format.name)")
        }
        let positions = first + count
        let size = positions * shape.keyValueHeads * rowBytes
        let layers = max(1, min(64, bytes / (2 * size)))
        let memory = Memory(byteCount: 2 * size * layers)
        let length = shape.heads * shape.headLength
        let queries = [Float](unsafeUninitializedCapacity: count * length) { buffer, initialized in
            for i in 0..<count * length { buffer[i] = Float(i % 17) / 8 - 1 }
            initialized = count * length
        }
        let output = UnsafeMutablePointer<Float>.allocate(capacity: count * length)
        defer { output.deallocate() }
        var layer = 0
        let seconds = try best { () throws(ComputeError) in
            func rows(_ index: Int) throws(ComputeError) -> CachedRows {
                try CachedRows(
                    UnsafeRawBufferPointer(rebasing: memory.bytes[(index * size)..<(index * size + size)]),
                    format: format, shape: shape, rowStride: rowBytes, headStride: positions * rowBytes,
                    count: positions)
            }
            try backend.attend(
                queries, first: first, count: count, keys: rows(2 * layer), values: rows(2 * layer + 1), shape: shape,
                into: output)
            layer = (layer + 1) % layers
        }
        // Each token sees those before it and itself; a product with a key, and one with a value.
        let seen = (0..<count).reduce(0) { $0 + min(first + $1 + 1, shape.window ?? .max) }
        return Result(
            format: format, precision: .single, instructions: backend.instructions, threads: backend.threads,
            shape: "\(count) of \(positions), \(shape.heads)/\(shape.keyValueHeads)/\(shape.headLength)",
            seconds: seconds, gigabytesPerSecond: Double(2 * size) / seconds / 1e9,
            gigaflops: 4 * Double(seen * length) / seconds / 1e9)
    }

    /// The shortest time that `body` takes, in seconds.
    private func best(_ body: () throws(ComputeError) -> Void) throws(ComputeError) -> Double {
        let clock = ContinuousClock()
        try body()
        let end = clock.now + duration
        var best = Duration.seconds(1_000_000)
        repeat {
            let start = clock.now
            try body()
            best = min(best, clock.now - start)
        } while clock.now < end
        return max(1e-9, best / .seconds(1))
    }

    /// Bytes in large pages, as files of weights mostly are in the system's cache; halves among them are below 2, so that
    /// no product is infinite.
    private final class Memory {
        let bytes: UnsafeMutableRawBufferPointer

        init(byteCount: Int) {
            let page = 2 << 20
            bytes = .allocate(byteCount: (byteCount + page - 1) & ~(page - 1), alignment: page)
            madvise(bytes.baseAddress, bytes.count, MADV_HUGEPAGE)
            for i in bytes.indices { bytes[i] = UInt8(truncatingIfNeeded: i &* 37 &+ i >> 8) & 0x3F }
        }

        deinit {
            bytes.deallocate()
        }
    }
}
