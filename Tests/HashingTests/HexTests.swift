// SPDX-License-Identifier: Apache-2.0
import Hashing
import Testing

@Suite("Hexadecimal text")
struct HexTests {
    @Test("every byte survives the way there and back")
    func everyByte() {
        let bytes = Array(UInt8.min...UInt8.max)
        let text = Hex.encode(bytes)
        #expect(text.hasPrefix("000102030405060708090a0b0c0d0e0f10"))
        #expect(Hex.decode(text) == bytes)
        #expect(Hex.decode(text.uppercased()) == bytes)
    }

    @Test(
        "anything but pairs of digits is refused",
        arguments: ["0", "0g", "0x12", " 00", "00 ", "é", "000", "+1", "/0:"])
    func refused(text: String) {
        #expect(Hex.decode(text) == nil)
    }
}
