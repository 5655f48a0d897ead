// SPDX-License-Identifier: Apache-2.0

/// Why text is no JSON, and where.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: Hashable, Sendable {
        /// The text ends inside a value.
        case truncated
        /// A character that cannot stand here.
        case unexpectedCharacter
        /// Bytes that are not UTF-8, or half a surrogate pair.
        case invalidString
        /// Digits that make no number.
        case invalidNumber
        /// More brackets inside each other than allowed.
        case tooDeep
        /// More values than allowed.
        case tooMany
        /// A name that comes twice in an object.
        case duplicateName
    }
    /// What is wrong.
    public let code: Code
    /// Where, in bytes from the start.
    public let offset: Int

    /// The fault in words.
    public var description: String {
        let what =
            switch code {
            case .truncated: "the JSON text ends too early"
            case .unexpectedCharacter: "unexpected character in JSON text"
            case .invalidString: "invalid string in JSON text"
            case .invalidNumber: "invalid number in JSON text"
            case .tooDeep: "JSON text is nested too deeply"
            case .tooMany: "JSON text holds too many values"
            case .duplicateName: "a name comes twice in a JSON object"
            }
        return "\(what) (at byte \(offset))"
    }
}

extension JSON {
    /// How much a parser takes before it gives up, so that foreign text cannot exhaust memory or the stack.
    public struct Limits: Sendable {
        /// Brackets inside each other; the outermost is 1.
        public var depth: Int
        /// Values in all.
        public var values: Int
        /// The most that `depth` values and `values` values may be.
        public init(depth: Int = 64, values: Int = 4_000_000) {
            self.depth = depth
            self.values = values
        }
    }

    /// Reads one value and nothing after it but white space.
    public init(parsing bytes: RawSpan, limits: Limits = Limits()) throws(JSONError) {
        var parser = JSONParser(reader: bytes, limits: limits)
        self = try parser.parseDocument()
    }

    /// Reads one value from UTF-8 in an array.
    public init(parsing bytes: [UInt8], limits: Limits = Limits()) throws(JSONError) {
        try self.init(parsing: bytes.span.bytes, limits: limits)
    }

    /// Reads one value from text.
    public init(parsing text: String, limits: Limits = Limits()) throws(JSONError) {
        try self.init(parsing: Array(text.utf8), limits: limits)
    }
}

private struct JSONParser: ~Escapable {
    private let bytes: RawSpan
    private let limits: JSON.Limits
    private var offset = 0
    private var values = 0

    @_lifetime(copy reader)
    init(reader: RawSpan, limits: JSON.Limits) {
        bytes = reader
        self.limits = limits
    }

    mutating func parseDocument() throws(JSONError) -> JSON {
        let value = try parseValue(depth: 0)
        skipSpace()
        guard offset == bytes.byteCount else { throw fault(.unexpectedCharacter) }
        return value
    }

    private mutating func parseValue(depth: Int) throws(JSONError) -> JSON {
        values += 1
        guard values <= limits.values else { throw fault(.tooMany) }
        skipSpace()
        switch try peek() {
        case UInt8(ascii: "{"): return try parseObject(depth: depth + 1)
        case UInt8(ascii: "["): return try parseArray(depth: depth + 1)
        case UInt8(ascii: "\""): return .string(try parseString())
        case UInt8(ascii: "t"): return try parseWord("true", .bool(true))
        case UInt8(ascii: "f"): return try parseWord("false", .bool(false))
        case UInt8(ascii: "n"): return try parseWord("null", .null)
        case UInt8(ascii: "-"), 0x30...0x39: return try parseNumber()
        default: throw fault(.unexpectedCharacter)
        }
    }

    private mutating func parseObject(depth: Int) throws(JSONError) -> JSON {
        guard depth <= limits.depth else { throw fault(.tooDeep) }
        offset += 1
        var object = JSON.Object()
        skipSpace()
        if try peek() == UInt8(ascii: "}") {
            offset += 1
            return .object(object)
        }
        while true {
            skipSpace()
            guard try peek() == UInt8(ascii: "\"") else { throw fault(.unexpectedCharacter) }
            let start = offset
            let name = try parseString()
            skipSpace()
            try expect(UInt8(ascii: ":"))
            let value = try parseValue(depth: depth)
            guard object[name] == nil else { throw JSONError(code: .duplicateName, offset: start) }
            object[name] = value
            skipSpace()
            if try peek() == UInt8(ascii: ",") {
                offset += 1
            } else {
                try expect(UInt8(ascii: "}"))
                return .object(object)
            }
        }
    }

