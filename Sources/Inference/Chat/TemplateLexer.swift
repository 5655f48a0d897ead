// SPDX-License-Identifier: Apache-2.0

/// Cuts a template into text and tags, with white space around tags handled as chat templates expect it (Jinja's
/// `trim_blocks` and `lstrip_blocks`): a block's line end goes with it, so does the white space before it on its line;
/// `-` takes all white space on its side, `+` none.
struct TemplateLexer {
    private let source: [UInt8]
    private var offset = 0
    private var line = 1
    private var segments: [TemplateSegment] = []
    /// What comes next stands at the beginning of a line.
    private var isAtLineStart = true

    /// Two-letter symbols first.
    private static let symbols: [[UInt8]] = [
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "(", ")", "[", "]", "{", "}", ">", "<", "=",
        ".", ":", "|", ",",
    ].map { Array($0.utf8) }

    init(_ text: String) {
        // One kind of line end, and none at the very end.
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.utf8.count)
        var previous: UInt8 = 0
        for byte in text.utf8 {
            if byte == 0x0D { bytes.append(0x0A) } else if byte != 0x0A || previous != 0x0D { bytes.append(byte) }
            previous = byte
        }
        if bytes.last == 0x0A { bytes.removeLast() }
        source = bytes
    }

    consuming func segmented() throws(TemplateError) -> [TemplateSegment] {
        var lexer = self
        while lexer.offset < lexer.source.count { try lexer.readSegment() }
        return lexer.segments
    }

    private mutating func readSegment() throws(TemplateError) {
        let start = offset
        while offset < source.count, !(isAt("{{") || isAt("{%") || isAt("{#")) { offset += 1 }
        var end = offset
        guard offset < source.count else {
            emit(start..<end)
            return
        }
        let kind = source[offset + 1]
        let sign = offset + 2 < source.count ? source[offset + 2] : 0
        if sign == UInt8(ascii: "-") {
            while end > start, Self.isSpace(source[end - 1]) { end -= 1 }
        } else if sign != UInt8(ascii: "+"), kind != UInt8(ascii: "{") {
            var lineStart = end
            while lineStart > start, source[lineStart - 1] != 0x0A { lineStart -= 1 }
            if lineStart > start || isAtLineStart, source[lineStart..<end].allSatisfy(Self.isSpace) { end = lineStart }
        }
        let skipped = source[end..<offset]
        emit(start..<end)
        line += skipped.count { $0 == 0x0A }
        let begun = line
        let hasSign = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
        // A minus belongs to the tag; a plus in front of an expression does no harm either way.
        offset += 2 + (hasSign ? 1 : 0)
        switch kind {
        case UInt8(ascii: "#"): try skipComment(begun)
        case UInt8(ascii: "%"): segments.append(.statement(try readTokens(until: "%}"), line: begun))
        default: segments.append(.output(try readTokens(until: "}}"), line: begun))
        }
    }

    private mutating func emit(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        segments.append(.text(String(decoding: source[range], as: UTF8.self)))
        line += source[range].count { $0 == 0x0A }
    }

    private mutating func skipComment(_ begun: Int) throws(TemplateError) {
        while offset < source.count, !isAt("#}") { step() }
        guard offset < source.count else { throw TemplateError(.syntax, line: begun, "a comment is not closed") }
        let sign = source[offset - 1]
        offset += 2
        afterTag(sign: sign, trims: true)
    }

    /// White space after a tag's end, `offset` being behind the end.
    private mutating func afterTag(sign: UInt8, trims: Bool) {
        let start = offset
        if sign == UInt8(ascii: "-") {
            while offset < source.count, Self.isSpace(source[offset]) { step() }
        } else if trims, sign != UInt8(ascii: "+"), offset < source.count, source[offset] == 0x0A {
            step()
        }
        isAtLineStart = offset > start && source[offset - 1] == 0x0A
    }

    // MARK: Inside of tags

    private mutating func readTokens(until end: String) throws(TemplateError) -> [TemplateToken] {
        var tokens: [TemplateToken] = []
        var depth = 0
        let begun = line
        while true {
            while offset < source.count, Self.isSpace(source[offset]) { step() }
            guard offset < source.count else { throw TemplateError(.syntax, line: begun, "a tag is not closed") }
            if depth == 0 {
                if isAt(end) {
                    offset += 2
                    afterTag(sign: 0, trims: end == "%}")
                    return tokens
                }
                let sign = source[offset]
                if sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+"), isAt(end, skipping: 1) {
                    offset += 3
                    afterTag(sign: sign, trims: end == "%}")
                    return tokens
                }
            }
            let token = try readToken()
            if case .symbol(let symbol) = token.kind {
                if "([{".contains(symbol) { depth += 1 }
                if ")]}".contains(symbol) { depth -= 1 }
            }
            tokens.append(token)
        }
    }

    private mutating func readToken() throws(TemplateError) -> TemplateToken {
        let begun = line
        let byte = source[offset]
        switch byte {
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            return TemplateToken(kind: .string(try readString(byte)), line: begun)
        case 0x30...0x39:
            return TemplateToken(kind: try readNumber(), line: begun)
        case 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "_"):
            let start = offset
            while offset < source.count, Self.isWord(source[offset]) { offset += 1 }
            return TemplateToken(kind: .name(String(decoding: source[start..<offset], as: UTF8.self)), line: begun)
        default:
            for symbol in Self.symbols where source[offset...].starts(with: symbol) {
                offset += symbol.count
                return TemplateToken(kind: .symbol(String(decoding: symbol, as: UTF8.self)), line: begun)
            }
            throw TemplateError(
                .syntax, line: line, "a character that cannot stand here: “\(Unicode.Scalar(byte))”")
        }
    }

    private mutating func readNumber() throws(TemplateError) -> TemplateToken.Kind {
        let start = offset
        func skipDigits(_ offset: inout Int) {
            while offset < source.count, (0x30...0x39).contains(source[offset]) || source[offset] == 0x5F {
                offset += 1
            }
        }
        skipDigits(&offset)
        var isWhole = true
        if offset + 1 < source.count, source[offset] == 0x2E, (0x30...0x39).contains(source[offset + 1]) {
            isWhole = false
            offset += 1
            skipDigits(&offset)
        }
        let text = String(decoding: source[start..<offset].filter { $0 != 0x5F }, as: UTF8.self)
        if isWhole, let value = Int(text) { return .integer(value) }
        if !isWhole, let value = Double(text) { return .number(value) }
        throw TemplateError(.syntax, line: line, "\(text.prefix(50)) is no number")
    }

    /// A string with Python's escapes.
    private mutating func readString(_ quote: UInt8) throws(TemplateError) -> String {
        let begun = line
        offset += 1
        var bytes: [UInt8] = []
        while offset < source.count, source[offset] != quote {
            guard source[offset] == UInt8(ascii: "\\"), offset + 1 < source.count else {
                bytes.append(source[offset])
                step()
                continue
            }
            offset += 1
            let escape = source[offset]
            step()
            switch escape {
            case UInt8(ascii: "n"): bytes.append(0x0A)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "r"): bytes.append(0x0D)
            case UInt8(ascii: "b"): bytes.append(0x08)
            case UInt8(ascii: "f"): bytes.append(0x0C)
            case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): bytes.append(escape)
            case 0x0A: break
            case UInt8(ascii: "x"): bytes += try readCode(2)
            case UInt8(ascii: "u"): bytes += try readCode(4)
            case UInt8(ascii: "U"): bytes += try readCode(8)
            case 0x30...0x37, UInt8(ascii: "a"), UInt8(ascii: "v"), UInt8(ascii: "N"):
                throw TemplateError(.unsupported, line: begun, "the escape \\\(Unicode.Scalar(escape)) in a string")
            default: bytes += [UInt8(ascii: "\\"), escape]
            }
        }
        guard offset < source.count else { throw TemplateError(.syntax, line: begun, "a string is not closed") }
        offset += 1
        return String(decoding: bytes, as: UTF8.self)
    }

    private mutating func readCode(_ digits: Int) throws(TemplateError) -> [UInt8] {
        let text = String(decoding: source[offset..<min(source.count, offset + digits)], as: UTF8.self)
        guard text.utf8.count == digits, let code = UInt32(text, radix: 16), let scalar = Unicode.Scalar(code) else {
            throw TemplateError(.syntax, line: line, "an escape in a string names no character")
        }
        offset += digits
        return Array(String(scalar).utf8)
    }

    // MARK: Characters

    private mutating func step() {
        if source[offset] == 0x0A { line += 1 }
        offset += 1
    }

    private func isAt(_ text: String, skipping: Int = 0) -> Bool {
        offset + skipping < source.count && source[(offset + skipping)...].starts(with: text.utf8)
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private static func isWord(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || byte == 0x5F
    }
}
