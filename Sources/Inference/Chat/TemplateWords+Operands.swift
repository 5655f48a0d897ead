// SPDX-License-Identifier: Apache-2.0

/// Operands, and what is written behind them: attributes, items, calls, filters and tests.
extension TemplateWords {
    mutating func primary() throws(TemplateError) -> TemplateExpression {
        let line = line
        guard index < tokens.count else { throw unexpected("an expression was expected") }
        switch tokens[index].kind {
        case .name(let name):
            guard !["if", "else", "elif", "and", "or", "in", "is", "not"].contains(name) else {
                throw unexpected("an expression was expected")
            }
            index += 1
            switch name {
            case "true", "True": return make(.literal(.bool(true)), line)
            case "false", "False": return make(.literal(.bool(false)), line)
            case "none", "None": return make(.literal(.none), line)
            default: return make(.name(name), line)
            }
        case .string:
            var text = ""
            while index < tokens.count, case .string(let next) = tokens[index].kind {
                text += next
                index += 1
            }
            return make(.literal(.string(MarkedText(text, isTrusted: true))), line)
        case .integer(let value):
            index += 1
            return make(.literal(.integer(value)), line)
        case .number(let value):
            index += 1
            return make(.literal(.number(value)), line)
        case .symbol("("):
            index += 1
            if take(symbol: ")") { return make(.list([]), line) }
            let first = try expression()
            if take(symbol: ")") { return first }
            var items = [first]
            while !take(symbol: ")") {
                try expect(",")
                if isAt(symbol: ")") { continue }
                items.append(try expression())
            }
            return make(.list(items), line)
        case .symbol("["):
            index += 1
            var items: [TemplateExpression] = []
            while !take(symbol: "]") {
                if !items.isEmpty {
                    try expect(",")
                    if take(symbol: "]") { break }
                }
                items.append(try expression())
            }
            return make(.list(items), line)
        case .symbol("{"):
            index += 1
            var members: [(key: TemplateExpression, value: TemplateExpression)] = []
            while !take(symbol: "}") {
                if !members.isEmpty {
                    try expect(",")
                    if take(symbol: "}") { break }
                }
                let key = try expression()
                try expect(":")
                members.append((key, try expression()))
            }
            return make(.map(members), line)
        case .symbol: throw unexpected("an expression was expected")
        }
    }

    /// Attributes, items and calls behind an operand.
    mutating func suffixed(_ operand: TemplateExpression) throws(TemplateError) -> TemplateExpression {
        var value = operand
        var count = 0
        while true {
            let line = try counted(&count, line)
            if take(symbol: ".") {
                if index < tokens.count, case .integer(let number) = tokens[index].kind {
                    index += 1
                    value = make(.item(value, make(.literal(.integer(number)), line)), line)
                } else {
                    value = make(.attribute(value, try name()), line)
                }
            } else if take(symbol: "[") {
                value = try subscripted(value, line)
            } else if take(symbol: "(") {
                value = make(.call(value, try arguments()), line)
            } else {
                return value
            }
        }
    }

    private mutating func subscripted(
        _ value: TemplateExpression, _ line: Int
    ) throws(TemplateError) -> TemplateExpression {
        var parts: [TemplateExpression?] = []
        var colons = 0
        while !take(symbol: "]") {
            if take(symbol: ":") {
                colons += 1
                if parts.count < colons { parts.append(nil) }
            } else if parts.count == colons {
                parts.append(try expression())
            } else {
                throw unexpected("“]” was expected")
            }
        }
        func part(_ index: Int) -> TemplateExpression? { index < parts.count ? parts[index] : nil }
        switch colons {
        case 0:
            guard let item = part(0) else { throw unexpected("an index was expected") }
            return make(.item(value, item), line)
        case 1, 2: return make(.slice(value, from: part(0), to: part(1), step: part(2)), line)
        default: throw TemplateError(.syntax, line: line, "a slice has at most two colons")
        }
    }

    /// What stands between parentheses, the opening one taken.
    private mutating func arguments() throws(TemplateError) -> TemplateExpression.Arguments {
        var arguments = TemplateExpression.Arguments()
        var isFirst = true
        while !take(symbol: ")") {
            if !isFirst {
                try expect(",")
                if take(symbol: ")") { break }
            }
            isFirst = false
            guard !isAt(symbol: "*"), !isAt(symbol: "**") else {
                throw TemplateError(.unsupported, line: line, "spread arguments are not known here")
            }
            if index + 1 < tokens.count, case .name(let name) = tokens[index].kind,
                tokens[index + 1].kind == .symbol("=")
            {
                index += 2
                arguments.named.append((name, try expression()))
            } else {
                guard arguments.named.isEmpty else { throw unexpected("a named argument was expected") }
                arguments.positional.append(try expression())
            }
        }
        return arguments
    }

    /// Filters and tests behind an operand.
    mutating func filtered(_ operand: TemplateExpression) throws(TemplateError) -> TemplateExpression {
        var value = operand
        var count = 0
        while true {
            let line = try counted(&count, line)
            if take(symbol: "|") {
                let name = try name()
                let arguments = take(symbol: "(") ? try arguments() : TemplateExpression.Arguments()
                guard TemplateFilters.names.contains(name) else {
                    throw TemplateError(.unsupported, line: line, "the filter “\(name.prefix(50))” is not known here")
                }
                value = make(.filter(value, name, arguments), line)
            } else if take(name: "is") {
                value = try test(of: value, line)
            } else if take(symbol: "(") {
                value = make(.call(value, try arguments()), line)
            } else {
                return value
            }
        }
    }

    private mutating func test(
        of value: TemplateExpression, _ line: Int
    ) throws(TemplateError) -> TemplateExpression {
        let isNegated = take(name: "not")
        let name = isAt(name: "in") ? "in" : ""
        let test = name.isEmpty ? try self.name() : name
        if !name.isEmpty { index += 1 }
        guard TemplateTests.names.contains(test) else {
            throw TemplateError(.unsupported, line: line, "the test “\(test.prefix(50))” is not known here")
        }
        var operands: [TemplateExpression] = []
        if take(symbol: "(") {
            operands = try arguments().positional
        } else if index < tokens.count, TemplateTests.takesOperand.contains(test) {
            operands = [try suffixed(try primary())]
        }
        let result = make(.test(value, test, operands), line)
        return isNegated ? make(.not(result), line) : result
    }
}