    private mutating func parseArray(depth: Int) throws(JSONError) -> JSON {
        guard depth <= limits.depth else { throw fault(.tooDeep) }
        offset += 1
        var elements: [JSON] = []
        skipSpace()
        if try peek() == UInt8(ascii: "]") {
            offset += 1
            return .array(elements)
        }
        while true {
            elements.append(try parseValue(depth: depth))
            skipSpace()
            if try peek() == UInt8(ascii: ",") {
                offset += 1
            } else {
                try expect(UInt8(ascii: "]"))
                return .array(elements)
            }
        }
    }

    private mutating func parseString() throws(JSONError) -> String {
        offset += 1
        let start = offset
        var escaped: [UInt8]?
        while true {
            let byte = try peek()
            switch byte {
            case UInt8(ascii: "\""):
                let raw = escaped ?? [UInt8](copying: bytes.extracting(start..<offset))
                offset += 1
                guard let string = String(validating: raw, as: UTF8.self) else { throw fault(.invalidString) }
                return string
            case UInt8(ascii: "\\"):
                var text = escaped ?? [UInt8](copying: bytes.extracting(start..<offset))
                try parseEscape(into: &text)
                escaped = text
            case 0..<0x20:
                throw fault(.invalidString)
            default:
                escaped?.append(byte)
                offset += 1
            }
        }
    }

    private mutating func parseEscape(into text: inout [UInt8]) throws(JSONError) {
        offset += 1
        let kind = try peek()
        offset += 1
        switch kind {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(kind)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = UInt32(try parseHex4())
            if (0xD800..<0xDC00).contains(code) {
                try expect(UInt8(ascii: "\\"))
                try expect(UInt8(ascii: "u"))
                let low = UInt32(try parseHex4())
                guard (0xDC00..<0xE000).contains(low) else { throw fault(.invalidString) }
                code = 0x1_0000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw fault(.invalidString) }
            text.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
        default: throw fault(.invalidString)
        }
    }

    private mutating func parseHex4() throws(JSONError) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            let byte = try peek()
            let digit: UInt8
            switch byte {
            case 0x30...0x39: digit = byte - 0x30
            case 0x41...0x46: digit = byte - 0x37
            case 0x61...0x66: digit = byte - 0x57
            default: throw fault(.invalidString)
            }
            value = value << 4 | UInt16(digit)
            offset += 1
        }
        return value
    }

    private mutating func parseNumber() throws(JSONError) -> JSON {
        let start = offset
        var isInteger = true
        if try peek() == UInt8(ascii: "-") { offset += 1 }
        let first = try peek()
        let digits = skipDigits()
        guard digits > 0, first != 0x30 || digits == 1 else { throw fault(.invalidNumber) }
        if bytes.byte(at: offset) == UInt8(ascii: ".") {
            isInteger = false
            offset += 1
            guard skipDigits() > 0 else { throw fault(.invalidNumber) }
        }
        if let byte = bytes.byte(at: offset), byte | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            offset += 1
            if let sign = bytes.byte(at: offset), sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") { offset += 1 }
            guard skipDigits() > 0 else { throw fault(.invalidNumber) }
        }
        let text = String(decoding: [UInt8](copying: bytes.extracting(start..<offset)), as: UTF8.self)
        if isInteger, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else { throw JSONError(code: .invalidNumber, offset: start) }
        return .number(value)
    }

    private mutating func skipDigits() -> Int {
        let start = offset
        while let byte = bytes.byte(at: offset), (0x30...0x39).contains(byte) { offset += 1 }
        return offset - start
    }

    private mutating func parseWord(_ word: StaticString, _ value: JSON) throws(JSONError) -> JSON {
        for index in 0..<word.utf8CodeUnitCount {
            guard try peek() == word.utf8Start[index] else { throw fault(.unexpectedCharacter) }
            offset += 1
        }
        return value
    }

    private mutating func skipSpace() {
        while let byte = bytes.byte(at: offset), byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            offset += 1
        }
    }

    private func peek() throws(JSONError) -> UInt8 {
        guard let byte = bytes.byte(at: offset) else { throw fault(.truncated) }
        return byte
    }

    private mutating func expect(_ byte: UInt8) throws(JSONError) {
        guard try peek() == byte else { throw fault(.unexpectedCharacter) }
        offset += 1
    }

    private func fault(_ code: JSONError.Code) -> JSONError { JSONError(code: code, offset: offset) }
}
