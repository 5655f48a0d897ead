// SPDX-License-Identifier: Apache-2.0

public import Wire

/// Twenty bytes: an info_hash, a peer_id or an offer_id of the WebTorrent tracker protocol.
///
/// Trackers carry them as a JSON string of exactly 20 Unicode scalars U+0000 to U+00FF, one a byte. Counting characters
/// would be wrong: `"\r\n"` is a single one.
public struct Bytes20: Hashable, Sendable {
    private let head: UInt64
    private let middle: UInt64
    private let tail: UInt32

    /// The value of exactly 20 bytes, `nil` for any other number.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 20 else { return nil }
        var words: (UInt64, UInt64, UInt64) = (0, 0, 0)
        for (index, byte) in bytes.enumerated() {
            switch index {
            case ..<8: words.0 = words.0 << 8 | UInt64(byte)
            case ..<16: words.1 = words.1 << 8 | UInt64(byte)
            default: words.2 = words.2 << 8 | UInt64(byte)
            }
        }
        (head, middle, tail) = (words.0, words.1, UInt32(truncatingIfNeeded: words.2))
    }

    /// Twenty random bytes.
    public static func random(from entropy: inout Entropy) -> Bytes20 {
        Bytes20(head: entropy.next(), middle: entropy.next(), tail: UInt32(truncatingIfNeeded: entropy.next()))
    }

    private init(head: UInt64, middle: UInt64, tail: UInt32) {
        (self.head, self.middle, self.tail) = (head, middle, tail)
    }

    /// The value with its first bytes replaced by `prefix`, of which at most 20 bytes are used.
    public func withPrefix(_ prefix: some Collection<UInt8>) -> Bytes20 {
        let start = Array(prefix.prefix(20))
        return Bytes20(start + bytes.dropFirst(start.count)) ?? self
    }

    /// The 20 bytes.
    public var bytes: [UInt8] {
        (0..<20).map { index in
            switch index {
            case ..<8: UInt8(truncatingIfNeeded: head >> UInt64(56 - 8 * index))
            case ..<16: UInt8(truncatingIfNeeded: middle >> UInt64(120 - 8 * index))
            default: UInt8(truncatingIfNeeded: tail >> UInt32(152 - 8 * index))
            }
        }
    }
}

extension Bytes20 {
    /// The value of a tracker's string, `nil` unless it has exactly 20 scalars, none above U+00FF.
    public init?(latin1 text: String) {
        // A scalar up to U+00FF takes at most two bytes of UTF-8: longer text needs no walk.
        guard text.utf8.count <= 40 else { return nil }
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            guard let byte = UInt8(exactly: scalar.value) else { return nil }
            bytes.append(byte)
        }
        self.init(bytes)
    }

    /// The string that stands for the value in a tracker's messages: a scalar for each byte.
    public var latin1: String {
        var text = ""
        for byte in bytes { text.unicodeScalars.append(Unicode.Scalar(byte)) }
        return text
    }

    /// The value of 40 hexadecimal digits, `nil` for any other text.
    public init?(hex: String) {
        let digits = Array(hex.utf8)
        guard digits.count == 40 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: 40, by: 2) {
            guard let high = Bytes20.nibble(digits[index]), let low = Bytes20.nibble(digits[index + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.init(bytes)
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x37
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }
}

extension Bytes20: Comparable, CustomStringConvertible {
    /// Order of the bytes, first byte first.
    public static func < (lhs: Bytes20, rhs: Bytes20) -> Bool {
        (lhs.head, lhs.middle, lhs.tail) < (rhs.head, rhs.middle, rhs.tail)
    }

    /// 40 lowercase hexadecimal digits.
    public var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
