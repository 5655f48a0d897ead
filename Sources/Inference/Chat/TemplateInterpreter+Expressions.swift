// SPDX-License-Identifier: Apache-2.0

extension TemplateInterpreter {
    /// The value of an expression.
    mutating func evaluate(_ expression: TemplateExpression) throws(TemplateError) -> TemplateValue {
        let line = expression.line
        try enter(line: line)
        defer { leave() }
        switch expression.kind {
        case .literal(let value): return value
        case .name(let name): return value(of: name)
        case .list(let items):
            var values: [TemplateValue] = []
            for item in items { values.append(try evaluate(item)) }
            try weigh(.list(values), line: line)
            return .list(values)
        case .map(let members):
            var map = TemplateMap()
            for member in members {
                let name = try evaluate(member.key)
                let value = try evaluate(member.value)
                map.set(try key(name, line: line), value)
            }
            try weigh(.map(map), line: line)
            return .map(map)
        // What reads this interpreter must come after what changes it: operands first.
        case .attribute(let operand, let name):
            let value = try evaluate(operand)
            return try attribute(name, of: value, line: line)
        case .item(let operand, let index):
            let value = try evaluate(operand)
            let place = try evaluate(index)
            return try item(place, of: value, line: line)
        case .slice(let operand, let from, let to, let step):
            return try slice(evaluate(operand), bound(from), bound(to), bound(step), line: line)
        case .call(let function, let arguments): return try call(function, arguments, line: line)
        case .filter(let operand, let name, let arguments):
            return try filter(evaluate(operand), name, evaluate(arguments), line: line)
        case .test(let operand, let name, let operands):
            let value = try evaluate(operand)
            var other: TemplateValue?
            if let operand = operands.first { other = try evaluate(operand) }
            return .bool(try test(value, name, other, line: line))
        case .not(let operand): return .bool(try !evaluate(operand).isTrue)
        case .negative(let operand):
            let value = try evaluate(operand)
            return try negate(value, line: line)
        case .binary(let operation, let left, let right):
            return try combine(evaluate(left), operation, evaluate(right), line: line)
        case .and(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? try evaluate(right) : value
        case .or(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? value : try evaluate(right)
        case .comparison(let first, let rest):
            var left = try evaluate(first)
            for (operation, operand) in rest {
                let right = try evaluate(operand)
                guard try compare(left, operation, right, line: line) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .condition(let condition, let then, let other):
            if try evaluate(condition).isTrue { return try evaluate(then) }
            guard let other else { return .undefined("the value of an if without else") }
            return try evaluate(other)
        }
    }

    /// The values of what a function is given.
    mutating func evaluate(_ arguments: TemplateExpression.Arguments) throws(TemplateError) -> TemplateArguments {
        var values = TemplateArguments()
        for argument in arguments.positional { values.positional.append(try evaluate(argument)) }
        for argument in arguments.named { values.named[argument.name] = try evaluate(argument.value) }
        return values
    }

    func test(
        _ value: TemplateValue, _ name: String, _ operand: TemplateValue?, line: Int
    ) throws(TemplateError) -> Bool {
        guard let result = TemplateTests.passes(value, name, operand) else {
            throw TemplateError(.wrongKind, line: line, "the test “\(name)” cannot be made of \(value.kind)")
        }
        return result
    }

    private func key(_ value: TemplateValue, line: Int) throws(TemplateError) -> MarkedText {
        guard let key = value.text else {
            throw TemplateError(.unsupported, line: line, "\(value.kind) as a name in a mapping is not known here")
        }
        return key
    }

    // MARK: Parts

    private func attribute(
        _ name: String, of value: TemplateValue, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch value {
        case .undefined: throw TemplateError(.wrongKind, line: line, "“.\(name)” of \(value.kind)")
        case .map(let map):
            if let member = map[name] { return member }
        case .namespace(let number):
            if let member = namespaces[number][name] { return member }
        case .loop(let loop):
            guard let attribute = loop.attribute(name) else {
                throw TemplateError(.unsupported, line: line, "“loop.\(name)” is not known here")
            }
            return attribute
        default: break
        }
        return .undefined(name)
    }

    private func item(
        _ index: TemplateValue, of value: TemplateValue, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch (value, index) {
        case (.undefined, _): throw TemplateError(.wrongKind, line: line, "an item of \(value.kind)")
        case (.map(let map), .string(let key)): return map[key] ?? .undefined(key.string)
        case (.namespace, .string(let key)), (.loop, .string(let key)):
            return try attribute(key.string, of: value, line: line)
        case (.list(let values), _):
            guard let index = index.integer else { return .undefined("an item") }
            let place = index < 0 ? index + values.count : index
            return values.indices.contains(place) ? values[place] : .undefined("item \(index)")
        case (.string(let text), _):
            guard let index = index.integer else { return .undefined("an item") }
            let offsets = text.characterOffsets
            let place = index < 0 ? index + offsets.count - 1 : index
            guard (0..<offsets.count - 1).contains(place) else { return .undefined("item \(index)") }
            return .string(text.part(offsets[place]..<offsets[place + 1]))
        default: return .undefined("an item")
        }
    }

    private mutating func bound(_ expression: TemplateExpression?) throws(TemplateError) -> Int? {
        guard let expression else { return nil }
        let value = try evaluate(expression)
        if case .none = value { return nil }
        guard let bound = value.integer, bound > Int.min / 2, bound < Int.max / 2 else {
            throw TemplateError(.wrongKind, line: expression.line, "a slice is made of integers, not of \(value.kind)")
        }
        return bound
    }

    private mutating func slice(
        _ value: TemplateValue, _ from: Int?, _ to: Int?, _ step: Int?, line: Int
    ) throws(TemplateError) -> TemplateValue {
        let count: Int
        switch value {
        case .list(let values): count = values.count
        case .string(let text): count = text.characterCount
        default: throw TemplateError(.wrongKind, line: line, "a slice of \(value.kind)")
        }
        guard let indices = sliceIndices(count: count, from: from, to: to, step: step) else {
            throw TemplateError(.wrongKind, line: line, "a slice with steps of nothing")
        }
        try self.step(indices.count, line: line)
        if case .list(let values) = value { return .list(indices.map { values[$0] }) }
        return .string(value.text?.sliced(indices) ?? MarkedText())
    }

    // MARK: Operators

    private func negate(_ value: TemplateValue, line: Int) throws(TemplateError) -> TemplateValue {
        if let integer = value.integer, integer != .min { return .integer(-integer) }
        if case .number(let number) = value { return .number(-number) }
        throw TemplateError(.wrongKind, line: line, "a minus before \(value.kind)")
    }

    private mutating func combine(
        _ left: TemplateValue, _ operation: String, _ right: TemplateValue, line: Int
    ) throws(TemplateError) -> TemplateValue {
        if operation == "~" {
            guard var text = left.written, let other = right.written else {
                throw TemplateError(.wrongKind, line: line, "“~” between \(left.kind) and \(right.kind)")
            }
            try charge(text.utf8.count + other.utf8.count, line: line)
            text.append(other)
            return .string(text)
        }
        switch (left, operation, right) {
        case (.string(var text), "+", .string(let other)):
            try charge(text.utf8.count + other.utf8.count, line: line)
            text.append(other)
            return .string(text)
        case (.list(let values), "+", .list(let others)):
            let all = TemplateValue.list(values + others)
            try weigh(all, line: line)
            return all
        default: break
        }
        if let a = left.integer, let b = right.integer, operation != "/" {
            guard let result = Self.calculate(a, operation, b) else {
                throw TemplateError(.wrongKind, line: line, "\(a) \(operation) \(b) has no result")
            }
            return .integer(result)
        }
        guard let a = left.number, let b = right.number else {
            throw TemplateError(.wrongKind, line: line, "“\(operation)” between \(left.kind) and \(right.kind)")
        }
        switch operation {
        case "+": return .number(a + b)
        case "-": return .number(a - b)
        case "*": return .number(a * b)
        case "/" where b != 0: return .number(a / b)
        case "//" where b != 0: return .number((a / b).rounded(.down))
        case "%" where b != 0: return .number(a - (a / b).rounded(.down) * b)
        default: throw TemplateError(.wrongKind, line: line, "a division by zero")
        }
    }

    /// Python's division rounds down, and its remainder has the sign of the divisor.
    private static func calculate(_ a: Int, _ operation: String, _ b: Int) -> Int? {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case "+": result = a.addingReportingOverflow(b)
        case "-": result = a.subtractingReportingOverflow(b)
        case "*": result = a.multipliedReportingOverflow(by: b)
        case "//", "%":
            guard b != 0, b != -1 || a != .min else { return nil }
            let (quotient, rest) = a.quotientAndRemainder(dividingBy: b)
            let isBelow = rest != 0 && (rest < 0) != (b < 0)
            return operation == "//" ? quotient - (isBelow ? 1 : 0) : rest + (isBelow ? b : 0)
        default: return nil
        }
        return result.overflow ? nil : result.partialValue
    }

    private func compare(
        _ left: TemplateValue, _ operation: String, _ right: TemplateValue, line: Int
    ) throws(TemplateError) -> Bool {
        let result: Bool? =
            switch operation {
            case "==": left.equals(right)
            case "!=": !left.equals(right)
            case "in": TemplateTests.contains(right, left)
            case "not in": TemplateTests.contains(right, left).map { !$0 }
            case "<": TemplateTests.order(left, right).map { $0 < 0 }
            case "<=": TemplateTests.order(left, right).map { $0 <= 0 }
            case ">": TemplateTests.order(left, right).map { $0 > 0 }
            default: TemplateTests.order(left, right).map { $0 >= 0 }
            }
        guard let result else {
            throw TemplateError(.wrongKind, line: line, "“\(operation)” between \(left.kind) and \(right.kind)")
        }
        return result
    }

    // MARK: Calls

    private mutating func call(
        _ function: TemplateExpression, _ arguments: TemplateExpression.Arguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        if case .attribute(let operand, let name) = function.kind {
            let object = try evaluate(operand)
            let values = try evaluate(arguments)
            if let result = try method(name, of: object, values, line: line) { return result }
            return try call(attribute(name, of: object, line: line), named: ".\(name)", values, line: line)
        }
        let callee = try evaluate(function)
        return try call(callee, named: callee.kind, evaluate(arguments), line: line)
    }

    private mutating func call(
        _ callee: TemplateValue, named name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch callee {
        case .macro(let number): return try call(macro: number, arguments, line: line)
        case .function(let name): return try self.function(name, arguments, line: line)
        default:
            throw TemplateError(.unsupported, line: line, "“\(name.prefix(60))” cannot be called, or is not known here")
        }
    }
}
