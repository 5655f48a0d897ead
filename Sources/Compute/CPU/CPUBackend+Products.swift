// SPDX-License-Identifier: Apache-2.0

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
        if quantizes && precision == .integers {
            let columns = try quantize(values, length: length, count: count)
            job.digits = UnsafePointer(columns.digits)
            job.notes = UnsafePointer(columns.notes)
        }
        let room = try scratch(length: job.scratchLength)
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

    /// Multiplications that are worth a meeting of threads: some four microseconds, when a meeting takes one or two.
    static let worthMeeting = 131_072

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
