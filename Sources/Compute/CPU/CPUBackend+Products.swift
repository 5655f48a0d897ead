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
        (job.scratch, job.scratchStride) = scratch(length: length)
        // A router's few rows are done before another thread has begun.
        if rows * length * count < Self.worthMeeting { return job.run(0, 1) }
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

extension BlockFormat {
    /// Whether a row is multiplied with a column where it lies, without being unpacked to memory first.
    fileprivate var hasRowKernel: Bool {
        switch self {
        case .f32, .f16, .bf16, .q4_1, .q8_0: true
        default: false
        }
    }
}

/// Several matrices by the same columns; each thread takes a run of rows of every matrix.
private struct ProductJob {
    let products: UnsafePointer<MatrixProduct>
    let count: Int
    let values: UnsafePointer<Float>
    let length: Int
    let columns: Int
    let instructions: InstructionSet
    var quants: UnsafePointer<Int8>?
    var notes: UnsafePointer<compute_note>?
    var scratch: UnsafeMutablePointer<Float>?
    var scratchStride = 0

    /// Columns that stay in the caches next to the processor while the rows of a share go by.
    private static let columnsAtATime = 32

    func run(_ part: Int, _ parts: Int) {
        for index in 0..<count {
            let product = products[index]
            let rows = share(of: product.matrix.rows, part, parts, multiple: instructions.rowsAtATime)
            if rows.isEmpty { continue }
            if product.matrix.format.isQuantized, let quants, let notes {
                multiplyBytes(product, rows, quants, notes)
            } else if columns == 1, product.matrix.format.hasRowKernel {
                instructions.products(
                    product.matrix.format, product.matrix.base + rows.lowerBound * product.matrix.rowBytes,
                    stride: product.matrix.rowBytes, count: rows.count, with: values, length: length, scale: 1,
                    into: product.output + rows.lowerBound)
            } else if let scratch {
                multiplySingles(product, rows, scratch + part * scratchStride)
            }
        }
    }

    private func multiplyBytes(
        _ product: MatrixProduct, _ rows: Range<Int>, _ quants: UnsafePointer<Int8>,
        _ notes: UnsafePointer<compute_note>
    ) {
        let blocks = length / 32
        var first = 0
        while first < columns {
            let count = min(Self.columnsAtATime, columns - first)
            var piece = compute_product(
                weights: product.matrix.base.assumingMemoryBound(to: UInt8.self),
                row_bytes: product.matrix.rowBytes, blocks: blocks, quants: quants + first * length,
                notes: notes + first * blocks, columns: count, output: product.output + first * product.stride,
                output_stride: product.stride, format: CInt(product.matrix.format.rawValue))
            instructions.multiply(&piece, format: product.matrix.format, rows: rows)
            first += count
        }
    }

    private func multiplySingles(_ product: MatrixProduct, _ rows: Range<Int>, _ scratch: UnsafeMutablePointer<Float>) {
        let matrix = product.matrix
        for row in rows {
            let bytes = matrix.base + row * matrix.rowBytes
            let weights: UnsafePointer<Float>
            if matrix.isPlain {
                weights = bytes.assumingMemoryBound(to: Float.self)
            } else {
                matrix.format.dequantize(bytes, count: length, into: scratch)
                weights = UnsafePointer(scratch)
            }
            instructions.columns(
                weights, values, stride: length, count: columns, length: length, into: product.output + row,
                outputStride: product.stride)
        }
    }
}
