// SPDX-License-Identifier: Apache-2.0

/// Turns tokens into text as they come. A token may end in the middle of a character: such bytes wait for the next
/// token, so that what is given out is always whole. Bytes that can never become a character are U+FFFD.
public struct Detokenizer: Sendable {
    private let tokenizer: Tokenizer
    private let skipsControl: Bool
    private var pending: [UInt8] = []
    /// A space that SentencePiece put in front of all is still to be taken away.
    private var stripsSpace: Bool

    /// A detokenizer for one text.
    ///
    /// - Parameter skippingControlTokens: whether control tokens say nothing, or else their names.
    public init(_ tokenizer: Tokenizer, skippingControlTokens: Bool = true) {
        self.tokenizer = tokenizer
        skipsControl = skippingControlTokens
        stripsSpace = tokenizer.addsSpacePrefix
    }

    /// Takes a token and gives the text that is whole now; often none. An id past the vocabulary says nothing.
    public mutating func append(_ token: Int32) -> String {
        guard let kind = tokenizer.kind(of: token), !(skipsControl && kind.needsTrust) else { return "" }
        pending += tokenizer.bytes(of: token)
        let whole = pending.count - Self.unfinished(pending)
        return take(whole)
    }

    /// Gives what is left when no token follows: U+FFFD for half a character.
    public mutating func finish() -> String { take(pending.count) }

    private mutating func take(_ count: Int) -> String {
        var start = 0
        if stripsSpace, count > 0 {
            stripsSpace = false
            if pending[0] == 0x20 { start = 1 }
        }
        let text = String(decoding: pending[start..<count], as: UTF8.self)
        pending.removeFirst(count)
        return text
    }

    /// How many bytes at the end are the beginning of a character that could still be completed (Unicode Standard,
    /// table 3-7).
    private static func unfinished(_ bytes: [UInt8]) -> Int {
        for count in 1...3 where count <= bytes.count {
            let lead = bytes[bytes.count - count]
            let length =
                switch lead {
                case 0xC2...0xDF: 2
                case 0xE0...0xEF: 3
                case 0xF0...0xF4: 4
                case 0x80...0xBF: 0
                default: 1
                }
            if length == 0 { continue }
            guard length > count else { return 0 }
            guard count > 1 else { return 1 }
            let second = bytes[bytes.count - count + 1]
            let isPossible =
                switch lead {
                case 0xE0: second >= 0xA0
                case 0xED: second <= 0x9F
                case 0xF0: second >= 0x90
                case 0xF4: second <= 0x8F
                default: true
                }
            return isPossible ? count : 0
        }
        return 0
    }
}

extension Tokenizer {
    /// The text of tokens.
    public func decode(_ tokens: some Sequence<Int32>, skippingControlTokens: Bool = true) -> String {
        var detokenizer = Detokenizer(self, skippingControlTokens: skippingControlTokens)
        var text = ""
        for token in tokens { text += detokenizer.append(token) }
        return text + detokenizer.finish()
    }
}
