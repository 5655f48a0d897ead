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
    /// What belongs to the bytes: for each column COMPUTE_LISTS lists, which shim.h describes.
    private(set) var notes: UnsafeMutablePointer<Float>
    private var noteCapacity: Int

    /// Room for so many values.
    public init(capacity: Int) {
        self.capacity = max(0, capacity) + 31 & ~31
        quants = UnsafeMutableRawPointer.allocate(byteCount: self.capacity, alignment: 64)
            .bindMemory(to: Int8.self, capacity: self.capacity)
        // Columns of a few blocks need more: prepare() sees.
        noteCapacity = self.capacity / 32 * Int(COMPUTE_LISTS)
        notes = .allocate(capacity: noteCapacity)
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
        let needed = compute_note_stride(length / 32) * Int(COMPUTE_LISTS) * count
        if needed > noteCapacity {
            notes.deallocate()
            notes = .allocate(capacity: needed)
            noteCapacity = needed
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
        guard !blocks.isEmpty else { return }
        switch instructions {
        case .portable: fill(values, blocks: blocks)
        #if arch(x86_64)
        case .avx2, .avxVNNI:
            compute_avx2_quantize(values, blocks.lowerBound, blocks.upperBound, length / 32, quants, notes)
        case .avx512: compute_avx512_quantize(values, blocks.lowerBound, blocks.upperBound, length / 32, quants, notes)
        #endif
        }
    }

    private func fill(_ values: UnsafePointer<Float>, blocks: Range<Int>) {
        let each = length / 32
        let stride = compute_note_stride(each)
        for block in blocks {
            let source = UnsafeRawPointer(values + (block - blocks.lowerBound) * 32)
            let low = source.loadUnaligned(as: SIMD16<Float>.self)
            let high = source.loadUnaligned(fromByteOffset: 64, as: SIMD16<Float>.self)
            let result = Self.quantized(low, high)
            let target = UnsafeMutableRawPointer(quants + block * 32)
            target.storeBytes(of: result.first, as: SIMD16<Int8>.self)
            target.storeBytes(of: result.second, toByteOffset: 16, as: SIMD16<Int8>.self)
            let list = notes + block / each * Int(COMPUTE_LISTS) * stride
            compute_set_note(list, stride, block % each, result.scale, result.lowSum, result.highSum)
            if block % each == each - 1 { compute_end_notes(list, stride, each) }
        }
    }

    private struct Block {
        var first = SIMD16<Int8>()
        var second = SIMD16<Int8>()
        var scale = Float.nan
        var lowSum = Float.nan
        var highSum = Float.nan
    }

    @inline(__always)
    private static func quantized(_ low: SIMD16<Float>, _ high: SIMD16<Float>) -> Block {
        let zero = SIMD16<Float>()
        let lowMagnitude = low.replacing(with: zero - low, where: low .< zero)
        let highMagnitude = high.replacing(with: zero - high, where: high .< zero)
        let largest = lowMagnitude.replacing(with: highMagnitude, where: highMagnitude .> lowMagnitude).max()
        // Zero times what is finite is zero; anything else is not.
        let finite = ((low * 0) + (high * 0)).sum() == 0
        guard finite, largest.isFinite else { return Block() }
        let scale = largest / 127
        let inverse = largest == 0 || !(127 / largest).isFinite ? 0 : 127 / largest
        let first = Self.rounded(low * inverse)
        let second = Self.rounded(high * inverse)
        return Block(
            first: SIMD16(truncatingIfNeeded: first), second: SIMD16(truncatingIfNeeded: second), scale: scale,
            lowSum: scale * Float(first.wrappedSum()), highSum: scale * Float(second.wrappedSum()))
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
        let list = notes + column * Int(COMPUTE_LISTS) * compute_note_stride(length / 32)
        return (0..<length).map { i in Float(quants[column * length + i]) * list[i / 32] }
    }
}
