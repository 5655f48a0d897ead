// SPDX-License-Identifier: Apache-2.0

/// How fast kernels are, with weights that no cache holds all of.
public struct KernelBenchmark: Sendable {
    /// What was measured.
    public struct Result: Hashable, Sendable, CustomStringConvertible {
        /// The format of the weights.
        public let format: BlockFormat
        /// How products were taken.
        public let precision: Precision
        /// The instructions.
        public let instructions: InstructionSet
        /// Threads that worked.
        public let threads: Int
        /// Columns that the weights were multiplied with at a time.
        public let columns: Int
        /// Bytes of weights read in a second, divided by 10^9.
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
                + padded("\(threads) threads", 11) + padded("\(columns) columns", 13)
                + padded("\(number(gigabytesPerSecond)) GB/s", 14) + "\(number(gigaflops)) GFLOP/s"
        }
    }

    /// Rows and columns of the weights: those of a feed-forward matrix of a model of 135 million weights, times `copies`
    /// so that each pass reads other weights.
    public var rows = 1536
    /// Weights of a row, a multiple of 256.
    public var rowLength = 768
    /// How many such matrices follow each other.
    public var copies = 48
    /// How long each figure is measured.
    public var duration = Duration.milliseconds(200)

    /// The measurement with its usual sizes.
    public init() {}

    /// Measures one kernel; the best pass counts, as others on the machine only ever slow one down.
    public func measure(
        _ format: BlockFormat, _ precision: Precision, backend: CPUBackend, columns: Int
    ) throws(ComputeError) -> Result {
        guard let size = format.byteCount(of: rows * rowLength) else {
            throw ComputeError(.shape, "\(rows) rows of \(rowLength) weights do not fill blocks of \(format.name)")
        }
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: size * copies, alignment: 64)
        defer { bytes.deallocate() }
        // Halves below 2, so that no product is infinite: every scale lies in bytes of these.
        for i in bytes.indices { bytes[i] = UInt8(truncatingIfNeeded: i &* 37 &+ i >> 8) & 0x3F }

        let values = UnsafeMutablePointer<Float>.allocate(capacity: rowLength * columns)
        let output = UnsafeMutablePointer<Float>.allocate(capacity: rows * columns)
        defer {
            values.deallocate()
            output.deallocate()
        }
        for i in 0..<rowLength * columns { values[i] = Float(i % 17) - 8 }

        let clock = ContinuousClock()
        let end = clock.now + duration
        var best = Duration.seconds(1_000_000)
        repeat {
            let start = clock.now
            for copy in 0..<copies {
                let slice = UnsafeRawBufferPointer(rebasing: bytes[(copy * size)..<(copy * size + size)])
                var product = MatrixProduct(
                    try WeightMatrix(slice, format: format, rows: rows, columns: rowLength), into: output, stride: rows)
                try withUnsafePointer(to: &product) { product throws(ComputeError) in
                    try backend.multiply(
                        UnsafeBufferPointer(start: product, count: 1), by: values, length: rowLength, count: columns,
                        precision: precision)
                }
            }
            best = min(best, clock.now - start)
        } while clock.now < end
        let seconds = max(1e-9, best / .seconds(1))
        return Result(
            format: format, precision: precision, instructions: backend.instructions, threads: backend.threads,
            columns: columns, gigabytesPerSecond: Double(size * copies) / seconds / 1e9,
            gigaflops: 2 * Double(rows * rowLength * copies * columns) / seconds / 1e9)
    }
}
