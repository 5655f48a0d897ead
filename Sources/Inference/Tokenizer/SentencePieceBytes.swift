// SPDX-License-Identifier: Apache-2.0

/// SentencePiece's tokens for single bytes: `<0x0A>`.
enum SentencePieceBytes {
    /// The byte that a token stands for, `nil` for any other text.
    static func byte(of token: ArraySlice<UInt8>) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token.last == UInt8(ascii: ">") else { return nil }
        var value: UInt8 = 0
        for digit in token.dropFirst(3).prefix(2) {
            switch digit {
            case 0x30...0x39: value = value << 4 | (digit - 0x30)
            case 0x41...0x46: value = value << 4 | (digit - 0x37)
            default: return nil
            }
        }
        return value
    }
}
