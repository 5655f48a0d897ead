// SPDX-License-Identifier: Apache-2.0

/// What stands behind `is`.
enum TemplateTests {
    /// All that are known.
    static let names = takesOperand.union([
        "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "true", "false", "mapping",
        "sequence", "iterable", "callable", "odd", "even", "lower", "upper",
    ])

    /// Those with an operand, which may stand behind without parentheses.
    static let takesOperand: Set<String> = [
        "divisibleby", "equalto", "eq", "ne", "lt", "le", "gt", "ge", "lessthan", "greaterthan", "in", "sameas",
    ]

    /// Whether a value passes; `nil` when the test cannot be made of such values.
    static func passes(_ value: TemplateValue, _ name: String, _ operand: TemplateValue?) -> Bool? {
        switch (name, value) {
        case ("defined", _): return !value.isUndefined
        case ("undefined", _): return value.isUndefined
        case ("none", .none), ("string", .string), ("boolean", .bool), ("mapping", .map): return true
        case ("number", .integer), ("number", .number), ("number", .bool): return true
        case ("integer", .integer), ("float", .number), ("true", .bool(true)), ("false", .bool(false)): return true
        case ("sequence", .string), ("sequence", .list), ("sequence", .map): return true
        case ("iterable", .string), ("iterable", .list), ("iterable", .map), ("iterable", .undefined): return true
        case ("callable", .macro), ("callable", .function): return true
        case ("lower", .string(let text)): return text.string.lowercased() == text.string && hasCase(text)
        case ("upper", .string(let text)): return text.string.uppercased() == text.string && hasCase(text)
        case ("odd", _): return value.integer.map { $0 % 2 != 0 }
        case ("even", _): return value.integer.map { $0 % 2 == 0 }
        default: break
        }
        guard takesOperand.contains(name) else { return false }
        guard let operand else { return nil }
        switch name {
        case "divisibleby":
            guard let a = value.integer, let b = operand.integer, b != 0 else { return nil }
            return b == -1 || a % b == 0
        case "equalto", "eq": return value.equals(operand)
        case "ne": return !value.equals(operand)
        case "lt", "lessthan": return order(value, operand).map { $0 < 0 }
        case "le": return order(value, operand).map { $0 <= 0 }
        case "gt", "greaterthan": return order(value, operand).map { $0 > 0 }
        case "ge": return order(value, operand).map { $0 >= 0 }
        case "in": return contains(operand, value)
        case "sameas":
            switch (value, operand) {
            case (.bool, .bool), (.none, .none), (.integer, .integer): return value.equals(operand)
            default: return false
            }
        default: return nil
        }
    }

    private static func hasCase(_ text: MarkedText) -> Bool {
        text.string.unicodeScalars.contains { $0.properties.isCased }
    }

    /// Below, at or above zero as the first is less, equal or more; `nil` for values without an order.
    static func order(_ a: TemplateValue, _ b: TemplateValue) -> Int? {
        if let a = a.integer, let b = b.integer { return a < b ? -1 : a > b ? 1 : 0 }
        // Python says false of every comparison with what is not a number.
        if let a = a.number, let b = b.number { return a < b ? -1 : a > b ? 1 : a == b ? 0 : nil }
        switch (a, b) {
        case (.string(let a), .string(let b)):
            return a == b ? 0 : a.utf8.lexicographicallyPrecedes(b.utf8) ? -1 : 1
        case (.list(let a), .list(let b)):
            for (a, b) in zip(a, b) where !a.equals(b) { return order(a, b) }
            return a.count < b.count ? -1 : a.count > b.count ? 1 : 0
        default: return nil
        }
    }

    /// Whether a container holds a value; `nil` for what is no container of it.
    static func contains(_ container: TemplateValue, _ value: TemplateValue) -> Bool? {
        switch (container, value) {
        case (.string(let text), .string(let part)): text.firstIndex(of: part.utf8) != nil
        case (.list(let values), _): values.contains { $0.equals(value) }
        case (.map(let map), .string(let key)): map[key] != nil
        case (.map, _), (.undefined, _): false
        default: nil
        }
    }
}
