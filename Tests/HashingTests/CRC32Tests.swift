// SPDX-License-Identifier: Apache-2.0
import Hashing
import Testing
import Wire

@Suite("CRC-32 and CRC-32c")
struct CRC32Tests {
    @Test("the check values of the nine digits")
    func checkValues() {
        let digits = Array("123456789".utf8)
        #expect(CRC32.checksum(digits) == 0xCBF4_3926)
        #expect(CRC32C.checksum(digits) == 0xE306_9283)
        #expect(CRC32.checksum([]) == 0)
        #expect(CRC32C.checksum([]) == 0)
    }

    @Test("CRC-32c of RFC 3720's examples (appendix B.4)")
    func iscsiExamples() {
        #expect(CRC32C.checksum([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.checksum([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.checksum(Array(0..<32)) == 0x46DD_794E)
        #expect(CRC32C.checksum(Array((0..<32).reversed())) == 0x113F_DB5C)
    }

    @Test("eight bytes at a time gives what a bit at a time does")
    func bitByBit() {
        var random = Entropy(seed: 11)
        for length in 0..<70 {
            let input = random.bytes(length)
            #expect(CRC32.checksum(input) == slow(input, 0xEDB8_8320))
            #expect(CRC32C.checksum(input.span.bytes) == slow(input, 0x82F6_3B78))
        }
    }

    private func slow(_ bytes: [UInt8], _ polynomial: UInt32) -> UInt32 {
        var value = ~UInt32(0)
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
        }
        return ~value
    }
}
