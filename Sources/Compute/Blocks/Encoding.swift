// SPDX-License-Identifier: Apache-2.0

/// Numbers stored in the formats that a cache of keys and values has: F32, F16 and Q8_0.
extension BlockFormat {
    /// Whether ``encode(_:count:into:)`` knows the format.
    public var isEncodable: Bool { self == .f32 || self == .f16 || self == .q8_0 }

    /// Stores numbers; `count` fills whole blocks of a format that is encodable.
    package func encode(_ values: UnsafePointer<Float>, count: Int, into target: UnsafeMutableRawPointer) {
        switch self {
        case .f32:
            target.copyMemory(from: values, byteCount: count * 4)
        case .f16:
            for i in 0..<count {
                target.storeBytes(of: Half.narrowed(values[i]).littleEndian, toByteOffset: i * 2, as: UInt16.self)
            }
        default:
            for block in 0..<count / 32 { Self.encodeQ8(values + block * 32, into: target + block * 34) }
        }
    }

    /// The scale is rounded to a half before the numbers are divided by it, so that its error is not theirs. What is not
    /// finite makes the scale NaN.
    private static func encodeQ8(_ values: UnsafePointer<Float>, into target: UnsafeMutableRawPointer) {
        var largest: Float = 0
        var isFinite = true
        for i in 0..<32 {
            largest = max(largest, values[i].magnitude)
            isFinite = isFinite && values[i].isFinite
        }
        let bits = isFinite ? Half.narrowed(largest / 127) : 0x7E00
        target.storeBytes(of: bits.littleEndian, as: UInt16.self)
        let scale = Half.widened(bits)
        for i in 0..<32 {
            let quotient = scale > 0 ? (values[i] / scale).rounded(.toNearestOrEven) : 0
            let quant = quotient.isFinite ? Int8(max(-127, min(127, quotient))) : 0
            target.storeBytes(of: quant, toByteOffset: 2 + i, as: Int8.self)
        }
    }
}
