// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// Kernels over rows in Swift's own vectors.
enum Portable {
    /// Rows of quantised weights by columns of bytes: `Σ scale · scale' · Σ q·q' + minimum · Σ values`, over runs of
    /// sixteen.
    static func multiply(_ product: compute_product, format: BlockFormat, rows: Range<Int>) {
        let blocks = product.blocks
        for row in rows {
            let weights = UnsafeRawPointer(product.weights + row * product.row_bytes)
            for column in 0..<product.columns { product.output[column * product.output_stride + row] = 0 }
            for index in 0..<blocks {
                let block = QuantizedBlock(format, weights, index: index)
                for column in 0..<product.columns {
                    let at = column * blocks + index
                    let x = UnsafeRawPointer(product.quants + at * 32)
                    let note = product.notes[at]
                    let low = dot(block.quants.lowHalf, x.loadUnaligned(as: SIMD16<Int8>.self))
                    let high = dot(block.quants.highHalf, x.loadUnaligned(fromByteOffset: 16, as: SIMD16<Int8>.self))
                    let sum = note.scale * (block.scales.0 * Float(low) + block.scales.1 * Float(high))
                    product.output[column * product.output_stride + row] += sum + block.minimum * (note.quarter_sum * 4)
                }
            }
        }
    }

    /// 127 · 128 fits 16 bits, sums of it do not.
    @inline(__always)
    private static func dot(_ a: SIMD16<Int8>, _ b: SIMD16<Int8>) -> Int32 {
        let products = SIMD16<Int16>(truncatingIfNeeded: a) &* SIMD16<Int16>(truncatingIfNeeded: b)
        return SIMD16<Int32>(truncatingIfNeeded: products).wrappedSum()
    }

    /// The product of a row with a column.
    static func product(_ row: UnsafePointer<Float>, _ x: UnsafePointer<Float>, length: Int) -> Float {
        let row = UnsafeRawPointer(row)
        let column = UnsafeRawPointer(x)
        var sum = SIMD16<Float>()
        var i = 0
        while i + 16 <= length {
            let w = row.loadUnaligned(fromByteOffset: i * 4, as: SIMD16<Float>.self)
            sum += w * column.loadUnaligned(fromByteOffset: i * 4, as: SIMD16<Float>.self)
            i += 16
        }
        var rest: Float = 0
        while i < length {
            rest += row.loadUnaligned(fromByteOffset: i * 4, as: Float.self) * x[i]
            i += 1
        }
        return sum.sum() + rest
    }

    /// The same for a row of any format that stands in pieces of at most 32 numbers.
    static func product(
        _ format: BlockFormat, _ row: UnsafeRawPointer, _ x: UnsafePointer<Float>, length: Int
    ) -> Float {
        var sum: Float = 0
        forEachPiece(format, row, length: length) { piece, at, count in
            sum += product(piece, x + at, length: count)
        }
        return sum
    }

    /// `sum += weight · row`.
    static func add(
        _ format: BlockFormat, _ row: UnsafeRawPointer, times weight: Float, to sum: UnsafeMutablePointer<Float>,
        length: Int
    ) {
        forEachPiece(format, row, length: length) { piece, at, count in
            for i in 0..<count { sum[at + i] += weight * piece[i] }
        }
    }

    @inline(__always)
    private static func forEachPiece(
        _ format: BlockFormat, _ row: UnsafeRawPointer, length: Int,
        _ body: (UnsafePointer<Float>, _ at: Int, _ count: Int) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: Float.self, capacity: 32) { piece in
            guard let values = piece.baseAddress else { return }
            var at = 0
            while at < length {
                let count = min(32, length - at)
                let bytes = row + at / format.blockLength * format.blockSize
                format.dequantize(bytes, count: count, into: values)
                body(values, at, count)
                at += count
            }
        }
    }
}
