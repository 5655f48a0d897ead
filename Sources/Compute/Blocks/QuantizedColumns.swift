// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// Columns of activations as bytes: 32 at a time share a scale, so that products with quantised weights are products of
/// small integers. Memory for the largest use is taken once.
///
/// A value is `scale · byte`, with bytes from −127 to 127; the scale of 32 values is the largest of their magnitudes
/// divided by 127. An infinity or NaN among them makes the scale NaN, and with it every product.
public final class QuantizedColumns: @unchecked Sendable {
    // Unchecked: one caller at a time writes, and only between products that read.

    /// Values that there is room for, over all columns.
    public let capacity: Int
    /// Values of a column, a multiple of 32.
    public private(set) var length = 0
    /// How many columns there are.
    public private(set) var count = 0

    let quants: UnsafeMutablePointer<Int8>
    let notes: UnsafeMutablePointer<compute_note>

    /// Room for so many values.
    public init(capacity: Int) {
        self.capacity = max(0, capacity) + 31 & ~31
        quants = .allocate(capacity: self.capacity)
        notes = .allocate(capacity: self.capacity / 32)
    }

    deinit {
        quants.deallocate()
        notes.deallocate()
    }

    /// Says how many columns follow, and how long they are.
    func prepare(length: Int, count: Int) throws(ComputeError) {
        guard length % 32 == 0, length >= 0, count >= 0 else {
            throw ComputeError(.shape, "\(length) activations do not fill blocks of 32")
        }
        let (total, overflow) = length.multipliedReportingOverflow(by: count)
        guard !overflow, total <= capacity else {
            throw ComputeError(.shape, "\(count) columns of \(length) activations exceed the room for \(capacity)")
        }
        self.length = length
        self.count = count
    }

    /// Takes columns that lie one after the other.
    public func quantize(_ values: Span<Float>, length: Int) throws(ComputeError) {
        guard length > 0, values.count % length == 0 else {
            throw ComputeError(.shape, "\(values.count) activations are no whole columns of \(length)")
        }
        try prepare(length: length, count: values.count / length)
        values.withUnsafeBufferPointer { values in
            if let values = values.baseAddress {
                fill(values, blocks: 0..<(self.length / 32 * count), with: .best)
            }
        }
    }

    /// Quantises blocks, counted over all columns, of which `values` are the first.
    func fill(_ values: UnsafePointer<Float>, blocks: Range<Int>, with instructions: InstructionSet) {
        let (target, notes) = (quants + blocks.lowerBound * 32, notes + blocks.lowerBound)
        switch instructions {
        case .portable: fill(values, blocks: blocks)
        #if arch(x86_64)
        case .avx2: compute_avx2_quantize(values, blocks.count, target, notes)
        case .avx512: compute_avx512_quantize(values, blocks.count, target, notes)
        #endif
        }
    }

    private func fill(_ values: UnsafePointer<Float>, blocks: Range<Int>) {
        for block in blocks {
            let source = UnsafeRawPointer(values + (block - blocks.lowerBound) * 32)
            let low = source.loadUnaligned(as: SIMD16<Float>.self)
            let high = source.loadUnaligned(fromByteOffset: 64, as: SIMD16<Float>.self)
            let (first, second, note) = Self.quantized(low, high)
            let target = UnsafeMutableRawPointer(quants + block * 32)
            target.storeBytes(of: first, as: SIMD16<Int8>.self)
            target.storeBytes(of: second, toByteOffset: 16, as: SIMD16<Int8>.self)
            notes[block] = note
        }
    }

    @inline(__always)
    private static func quantized(
        _ low: SIMD16<Float>, _ high: SIMD16<Float>
    ) -> (SIMD16<Int8>, SIMD16<Int8>, compute_note) {
        let zero = SIMD16<Float>()
        let lowMagnitude = low.replacing(with: zero - low, where: low .< zero)
        let highMagnitude = high.replacing(with: zero - high, where: high .< zero)
        let largest = lowMagnitude.replacing(with: highMagnitude, where: highMagnitude .> lowMagnitude).max()
        // Zero times what is finite is zero; anything else is not.
        let finite = ((low * 0) + (high * 0)).sum() == 0
        guard finite, largest.isFinite else {
            let note = compute_note(scale: .nan, quarter_sum: .nan, quarter_low: .nan, quarter_high: .nan)
            return (SIMD16(), SIMD16(), note)
        }
        let scale = largest / 127
        let inverse = largest == 0 || !(127 / largest).isFinite ? 0 : 127 / largest
        let first = Self.rounded(low * inverse)
        let second = Self.rounded(high * inverse)
        let lowSum = Float(first.wrappedSum())
        let highSum = Float(second.wrappedSum())
        let quarter = scale * 0.25
        let note = compute_note(
            scale: scale, quarter_sum: quarter * (lowSum + highSum), quarter_low: quarter * lowSum,
            quarter_high: quarter * highSum)
        return (SIMD16(truncatingIfNeeded: first), SIMD16(truncatingIfNeeded: second), note)
    }

    /// The nearest integers, the even one of two: the sum with 1.5 · 2^23 has no fraction left.
    @inline(__always)
    private static func rounded(_ values: SIMD16<Float>) -> SIMD16<Int32> {
        let magic: Float = 0x1.8p23
        let bits = unsafeBitCast(values + magic, to: SIMD16<Int32>.self)
        return bits &- SIMD16(repeating: Int32(bitPattern: magic.bitPattern))
    }

    /// What a column stands for, to be compared with.
    package func values(ofColumn column: Int) -> [Float] {
        (0..<length).map { i in
            Float(quants[column * length + i]) * notes[(column * length + i) / 32].scale
        }
    }
}
