// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// Kernels over rows in Swift's own vectors.
enum Portable {
    /// Rows of quantised weights by columns of integers: `Σ scale · scale' · Σ q·q' + minimum · Σ values`, over runs of
    /// sixteen.
    static func multiply(_ product: compute_product, format: BlockFormat, rows: Range<Int>) {
        let blocks = product.blocks
        let stride = compute_note_stride(blocks)
        for row in rows {
            let weights = UnsafeRawPointer(product.weights + row * product.row_bytes)
            for column in 0..<product.columns { product.output[column * product.output_stride + row] = 0 }
            for index in 0..<blocks {
                let block = QuantizedBlock(format, weights, index: index)
                for column in 0..<product.columns {
                    let x = UnsafeRawPointer(product.digits + (column * blocks + index) * Int(COMPUTE_RUN_BYTES))
                    let notes = product.notes + column * Int(COMPUTE_LISTS) * stride + index
                    let low = dot(block.quants.lowHalf, x)
                    let high = dot(block.quants.highHalf, x + 16)
                    let sum = notes[0] * (block.scales.0 * Float(low) + block.scales.1 * Float(high))
                    product.output[column * product.output_stride + row] += sum + block.minimum * notes[stride]
                }
            }
        }
    }

    /// Sixteen weights by as many activations, whose upper digits begin at `x`.
    @inline(__always)
    private static func dot(_ weights: SIMD16<Int8>, _ x: UnsafeRawPointer) -> Int32 {
        let lower = x.loadUnaligned(fromByteOffset: Int(COMPUTE_RUN_BYTES) / 2, as: SIMD16<Int8>.self)
        return dot(weights, x.loadUnaligned(as: SIMD16<Int8>.self)) << COMPUTE_DIGIT_BITS + dot(weights, lower)
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

    /// Attention of each token in each head alone, in the order in which it is defined.
    static func attend(_ a: compute_attention) {
        let padded = compute_padded(a.length)
        withUnsafeTemporaryAllocation(of: Float.self, capacity: max(1, a.end - a.begin)) { weights in
            guard let weights = weights.baseAddress else { return }
            for query in 0..<a.count * a.group {
                let position = a.first + query / a.group
                let at = query / a.group * a.query_stride + query % a.group * a.length
                let start = max(a.begin, position + 1 - a.window)
                let seen = max(0, min(a.end, position + 1) - start)
                let keys = UnsafeRawPointer(a.keys + start * a.key_stride)
                let values = UnsafeRawPointer(a.values + start * a.value_stride)
                let target = a.sums.map { $0 + query * padded } ?? a.output + at
                for j in 0..<seen {
                    weights[j] =
                        a.scale
                        * product(
                            BlockFormat(cached: a.key_format), keys + j * a.key_stride, a.queries + at, length: a.length
                        )
                }
                let largest = VectorMath.largest(weights, count: seen)
                let sum = VectorMath.exponentials(weights, minus: largest, count: seen)
                target.update(repeating: 0, count: a.length)
                for j in 0..<seen {
                    add(
                        BlockFormat(cached: a.value_format), values + j * a.value_stride, times: weights[j], to: target,
                        length: a.length)
                }
                a.largest?[query] = largest
                a.powers?[query] = sum
                if a.sums == nil { for i in 0..<a.length { target[i] /= sum } }
            }
        }
    }

    /// `sum += weight · row`.
    private static func add(
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
                if format.isQuantized {
                    QuantizedBlock(format, row, index: at / 32).write(to: values)
                } else {
                    format.dequantize(row + at * format.blockSize, count: count, into: values)
                }
                body(values, at, count)
                at += count
            }
        }
    }
}

extension BlockFormat {
    /// A format by its number among those of the kernels.
    fileprivate init(cached number: CInt) {
        self = UInt8(exactly: number).flatMap(BlockFormat.init(rawValue:)) ?? .f32
    }
}
