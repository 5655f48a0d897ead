// SPDX-License-Identifier: Apache-2.0
import Compute
import Wire

/// Weights of a format in random bytes whose scales are ordinary numbers, and what they stand for.
struct RandomWeights {
    let format: BlockFormat
    let rows: Int
    let columns: Int
    var bytes: [UInt8]

    init(_ format: BlockFormat, rows: Int, columns: Int, from entropy: inout Entropy) {
        self.format = format
        self.rows = rows
        self.columns = columns
        let count = format.byteCount(of: rows * columns) ?? 0
        bytes = entropy.bytes(count)
        switch format {
        case .f32:
            for i in 0..<rows * columns { put(Float.random(in: -1...1, using: &entropy).bitPattern, at: i * 4) }
        case .bf16:
            for i in 0..<rows * columns {
                put(UInt16(Float.random(in: -1...1, using: &entropy).bitPattern >> 16), at: i * 2)
            }
        case .f16:
            for i in 0..<rows * columns { put(Self.half(&entropy), at: i * 2) }
        default:
            for block in 0..<count / format.blockSize {
                for offset in Self.halves(of: format) {
                    put(Self.half(&entropy), at: block * format.blockSize + offset)
                }
            }
        }
    }

    /// Plain numbers from −1 to 1, quickly: random bits of the system's quality cost more than the kernels that take them.
    init(plainRows rows: Int, columns: Int, seed: UInt64) {
        format = .f32
        self.rows = rows
        self.columns = columns
        bytes = Array(repeating: 0, count: rows * columns * 4)
        bytes.withUnsafeMutableBytes { bytes in
            var state = seed &* 0xD1B5_4A32_D192_ED03
            for i in 0..<rows * columns {
                // Knuth's linear congruential generator; its upper bits are the good ones.
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let number = Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
                bytes.storeBytes(of: number, toByteOffset: i * 4, as: Float.self)
            }
        }
    }

    /// What the weights stand for, row after row.
    func values() throws -> [Float] {
        var values = [Float](repeating: 0, count: rows * columns)
        var span = values.mutableSpan
        try format.dequantize(bytes.span.bytes, into: &span)
        return values
    }

    /// Calls `body` with the matrix, whose bytes begin at an odd address where the format allows one.
    func withMatrix<Result>(_ body: (WeightMatrix) throws -> Result) throws -> Result {
        let shift = format == .f32 ? 0 : 1
        let shifted = [UInt8](repeating: 0, count: shift) + bytes
        return try shifted.withUnsafeBytes { bytes in
            let slice = UnsafeRawBufferPointer(rebasing: bytes[shift...])
            return try body(WeightMatrix(slice, format: format, rows: rows, columns: columns))
        }
    }

    /// Magnitudes from 2^-7 to 2^-3, of either sign.
    private static func half(_ entropy: inout Entropy) -> UInt16 {
        let bits = UInt16.random(in: 0...0xFFFF, using: &entropy)
        return bits & 0x83FF | UInt16.random(in: 8...11, using: &entropy) << 10
    }

    private static func halves(of format: BlockFormat) -> [Int] {
        switch format {
        case .q4_1, .q4_K, .q5_K: [0, 2]
        case .q6_K: [208]
        default: [0]
        }
    }

    private mutating func put<Number: FixedWidthInteger>(_ number: Number, at offset: Int) {
        for i in 0..<MemoryLayout<Number>.size { bytes[offset + i] = UInt8(truncatingIfNeeded: number >> (8 * i)) }
    }
}

/// Numbers from −1 to 1: Knuth's MMIX generator, as many are wanted, begun at random.
func randomNumbers(_ count: Int, from entropy: inout Entropy) -> [Float] {
    var state = UInt64.random(in: 0...UInt64.max, using: &entropy)
    return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
        var i = 0
        while i < count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            buffer[i] = Float(Int32(truncatingIfNeeded: state &>> 32)) * 0x1p-31
            i += 1
        }
        initialized = count
    }
}
