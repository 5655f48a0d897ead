// SPDX-License-Identifier: Apache-2.0

/// Reads expressions out of the words of a tag, from the loosest binding to the tightest, as Jinja orders them: `if
/// else`, `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, unary signs, then what is written behind:
/// attributes, calls, filters and tests.
struct TemplateWords {
    private let tokens: [TemplateToken]
    private var index = 0
    private var depth = 0
    private let firstLine: Int

    /// Expressions inside each other.
    private static let deepest = 64

    init(_ tokens: [TemplateToken], line: Int) {
        self.tokens = tokens
        firstLine = line
    }

    // MARK: Words

    /// Whether all words were taken.
    var isAtEnd: Bool { index == tokens.count }

    private var line: Int { index < tokens.count ? tokens[index].line : tokens.last?.line ?? firstLine }

    private func isAt(symbol: String) -> Bool { index < tokens.count && tokens[index].kind == .symbol(symbol) }

    private func isAt(name: String) -> Bool { index < tokens.count && tokens[index].kind == .name(name) }

    mutating func take(symbol: String) -> Bool {
        guard isAt(symbol: symbol) else { return false }
        index += 1
        return true
    }

    mutating func take(name: String) -> Bool {
        guard isAt(name: name) else { return false }
        index += 1
        return true
    }

    mutating func expect(_ word: String, isName: Bool = false) throws(TemplateError) {
        guard isName ? take(name: word) : take(symbol: word) else { throw unexpected("“\(word)” was expected") }
    }

    mutating func name() throws(TemplateError) -> String {
        guard index < tokens.count, case .name(let name) = tokens[index].kind else {
            throw unexpected("a name was expected")
        }
        index += 1
        return name
    }

    /// `a` or `a, b`.
    mutating func targets() throws(TemplateError) -> [String] {
        var names = [try name()]
        while take(symbol: ",") { names.append(try name()) }
        return names
    }

    func end() throws(TemplateError) {
        guard isAtEnd else { throw unexpected("the end of the tag was expected") }
    }

    private func unexpected(_ message: String) -> TemplateError {
        guard index < tokens.count else { return TemplateError(.syntax, line: line, "\(message), the tag ends") }
        let found =
            switch tokens[index].kind {
            case .name(let name): name
            case .string: "a string"
            case .integer(let value): "\(value)"
            case .number(let value): "\(value)"
            case .symbol(let symbol): symbol
            }
        return TemplateError(.syntax, line: line, "\(message), found “\(found.prefix(50))”")
    }

    // MARK: Expressions

    /// An expression, or several with commas between them, which are a list.
    mutating func expressionOrTuple() throws(TemplateError) -> TemplateExpression {
        let line = line
        let first = try expression()
        guard isAt(symbol: ",") else { return first }
        var items = [first]
        while take(symbol: ","), !isAtEnd { items.append(try expression()) }
        return make(.list(items), line)
    }

    mutating func expression() throws(TemplateError) -> TemplateExpression {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else {
            throw TemplateError(.limit, line: line, "expressions are nested more than \(Self.deepest) deep")
        }
        let line = line
        var value = try disjunction()
        var conditions = 0
        while take(name: "if") {
            conditions += 1
            guard conditions <= Self.deepest else { throw TemplateError(.limit, line: line, "too many conditions") }
            let condition = try disjunction()
            let other: TemplateExpression? = take(name: "else") ? try expression() : nil
            value = make(.condition(if: condition, then: value, else: other), line)
        }
        return value
    }

    /// What a loop goes over: an `if` behind it is the loop's.
    mutating func expressionWithoutCondition() throws(TemplateError) -> TemplateExpression { try disjunction() }

    private func make(_ kind: TemplateExpression.Kind, _ line: Int) -> TemplateExpression {
        TemplateExpression(kind: kind, line: line)
    }

