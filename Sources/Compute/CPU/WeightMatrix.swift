// SPDX-License-Identifier: Apache-2.0

/// Weights where they lie: rows of a format, one after the other, in memory that its owner keeps for as long as this is
/// used.
public struct WeightMatrix: @unchecked Sendable {
    // Unchecked: the memory is only read.

    /// How the weights are stored.
    public let format: BlockFormat
    /// How many rows there are: outputs of a product.
    public let rows: Int
    /// Weights of a row: inputs of a product.
    public let columns: Int
    /// Bytes of a row.
    public let rowBytes: Int

    let base: UnsafeRawPointer

    /// Weights in memory of somebody else.
    ///
    /// - Parameter bytes: at least the bytes of `rows` rows; they must stay where they are.
    public init(
        _ bytes: UnsafeRawBufferPointer, format: BlockFormat, rows: Int, columns: Int
    ) throws(ComputeError) {
        guard rows > 0, columns > 0 else {
            throw ComputeError(.shape, "a matrix of \(rows) rows of \(columns) weights has none")
        }
        guard let rowBytes = format.byteCount(of: columns) else {
            throw ComputeError(
                .shape,
                "rows of \(columns) weights do not fill blocks of \(format.blockLength), which \(format.name) has")
        }
        let (size, overflow) = rows.multipliedReportingOverflow(by: rowBytes)
        guard !overflow, let base = bytes.baseAddress, bytes.count >= size else {
            throw ComputeError(
                .shape, "\(rows) rows of \(columns) weights of \(format.name) do not fit \(bytes.count) bytes")
        }
        self.format = format
        self.rows = rows
        self.columns = columns
        self.rowBytes = rowBytes
        self.base = base
    }

    /// One row as single-precision numbers: an embedding.
    public func dequantize(row: Int, into values: inout MutableSpan<Float>) throws(ComputeError) {
        guard row >= 0, row < rows, values.count == columns else {
            throw ComputeError(
                .shape, "row \(row) for \(values.count) numbers asked of \(rows) rows of \(columns) weights")
        }
        values.withUnsafeMutableBufferPointer { values in
            if let target = values.baseAddress {
                format.dequantize(base + row * rowBytes, count: columns, into: target)
            }
        }
    }

    /// One of the rows as single-precision numbers.
    func dequantize(row: Int, into values: UnsafeMutablePointer<Float>) {
        format.dequantize(base + row * rowBytes, count: columns, into: values)
    }

    /// Whether the rows are single-precision numbers that can be read where they lie.
    var isPlain: Bool { format == .f32 && Int(bitPattern: base) % MemoryLayout<Float>.alignment == 0 }
}
