// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// A matrix whose product is wanted, and where to: row r of column c goes to `output[c · stride + r]`.
public struct MatrixProduct {
    let matrix: WeightMatrix
    let output: UnsafeMutablePointer<Float>
    let stride: Int

    /// A product into memory of the caller.
    public init(_ matrix: WeightMatrix, into output: UnsafeMutablePointer<Float>, stride: Int) {
        self.matrix = matrix
        self.output = output
        self.stride = stride
    }
}

extension CPUBackend {
    /// Products of several matrices with the same columns, `output = W · x`: threads meet once for all of them.
    ///
    /// - Parameters:
    ///   - products: matrices whose rows are as long as a column.
    ///   - values: the columns one after the other.
    ///   - count: how many columns there are; none is no work.
    public func multiply(
        _ products: UnsafeBufferPointer<MatrixProduct>, by values: UnsafePointer<Float>, length: Int, count: Int,
        precision: Precision
    ) throws(ComputeError) {
        guard let base = products.baseAddress, count > 0 else { return }
        var quantizes = false
        var rows = 0
        for product in products {
            guard product.matrix.columns == length else {
                throw ComputeError(
                    .shape, "columns of \(length) activations for rows of \(product.matrix.columns) weights")
            }
            quantizes = quantizes || product.matrix.format.isQuantized
            rows += product.matrix.rows
        }
        var job = ProductJob(
            products: base, count: products.count, values: values, length: length, columns: count,
            instructions: instructions)
        if quantizes && precision == .bytes {
            let columns = try quantize(values, length: length, count: count)
            job.quants = UnsafePointer(columns.quants)
            job.notes = UnsafePointer(columns.notes)
        }
        let room = scratch(length: job.scratchLength)
        job.scratch = room.base
        job.scratchStride = room.stride
        // A router's few rows are done before another thread has begun.
        if threads == 1 || rows * length * count < Self.worthMeeting { return job.runAlone() }
        job.split(into: threads)
        job.counters = counters
        for part in 0..<threads { counters[part * Self.counterStride] = job.units * part / threads }
        withUnsafePointer(to: &job) { job in
            pool.run(UnsafeRawPointer(job)) { context, part, parts in
                context.assumingMemoryBound(to: ProductJob.self).pointee.run(part, parts)
            }
        }
    }

    /// Multiplications that are worth a meeting of threads, which takes about a microsecond.
    private static let worthMeeting = 32_768

    /// The product of one matrix with columns: `output` takes a column of `matrix.rows` numbers for each of them.
    public func multiply(
        _ matrix: WeightMatrix, by values: Span<Float>, into output: inout MutableSpan<Float>,
        precision: Precision
    ) throws(ComputeError) {
        guard values.count % matrix.columns == 0 else {
            throw ComputeError(.shape, "\(values.count) activations are no whole columns of \(matrix.columns)")
        }
        let count = values.count / matrix.columns
        guard output.count == count * matrix.rows else {
            throw ComputeError(
                .shape, "room for \(output.count) results of \(count) columns by \(matrix.rows) rows")
        }
        guard count > 0 else { return }
        try values.withUnsafeBufferPointer { values throws(ComputeError) in
            try output.withUnsafeMutableBufferPointer { output throws(ComputeError) in
                guard let values = values.baseAddress, let output = output.baseAddress else { return }
                var product = MatrixProduct(matrix, into: output, stride: matrix.rows)
                try withUnsafePointer(to: &product) { product throws(ComputeError) in
                    try multiply(
                        UnsafeBufferPointer(start: product, count: 1), by: values, length: matrix.columns,
                        count: count, precision: precision)
                }
            }
        }
    }
}

/// Several matrices by the same columns. Rows are cut into units of about the same size; each thread takes those of its
/// share in order, and then what others have not come to: a processor may be slower than another, or busy.
private struct ProductJob {
    let products: UnsafePointer<MatrixProduct>
    let count: Int
    let values: UnsafePointer<Float>
    let length: Int
    let columns: Int
    let instructions: InstructionSet
    var quants: UnsafePointer<Int8>?
    var notes: UnsafePointer<Float>?
    var scratch: UnsafeMutablePointer<Float>?
    var scratchStride = 0
    var counters: UnsafeMutablePointer<Int>?
    var units = 0
    private var unitBytes = 0

    /// Columns that stay in the caches next to the processor while the rows of a unit go by.
    private static let columnsAtATime = 128

    /// Units of each thread: few, as each thread reads on where it was; enough to even things out.
    private static let unitsEach = 6

    /// Rows of a unit are a multiple of what the widest kernels take.
    private static let rowsAtATime = 16