    private mutating func disjunction() throws(TemplateError) -> TemplateExpression {
        let line = line
        var value = try conjunction()
        var count = 0
        while take(name: "or") { value = make(.or(value, try conjunction()), try counted(&count, line)) }
        return value
    }

    private mutating func conjunction() throws(TemplateError) -> TemplateExpression {
        let line = line
        var value = try negation()
        var count = 0
        while take(name: "and") { value = make(.and(value, try negation()), try counted(&count, line)) }
        return value
    }

    private mutating func negation() throws(TemplateError) -> TemplateExpression {
        let line = line
        var isNegative = false
        var isNegated = false
        while take(name: "not") {
            isNegated = true
            isNegative.toggle()
        }
        let value = try comparison()
        guard isNegated else { return value }
        return isNegative ? make(.not(value), line) : make(.not(make(.not(value), line)), line)
    }

    private mutating func comparison() throws(TemplateError) -> TemplateExpression {
        let line = line
        let first = try sum()
        var rest: [(operation: String, operand: TemplateExpression)] = []
        while true {
            if let symbol = take(anyOf: ["==", "!=", "<=", ">=", "<", ">"]) {
                rest.append((symbol, try sum()))
            } else if take(name: "in") {
                rest.append(("in", try sum()))
            } else if isAt(name: "not"), index + 1 < tokens.count, tokens[index + 1].kind == .name("in") {
                index += 2
                rest.append(("not in", try sum()))
            } else {
                return rest.isEmpty ? first : make(.comparison(first, rest), line)
            }
        }
    }

    private mutating func sum() throws(TemplateError) -> TemplateExpression {
        let line = line
        var value = try concatenation()
        var count = 0
        while let symbol = take(anyOf: ["+", "-"]) {
            value = make(.binary(symbol, value, try concatenation()), try counted(&count, line))
        }
        return value
    }

    private mutating func concatenation() throws(TemplateError) -> TemplateExpression {
        let line = line
        var value = try product()
        var count = 0
        while take(symbol: "~") { value = make(.binary("~", value, try product()), try counted(&count, line)) }
        return value
    }

    private mutating func product() throws(TemplateError) -> TemplateExpression {
        let line = line
        var value = try power()
        var count = 0
        while let symbol = take(anyOf: ["*", "//", "/", "%"]) {
            value = make(.binary(symbol, value, try power()), try counted(&count, line))
        }
        return value
    }

    private mutating func power() throws(TemplateError) -> TemplateExpression {
        let value = try signed(withFilters: true)
        guard !isAt(symbol: "**") else { throw TemplateError(.unsupported, line: line, "“**” is not known here") }
        return value
    }

    private mutating func signed(withFilters: Bool) throws(TemplateError) -> TemplateExpression {
        let line = line
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else {
            throw TemplateError(.limit, line: line, "expressions are nested more than \(Self.deepest) deep")
        }
        var value: TemplateExpression
        if take(symbol: "-") {
            value = make(.negative(try signed(withFilters: false)), line)
        } else if take(symbol: "+") {
            value = try signed(withFilters: false)
        } else {
            value = try suffixed(try primary())
        }
        if withFilters { value = try filtered(value) }
        return value
    }

    /// Trees of one operator lean to the left: their depth is their length, which the interpreter's stack must bear.
    private func counted(_ count: inout Int, _ line: Int) throws(TemplateError) -> Int {
        count += 1
        guard count <= 100 else { throw TemplateError(.limit, line: line, "an expression is too long") }
        return line
    }

    private mutating func take(anyOf symbols: [String]) -> String? {
        for symbol in symbols where take(symbol: symbol) { return symbol }
        return nil
    }

    // MARK: Operands

    private mutating func primary() throws(TemplateError) -> TemplateExpression {
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
    private mutating func suffixed(_ operand: TemplateExpression) throws(TemplateError) -> TemplateExpression {
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
    private mutating func filtered(_ operand: TemplateExpression) throws(TemplateError) -> TemplateExpression {
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
