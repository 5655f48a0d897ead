// SPDX-License-Identifier: Apache-2.0

/// The characters that stand for bytes in the vocabularies of GPT-2 and its kin: a byte that is a visible character of
/// Latin-1 is itself, the others are the characters from U+0100 on, in order.
enum ByteAlphabet {
    private static func isVisible(_ byte: UInt8) -> Bool {
        (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || byte >= 0xAE
    }

    /// The character for each byte.
    static let scalars: [UInt32] = {
        var next: UInt32 = 0x100
        return (0...255).map { (byte: UInt8) in
            if isVisible(byte) { return UInt32(byte) }
            defer { next += 1 }
            return next
        }
    }()

    /// The byte for each character below U+0144, -1 for the characters that stand for none.
    private static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = Int16(byte) }
        return table
    }()

    /// The bytes that a token of such a vocabulary, given as UTF-8, stands for; `nil` if any character stands for none.
    static func decode(_ token: ArraySlice<UInt8>) -> [UInt8]? {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(token.count)
        var index = token.startIndex
        while index < token.endIndex {
            // All characters of the alphabet have one or two bytes in UTF-8.
            var code = Int(token[index])
            index += 1
            if code >= 0x80 {
                guard (0xC2...0xC5).contains(code), index < token.endIndex, token[index] & 0xC0 == 0x80 else {
                    return nil
                }
                code = (code & 0x1F) << 6 | Int(token[index] & 0x3F)
                index += 1
            }
            guard code < bytes.count, bytes[code] >= 0 else { return nil }
            decoded.append(UInt8(bytes[code]))
        }
        return decoded
    }
}
