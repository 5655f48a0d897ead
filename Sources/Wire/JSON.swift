// SPDX-License-Identifier: Apache-2.0

/// A JSON value (RFC 8259). Objects keep the order of their members, so that what is written is deterministic; integers
/// that fit 64 bits are kept apart from other numbers.
public enum JSON: Hashable, Sendable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number that was written without fraction and exponent and fits 64 bits.
    case integer(Int64)
    /// Any other number.
    case number(Double)
    /// A string.
    case string(String)
    /// An array.
    case array([JSON])
    /// An object, its members in order and each name once.
    case object(Object)

    /// The members of an object in order. Looking a name up in a large object costs one hash.
    public struct Object: Hashable, Sendable, ExpressibleByDictionaryLiteral, Sequence {
        /// A member's name, compared byte by byte: to Swift's own comparison the two ways to write "é" are one string,
        /// to JSON they are two names.
        private struct Name: Hashable, Sendable {
            let text: String
            static func == (a: Name, b: Name) -> Bool { a.text.utf8.elementsEqual(b.text.utf8) }
            func hash(into hasher: inout Hasher) {
                var text = text
                text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
            }
        }

        private var names: [Name] = []
        private var values: [Name: JSON] = [:]

        /// An object without members.
        public init() {}

        /// An object from a literal; a name that comes twice keeps its last value.
        public init(dictionaryLiteral elements: (String, JSON)...) {
            for (name, value) in elements { self[name] = value }
        }

        /// How many members there are.
        public var count: Int { names.count }

        /// The value of a member; setting `nil` removes it.
        public subscript(name: String) -> JSON? {
            get { values[Name(text: name)] }
            set {
                let name = Name(text: name)
                if let newValue {
                    if values.updateValue(newValue, forKey: name) == nil { names.append(name) }
                } else if values.removeValue(forKey: name) != nil {
                    names.removeAll { $0 == name }
                }
            }
        }

        /// The members in order.
        public func makeIterator() -> AnyIterator<(name: String, value: JSON)> {
            var index = 0
            return AnyIterator {
                guard index < names.count else { return nil }
                defer { index += 1 }
                return (names[index].text, values[names[index]] ?? .null)
            }
        }
    }

    /// The object's member, `nil` for a missing one and for what is no object.
    public subscript(name: String) -> JSON? {
        if case .object(let object) = self { object[name] } else { nil }
    }

    /// The string, `nil` for any other kind.
    public var string: String? { if case .string(let value) = self { value } else { nil } }
    /// The integer, `nil` for any other kind.
    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    /// The number, an integer included, `nil` for any other kind.
    public var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }
    /// The truth value, `nil` for any other kind.
    public var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    /// The elements, `nil` for any other kind.
    public var array: [JSON]? { if case .array(let value) = self { value } else { nil } }
    /// The members, `nil` for any other kind.
    public var object: Object? { if case .object(let value) = self { value } else { nil } }
    /// Whether this is `null`.
    public var isNull: Bool { self == .null }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    /// A string.
    public init(stringLiteral value: String) { self = .string(value) }
    /// An integer.
    public init(integerLiteral value: Int64) { self = .integer(value) }
    /// A truth value.
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// An array.
    public init(arrayLiteral elements: JSON...) { self = .array(elements) }
    /// An object.
    public init(dictionaryLiteral elements: (String, JSON)...) {
        var object = Object()
        for (name, value) in elements { object[name] = value }
        self = .object(object)
    }
}

// MARK: - Writing

extension JSON {
    /// The value as text: compact, or with two spaces of indent a level and a line for each member.
    public func serialized(indented: Bool = false) -> String {
        var text = ""
        write(to: &text, indent: indented ? 0 : nil)
        return text
    }

    private func write(to text: inout String, indent: Int?) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): JSON.write(value, to: &text)
        case .array(let values):
            JSON.writeList(values, brackets: ("[", "]"), to: &text, indent: indent) { value, text, indent in
                value.write(to: &text, indent: indent)
            }
        case .object(let object):
            JSON.writeList(Array(object), brackets: ("{", "}"), to: &text, indent: indent) { member, text, indent in
                JSON.write(member.name, to: &text)
                text += indent == nil ? ":" : ": "
                member.value.write(to: &text, indent: indent)
            }
        }
    }

    private static func writeList<Element>(
        _ elements: [Element], brackets: (String, String), to text: inout String, indent: Int?,
        element write: (Element, inout String, Int?) -> Void
    ) {
        text += brackets.0
        let inner = indent.map { $0 + 1 }
        for (index, element) in elements.enumerated() {
            if index > 0 { text += "," }
            if let inner { text += "\n" + String(repeating: "  ", count: inner) }
            write(element, &text, inner)
        }
        if let indent, !elements.isEmpty { text += "\n" + String(repeating: "  ", count: indent) }
        text += brackets.1
    }

    private static func write(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..."\u{1F}", "\u{7F}":
                let hex = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}
