// SPDX-License-Identifier: Apache-2.0

/// The 32-bit cyclic redundancy check of IEEE 802.3 and ITU-T V.42 §8.1.1.6.2, for STUN's FINGERPRINT
/// (RFC 8489 §14.7).
public enum CRC32 {
    /// The polynomial 0x04C11DB7 with its bits in reverse order.
    private static let table = ReflectedCRC(polynomial: 0xEDB8_8320)

    /// The check value of `bytes`.
    public static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { table.checksum($0) }
    }

    /// The check value of `bytes`.
    public static func checksum(_ bytes: RawSpan) -> UInt32 {
        bytes.withUnsafeBytes { table.checksum($0) }
    }

    /// The check value of `bytes`.
    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        table.checksum(bytes)
    }
}

/// CRC-32c, the check of Castagnoli that SCTP carries (RFC 9260 appendix A).
public enum CRC32C {
    /// The polynomial 0x1EDC6F41 with its bits in reverse order.
    private static let table = ReflectedCRC(polynomial: 0x82F6_3B78)

    /// The check value of `bytes`.
    public static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { table.checksum($0) }
    }

    /// The check value of `bytes`.
    public static func checksum(_ bytes: RawSpan) -> UInt32 {
        bytes.withUnsafeBytes { table.checksum($0) }
    }

    /// The check value of `bytes`.
    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        table.checksum(bytes)
    }
}

/// A 32-bit check whose bits are shifted out lowest first, begun and ended with all ones; eight bytes at a time with
/// eight tables, of which table n advances a byte over n more bytes of zeros.
private struct ReflectedCRC: Sendable {
    private let tables: [UInt32]

    init(polynomial: UInt32) {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var value = UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
            tables[byte] = value
        }
        for index in 256..<tables.count {
            let previous = tables[index - 256]
            tables[index] = previous >> 8 ^ tables[Int(previous & 0xFF)]
        }
        self.tables = tables
    }

    func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        tables.withUnsafeBufferPointer { tables in
            var value = ~UInt32(0)
            var offset = 0
            while offset + 8 <= bytes.count {
                let word =
                    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(value)
                value = 0
                for place in 0..<8 {
                    value ^= tables[(7 &- place) &* 256 &+ Int((word &>> (8 &* UInt64(place))) & 0xFF)]
                }
                offset += 8
            }
            for byte in bytes[offset...] { value = value >> 8 ^ tables[Int((value ^ UInt32(byte)) & 0xFF)] }
            return ~value
        }
    }
}
