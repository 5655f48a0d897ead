// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A value in a template, as Python has them.
enum TemplateValue: Sendable {
    /// What was never set, and what it was called.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(MarkedText)
    case list([TemplateValue])
    case map(TemplateMap)
    /// An object whose attributes can be set, by its number.
    case namespace(Int)
    /// A macro of the template, by its number.
    case macro(Int)
    /// A function that is always there.
    case function(String)
    /// What `loop` means inside of a loop.
    case loop(TemplateLoop)

    /// A value of a request.
    init(_ json: JSON, isTrusted: Bool) {
        self =
            switch json {
            case .null: .none
            case .bool(let value): .bool(value)
            case .integer(let value): Int(exactly: value).map { .integer($0) } ?? .number(Double(value))
            case .number(let value): .number(value)
            case .string(let value): .string(MarkedText(value, isTrusted: isTrusted))
            case .array(let values): .list(values.map { TemplateValue($0, isTrusted: isTrusted) })
            case .object(let members): .map(TemplateMap(members, isTrusted: isTrusted))
            }
    }

    /// What it is, for messages.
    var kind: String {
        switch self {
        case .undefined(let name): "“\(name.prefix(50))”, which is undefined"
        case .none: "none"
        case .bool: "a truth value"
        case .integer: "an integer"
        case .number: "a number"
        case .string: "a string"
        case .list: "a list"
        case .map: "a mapping"
        case .namespace: "a namespace"
        case .macro: "a macro"
        case .function: "a function"
        case .loop: "a loop"
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }

    /// Whether Python takes it for true.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let text): !text.utf8.isEmpty
        case .list(let values): !values.isEmpty
        case .map(let map): map.count > 0
        case .namespace, .macro, .function, .loop: true
        }
    }

    /// The integer; a truth value is 0 or 1.
    var integer: Int? {
        switch self {
        case .integer(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    /// The number; a truth value is 0 or 1.
    var number: Double? {
        if case .number(let value) = self { value } else { integer.map { Double($0) } }
    }

    /// The string.
    var text: MarkedText? { if case .string(let text) = self { text } else { nil } }

    /// Whether both are equal, as Python's `==` has it.
    func equals(_ other: TemplateValue) -> Bool {
        switch (self, other) {
        case (.undefined, .undefined), (.none, .none): true
        case (.string(let a), .string(let b)): a == b
        case (.list(let a), .list(let b)): a.count == b.count && zip(a, b).allSatisfy { $0.equals($1) }
        case (.map(let a), .map(let b)):
            a.count == b.count
                && a.members.allSatisfy { member in b[member.key].map { member.value.equals($0) } ?? false }
        case (.namespace(let a), .namespace(let b)), (.macro(let a), .macro(let b)): a == b
        case (.function(let a), .function(let b)): a == b
        default:
            if let a = integer, let b = other.integer {
                a == b
            } else if let a = number, let b = other.number {
                a == b
            } else {
                false
            }
        }
    }
}

/// A mapping that keeps the order of its members; its names are strings.
struct TemplateMap: Sendable {
    /// The members in order.
    private(set) var members: [(key: MarkedText, value: TemplateValue)] = []
    private var index: [[UInt8]: Int] = [:]

    init() {}

    init(_ object: JSON.Object, isTrusted: Bool) {
        for (name, value) in object {
            set(MarkedText(name, isTrusted: isTrusted), TemplateValue(value, isTrusted: isTrusted))
        }
    }

    var count: Int { members.count }

    subscript(key: MarkedText) -> TemplateValue? { index[key.utf8].map { members[$0].value } }

    subscript(key: String) -> TemplateValue? { index[Array(key.utf8)].map { members[$0].value } }

    mutating func set(_ key: MarkedText, _ value: TemplateValue) {
        if let place = index[key.utf8] {
            members[place].value = value
        } else {
            index[key.utf8] = members.count
            members.append((key, value))
        }
    }
}

/// Where a loop is.
struct TemplateLoop: Sendable {
    let items: [TemplateValue]
    var index: Int

    /// An attribute of `loop`; `nil` for what it does not have.
    func attribute(_ name: String) -> TemplateValue? {
        switch name {
        case "index": .integer(index + 1)
        case "index0": .integer(index)
        case "revindex": .integer(items.count - index)
        case "revindex0": .integer(items.count - index - 1)
        case "first": .bool(index == 0)
        case "last": .bool(index == items.count - 1)
        case "length": .integer(items.count)
        case "depth": .integer(1)
        case "depth0": .integer(0)
        case "previtem": index > 0 ? items[index - 1] : .undefined("loop.previtem")
        case "nextitem": index + 1 < items.count ? items[index + 1] : .undefined("loop.nextitem")
        default: nil
        }
    }
}