    init(
        products: UnsafePointer<MatrixProduct>, count: Int, values: UnsafePointer<Float>, length: Int, columns: Int,
        instructions: InstructionSet
    ) {
        self.products = products
        self.count = count
        self.values = values
        self.length = length
        self.columns = columns
        self.instructions = instructions
    }

    /// Numbers of scratch that a thread needs: some rows as single-precision numbers, or what the kernels want.
    var scratchLength: Int {
        if quants != nil && columns > 1 { return max(compute_scratch(length / 32) / 4, 4 * (length + 16)) }
        return columns > 1 ? 4 * (length + 16) : 0
    }

    mutating func split(into parts: Int) {
        var bytes = 0
        for index in 0..<count { bytes += products[index].matrix.rows * products[index].matrix.rowBytes }
        unitBytes = max(1, bytes / (parts * Self.unitsEach))
        units = 0
        for index in 0..<count {
            let rows = products[index].matrix.rows
            let each = rowsOfUnit(index)
            units += (rows + each - 1) / each
        }
    }

    private func rowsOfUnit(_ index: Int) -> Int {
        let rows = unitBytes / products[index].matrix.rowBytes
        return max(1, (rows + Self.rowsAtATime / 2) / Self.rowsAtATime) * Self.rowsAtATime
    }

    func runAlone() {
        for index in 0..<count { run(index, 0..<products[index].matrix.rows, 0) }
    }

    func run(_ part: Int, _ parts: Int) {
        guard let counters else { return }
        for other in 0..<parts {
            let share = (part + other) % parts
            let end = units * (share + 1) / parts
            while true {
                let unit = compute_take(counters + share * CPUBackend.counterStride)
                guard unit < end else { break }
                run(unit: unit, part)
            }
        }
    }

    private func run(unit: Int, _ part: Int) {
        var first = 0
        for index in 0..<count {
            let rows = products[index].matrix.rows
            let each = rowsOfUnit(index)
            let units = (rows + each - 1) / each
            if unit < first + units {
                let start = (unit - first) * each
                return run(index, start..<min(rows, start + each), part)
            }
            first += units
        }
    }

    private func run(_ index: Int, _ rows: Range<Int>, _ part: Int) {
        let product = products[index]
        let matrix = product.matrix
        let scratch = scratch.map { $0 + part * scratchStride }
        if matrix.format.isQuantized, let quants, let notes {
            multiplyBytes(product, rows, quants, notes, scratch)
        } else if columns == 1 {
            instructions.products(
                matrix.format, matrix.base + rows.lowerBound * matrix.rowBytes, stride: matrix.rowBytes,
                count: rows.count, with: values, length: length, into: product.output + rows.lowerBound)
        } else if let scratch {
            multiplySingles(product, rows, scratch)
        }
    }

    private func multiplyBytes(
        _ product: MatrixProduct, _ rows: Range<Int>, _ quants: UnsafePointer<Int8>, _ notes: UnsafePointer<Float>,
        _ scratch: UnsafeMutablePointer<Float>?
    ) {
        let blocks = length / 32
        let noteStride = compute_note_stride(blocks) * Int(COMPUTE_LISTS)
        var first = 0
        while first < columns {
            let count = min(Self.columnsAtATime, columns - first)
            var piece = compute_product(
                weights: product.matrix.base.assumingMemoryBound(to: UInt8.self),
                row_bytes: product.matrix.rowBytes, blocks: blocks, quants: quants + first * length,
                notes: notes + first * noteStride, columns: count, output: product.output + first * product.stride,
                output_stride: product.stride, format: CInt(product.matrix.format.rawValue), scratch: scratch)
            instructions.multiply(&piece, format: product.matrix.format, rows: rows)
            first += count
        }
    }

    private func multiplySingles(_ product: MatrixProduct, _ rows: Range<Int>, _ scratch: UnsafeMutablePointer<Float>) {
        let matrix = product.matrix
        var row = rows.lowerBound
        while row < rows.upperBound {
            let count = min(4, rows.upperBound - row)
            var weights = UnsafePointer(scratch)
            var stride = length + 16
            if matrix.isPlain {
                weights = (matrix.base + row * matrix.rowBytes).assumingMemoryBound(to: Float.self)
                stride = length
            } else {
                for index in 0..<count {
                    instructions.widen(
                        matrix.format, matrix.base + (row + index) * matrix.rowBytes, length: length,
                        into: scratch + index * stride)
                }
            }
            instructions.columns(
                weights, rowStride: stride, rowCount: count, values, stride: length, count: columns, length: length,
                into: product.output + row, outputStride: product.stride)
            row += count
        }
    }
}
