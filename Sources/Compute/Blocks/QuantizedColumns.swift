// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// Columns of activations as integers of fifteen bits: 32 at a time share a scale, so that products with quantised weights
/// are products of small integers. Memory for the largest use is taken once.
///
/// A value is `scale · (128 · upper + lower)`, with digits that are signed bytes: instructions multiply those, and so
/// products are taken with each and put together. The scale of 32 values is the largest of their magnitudes divided by
/// 127 · 128. An infinity or NaN among them makes the scale NaN, and with it every product.
public final class QuantizedColumns: @unchecked Sendable {
    // Unchecked: one caller at a time writes, and only between products that read.

    /// Values that there is room for, over all columns.
    public let capacity: Int
    /// Values of a column, a multiple of 32.
    public private(set) var length = 0
    /// How many columns there are.
    public private(set) var count = 0

    /// Of each 32 values the upper digits, then the lower ones.
    let digits: UnsafeMutablePointer<Int8>
    private let digitMemory: HostMemory
    /// What belongs to the digits: for each column COMPUTE_LISTS lists, which shim.h describes.
    private(set) var notes: UnsafeMutablePointer<Float>
    private var noteMemory: HostMemory
    private var noteCapacity: Int

    /// Room for so many values.
    public init(capacity: Int) throws(ComputeError) {
        self.capacity = (max(0, capacity) + 31) & ~31
        let bytes = self.capacity / 32 * Int(COMPUTE_RUN_BYTES)
        digitMemory = try HostMemory(byteCount: bytes, for: "activations")
        digits = digitMemory.base.bindMemory(to: Int8.self, capacity: bytes)
        // Columns of a few blocks need more: prepare() sees.
        noteCapacity = self.capacity / 32 * Int(COMPUTE_LISTS)
        noteMemory = try HostMemory(byteCount: noteCapacity * 4, for: "activations")
        notes = noteMemory.base.bindMemory(to: Float.self, capacity: noteCapacity)
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
            noteMemory = try HostMemory(byteCount: needed * 4, for: "activations")
            notes = noteMemory.base.bindMemory(to: Float.self, capacity: needed)
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
            compute_avx2_quantize(values, blocks.lowerBound, blocks.upperBound, length / 32, digits, notes)
        case .avx512: compute_avx512_quantize(values, blocks.lowerBound, blocks.upperBound, length / 32, digits, notes)
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
            store(result.first, at: block * Int(COMPUTE_RUN_BYTES))
            store(result.second, at: block * Int(COMPUTE_RUN_BYTES) + 16)
            let list = notes + block / each * Int(COMPUTE_LISTS) * stride
            compute_set_note(list, stride, block % each, result.scale, result.lowSum, result.highSum)
            if block % each == each - 1 { compute_end_notes(list, stride, each) }
        }
    }

    /// Both digits of sixteen integers.
    @inline(__always)
    private func store(_ integers: SIMD16<Int32>, at offset: Int) {
        let upper = (integers &+ (1 << (COMPUTE_DIGIT_BITS - 1))) &>> COMPUTE_DIGIT_BITS
        let lower = integers &- upper &<< COMPUTE_DIGIT_BITS
        let target = UnsafeMutableRawPointer(digits + offset)
        target.storeBytes(of: SIMD16(truncatingIfNeeded: upper), as: SIMD16<Int8>.self)
        target.storeBytes(
            of: SIMD16(truncatingIfNeeded: lower), toByteOffset: Int(COMPUTE_RUN_BYTES) / 2, as: SIMD16<Int8>.self)
    }

    private struct Block {
        var first = SIMD16<Int32>()
        var second = SIMD16<Int32>()
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
        let scale = largest / Float(COMPUTE_LARGEST)
        let quotient = Float(COMPUTE_LARGEST) / largest
        let inverse = quotient.isFinite ? quotient : 0
        let first = Self.rounded(low * inverse)
        let second = Self.rounded(high * inverse)
        return Block(
            first: first, second: second, scale: scale,
            lowSum: scale * Float(first.wrappedSum()), highSum: scale * Float(second.wrappedSum()))
    }

    /// The nearest integers, the even one of two: the sum with 1.5 · 2^23 has no fraction left.
    @inline(__always)
    private static func rounded(_ values: SIMD16<Float>) -> SIMD16<Int32> {
        let magic: Float = 0x1.8p23
        let bits = unsafeBitCast(values + magic, to: SIMD16<Int32>.self)
        return bits &- SIMD16(repeating: Int32(bitPattern: magic.bitPattern))
    }

    /// An integer of a column.
    package func integer(_ index: Int, ofColumn column: Int) -> Int {
        let run = digits + (column * length + index) / 32 * Int(COMPUTE_RUN_BYTES) + index % 32
        return Int(run[0]) << Int(COMPUTE_DIGIT_BITS) + Int(run[Int(COMPUTE_RUN_BYTES) / 2])
    }

    /// What a column stands for, to be compared with.
    package func values(ofColumn column: Int) -> [Float] {
        let list = notes + column * Int(COMPUTE_LISTS) * compute_note_stride(length / 32)
        return (0..<length).map { i in Float(integer(i, ofColumn: column)) * list[i / 32] }
    }
}
