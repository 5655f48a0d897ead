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

    /// Writes the bytes that a token of such a vocabulary, given as UTF-8, stands for into `text` from `start` on, and
    /// gives where they end; `nil` if a character stands for none. There must be room for as many bytes as are read.
    static func decode(_ bytes: [UInt8], _ range: Range<Int>, into text: inout [UInt8], at start: Int) -> Int? {
        precondition(range.upperBound <= bytes.count && start + range.count <= text.count)
        return text.withUnsafeMutableBufferPointer { text in
            bytes.withUnsafeBufferPointer { bytes in
                var end = start
                var index = range.lowerBound
                while index < range.upperBound {
                    // All characters of the alphabet have one or two bytes in UTF-8.
                    var code = Int(bytes[index])
                    index += 1
                    if code >= 0x80 {
                        guard (0xC2...0xC5).contains(code), index < range.upperBound, bytes[index] & 0xC0 == 0x80
                        else { return nil }
                        code = (code & 0x1F) << 6 | Int(bytes[index] & 0x3F)
                        index += 1
                    }
                    if code > 0x20, code < 0x7F {
                        text[end] = UInt8(code)
                    } else {
                        guard code < Self.bytes.count, Self.bytes[code] >= 0 else { return nil }
                        text[end] = UInt8(Self.bytes[code])
                    }
                    end += 1
                }
                return end
            }
        }
    }
}
