// SPDX-License-Identifier: Apache-2.0

/// Numbers of 16 bits, widened and narrowed without the instructions that a processor may lack.
enum Half {
    /// The value of an IEEE 754 binary16.
    @inline(__always)
    static func widened(_ bits: UInt16) -> Float {
        // As if the exponent had eight bits, then 2^112 more: exact for subnormal numbers, too.
        let magnitude = Float(bitPattern: UInt32(bits & 0x7FFF) << 13) * 0x1p112
        let special: UInt32 = bits & 0x7C00 == 0x7C00 ? 0x7F80_0000 : 0
        return Float(bitPattern: magnitude.bitPattern | special | UInt32(bits & 0x8000) << 16)
    }

    /// The value of a bfloat16: the upper half of a single.
    @inline(__always)
    static func widenedBrain(_ bits: UInt16) -> Float {
        Float(bitPattern: UInt32(bits) << 16)
    }

    /// The nearest binary16, the even one of two.
    static func narrowed(_ value: Float) -> UInt16 {
        let sign = UInt16(truncatingIfNeeded: value.bitPattern >> 16) & 0x8000
        let magnitude = value.magnitude
        if magnitude.isNaN { return sign | 0x7E00 }
        // Halfway between the largest number, 65504, and the next that there would be.
        if magnitude >= 65520 { return sign | 0x7C00 }
        if magnitude < 0x1p-14 {
            // Subnormal: multiples of 2^-24. The addition rounds them.
            let rounded = magnitude + 0x1p-1
            return sign | UInt16(truncatingIfNeeded: rounded.bitPattern &- Float(0x1p-1).bitPattern)
        }
        let bits = magnitude.bitPattern &- (112 << 23)
        let odd = bits >> 13 & 1
        return sign | UInt16(truncatingIfNeeded: (bits &+ 0xFFF &+ odd) >> 13)
    }
}

extension UnsafeRawPointer {
    /// The little-endian half at an offset, widened.
    @inline(__always)
    func half(at offset: Int) -> Float {
        Half.widened(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    }
}
