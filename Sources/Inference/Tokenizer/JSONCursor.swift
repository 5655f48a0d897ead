// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Walks through a large JSON text without making a tree of it: a vocabulary has hundreds of thousands of members, and
/// a model should be ready in milliseconds. Whoever walks must take each value, or skip it.
struct JSONCursor {
    private let bytes: [UInt8]
    private var offset = 0
    private let file: String

    init(_ bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    /// Calls `body` for each member, with its name; `body` takes the value.
    mutating func members(
        _ body: (inout JSONCursor, borrowing [UInt8]) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        try expect(UInt8(ascii: "{"))
        if try take(UInt8(ascii: "}")) { return }
        var name: [UInt8] = []
        repeat {
            try string(into: &name)
            try expect(UInt8(ascii: ":"))
            try body(&self, name)
        } while try take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "}"))
    }

    /// Calls `body` for each element; `body` takes it.
    mutating func elements(
        _ body: (inout JSONCursor) throws(TokenizerError) -> Void
    ) throws(TokenizerError) {
        try expect(UInt8(ascii: "["))
        if try take(UInt8(ascii: "]")) { return }
        repeat { try body(&self) } while try take(UInt8(ascii: ","))
        try expect(UInt8(ascii: "]"))
    }

    /// Takes a string into `text`, replacing what was there.
    mutating func string(into text: inout [UInt8]) throws(TokenizerError) {
        let start = try open(UInt8(ascii: "\""))
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "\""), bytes[end] != UInt8(ascii: "\\"), bytes[end] >= 0x20
        {
            end += 1
        }
        guard end < bytes.count else { throw fault("the text ends inside a string") }
        if bytes[end] == UInt8(ascii: "\"") {
            text.removeAll(keepingCapacity: true)
            text.append(contentsOf: bytes[start..<end])
            offset = end + 1
            return
        }
        // Escapes, and what is wrong: the general parser knows.
        offset = start - 1
        guard case .string(let value) = try value() else { throw fault("a string was expected") }
        text = Array(value.utf8)
    }

    /// Takes a string and puts it behind others.
    mutating func string(into strings: inout ByteStrings) throws(TokenizerError) {
        let start = try open(UInt8(ascii: "\""))
        var end = start
        while end < bytes.count, bytes[end] != UInt8(ascii: "\""), bytes[end] != UInt8(ascii: "\\"), bytes[end] >= 0x20
        {
            end += 1
        }
        if end < bytes.count, bytes[end] == UInt8(ascii: "\"") {
            strings.append(bytes[start..<end])
            offset = end + 1
        } else {
            var text: [UInt8] = []
            offset = start - 1
            try string(into: &text)
            strings.append(text)
        }
    }

    /// Takes an integer.
    mutating func integer() throws(TokenizerError) -> Int {
        guard case .integer(let value) = try value() else { throw fault("an integer was expected") }
        return Int(value)
    }

    /// Takes a short run of digits without making anything of it; the common case of ids and token types.
    mutating func smallInteger() throws(TokenizerError) -> Int {
        skipSpace()
        var end = offset
        var value = 0
        while end < bytes.count, end < offset + 9, (0x30...0x39).contains(bytes[end]) {
            value = value * 10 + Int(bytes[end] - 0x30)
            end += 1
        }
        guard end > offset, end < bytes.count, isEndOfValue(bytes[end]) else { return try integer() }
        offset = end
        return value
    }

    /// Takes a number. Those with few digits and no exponent are read here, exactly: both parts of the fraction are whole
    /// numbers that a `Double` holds.
    mutating func number() throws(TokenizerError) -> Double {
        skipSpace()
        var end = offset
        let isNegative = end < bytes.count && bytes[end] == UInt8(ascii: "-")
        if isNegative { end += 1 }
        var digits = 0.0
        var scale = 1.0
        var count = 0
        var isFraction = false
        while end < bytes.count, count < 15 {
            if (0x30...0x39).contains(bytes[end]) {
                digits = digits * 10 + Double(bytes[end] - 0x30)
                count += 1
                if isFraction { scale *= 10 }
            } else if bytes[end] == UInt8(ascii: "."), !isFraction, count > 0 {
                isFraction = true
            } else {
                break
            }
            end += 1
        }
        if count > 0, !isFraction || scale > 1, end < bytes.count, isEndOfValue(bytes[end]) {
            offset = end
            return (isNegative ? -1 : 1) * digits / scale
        }
        guard let value = try value().number else { throw fault("a number was expected") }
        return value
    }

    /// Takes any value as a tree.
    mutating func value() throws(TokenizerError) -> JSON {
        skipSpace()
        let start = offset
        try skip()
        do throws(JSONError) {
            return try JSON(parsing: Array(bytes[start..<offset]))
        } catch {
            throw TokenizerError.malformed(file, "byte \(start + error.offset): \(error)")
        }
    }

    /// Whether the next value is `null`, which is taken then.
    mutating func takeNull() throws(TokenizerError) -> Bool {
        skipSpace()
        guard offset + 4 <= bytes.count, bytes[offset..<offset + 4].elementsEqual("null".utf8) else { return false }
        offset += 4
        return true
    }

    /// Whether the next value begins with this character.
    mutating func begins(with character: Unicode.Scalar) -> Bool {
        skipSpace()
        return offset < bytes.count && UInt32(bytes[offset]) == character.value
    }

    /// Passes over a value of any kind, looking only at brackets and strings.
    mutating func skip() throws(TokenizerError) {
        skipSpace()
        var depth = 0
        repeat {
            guard offset < bytes.count else { throw fault("the text ends inside a value") }
            switch bytes[offset] {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                offset += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                depth -= 1
                offset += 1
            case UInt8(ascii: "\""): try skipString()
            case UInt8(ascii: ","), UInt8(ascii: ":"), 0x20, 0x0A, 0x0D, 0x09:
                guard depth > 0 else { throw fault("a value was expected") }
                offset += 1
            default:
                while offset < bytes.count, isPlain(bytes[offset]) { offset += 1 }
            }
        } while depth > 0
        guard depth == 0 else { throw fault("a bracket closes that was never opened") }
    }

    /// Nothing but white space may follow.
    mutating func end() throws(TokenizerError) {
        skipSpace()
        guard offset == bytes.count else { throw fault("there is text after the end") }
    }

    // MARK: Characters

    private func isEndOfValue(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ",") || byte == UInt8(ascii: "]") || byte == UInt8(ascii: "}") || isSpace(byte)
    }

    private func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

    private func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "{"), UInt8(ascii: "["), UInt8(ascii: "}"), UInt8(ascii: "]"), UInt8(ascii: "\""),
            UInt8(ascii: ","), UInt8(ascii: ":"), 0x20, 0x0A, 0x0D, 0x09:
            false
        default: true
        }
    }

    private mutating func skipString() throws(TokenizerError) {
        offset += 1
        while offset < bytes.count, bytes[offset] != UInt8(ascii: "\"") {
            offset += bytes[offset] == UInt8(ascii: "\\") ? 2 : 1
        }
        guard offset < bytes.count else { throw fault("the text ends inside a string") }
        offset += 1
    }

    private mutating func skipSpace() {
        while offset < bytes.count, isSpace(bytes[offset]) { offset += 1 }
    }

    private mutating func take(_ character: UInt8) throws(TokenizerError) -> Bool {
        skipSpace()
        guard offset < bytes.count else { throw fault("the text ends too early") }
        guard bytes[offset] == character else { return false }
        offset += 1
        return true
    }

    private mutating func expect(_ character: UInt8) throws(TokenizerError) {
        guard try take(character) else { throw fault("“\(Unicode.Scalar(character))” was expected") }
    }

    /// Like `expect`, and gives the place after it.
    private mutating func open(_ character: UInt8) throws(TokenizerError) -> Int {
        try expect(character)
        return offset
    }

    private func fault(_ message: String) -> TokenizerError {
        TokenizerError.malformed(file, "byte \(offset): \(message)")
    }
}
