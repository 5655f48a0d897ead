// SPDX-License-Identifier: Apache-2.0

/// Text that knows which of it is trusted: what a model's template says may become control tokens, what a user says may
/// not, even where both were put together into one prompt.
public struct MarkedText: Sendable {
    /// The text, valid UTF-8.
    public private(set) var utf8: [UInt8] = []
    /// Where each stretch ends, and whether it is trusted; neighbours differ.
    private var stretches: [(end: Int, isTrusted: Bool)] = []

    /// No text.
    public init() {}

    /// Text that is trusted, or is not.
    public init(_ text: String, isTrusted: Bool = false) {
        self.init(valid: Array(text.utf8), isTrusted: isTrusted)
    }

    /// Bytes that should be UTF-8; what is not becomes U+FFFD.
    public init(repairing bytes: [UInt8], isTrusted: Bool = false) {
        self.init(valid: Array(String(decoding: bytes, as: UTF8.self).utf8), isTrusted: isTrusted)
    }

    init(valid bytes: [UInt8], isTrusted: Bool) {
        utf8 = bytes
        if !bytes.isEmpty { stretches = [(bytes.count, isTrusted)] }
    }

    /// The text alone.
    public var string: String { String(decoding: utf8, as: UTF8.self) }

    /// Whether nothing of it is a user's.
    public var isTrusted: Bool { stretches.allSatisfy { $0.isTrusted } }

    /// Whether all of these bytes are trusted.
    public func isTrusted(_ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return true }
        let index = stretch(at: range.lowerBound)
        return stretches[index].isTrusted && range.upperBound <= stretches[index].end
    }

    /// Whether none of these bytes are trusted.
    func isUntrusted(_ range: Range<Int>) -> Bool {
        guard !range.isEmpty else { return true }
        let index = stretch(at: range.lowerBound)
        return !stretches[index].isTrusted && range.upperBound <= stretches[index].end
    }

    /// Puts text behind this.
    public mutating func append(_ other: MarkedText) {
        let offset = utf8.count
        utf8 += other.utf8
        for stretch in other.stretches {
            if let last = stretches.last, last.isTrusted == stretch.isTrusted {
                stretches[stretches.count - 1].end = offset + stretch.end
            } else {
                stretches.append((offset + stretch.end, stretch.isTrusted))
            }
        }
    }

    /// A part of the text, between two characters.
    func part(_ range: Range<Int>) -> MarkedText {
        guard !range.isEmpty else { return MarkedText() }
        var part = MarkedText()
        part.utf8 = Array(utf8[range])
        var index = stretch(at: range.lowerBound)
        while true {
            part.stretches.append(
                (min(stretches[index].end, range.upperBound) - range.lowerBound, stretches[index].isTrusted))
            guard stretches[index].end < range.upperBound else { return part }
            index += 1
        }
    }

    /// The stretch that holds a byte.
    private func stretch(at offset: Int) -> Int {
        var low = 0
        var high = stretches.count - 1
        while low < high {
            let middle = (low + high) / 2
            if stretches[middle].end > offset { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

extension MarkedText: Hashable {
    /// Text is equal that says the same, byte by byte, whoever said it.
    public static func == (a: MarkedText, b: MarkedText) -> Bool { a.utf8 == b.utf8 }

    /// See `==`.
    public func hash(into hasher: inout Hasher) { hasher.combine(utf8) }
}
