// SPDX-License-Identifier: Apache-2.0

/// Reads expressions out of the words of a tag, from the loosest binding to the tightest, as Jinja orders them: `if
/// else`, `or`, `and`, `not`, comparisons, `+ -`, `~`, `* / // %`, `**`, unary signs, then what is written behind:
/// attributes, calls, filters and tests.
struct TemplateWords {
    let tokens: [TemplateToken]
    var index = 0
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

    var line: Int { index < tokens.count ? tokens[index].line : tokens.last?.line ?? firstLine }

    func isAt(symbol: String) -> Bool { index < tokens.count && tokens[index].kind == .symbol(symbol) }

    func isAt(name: String) -> Bool { index < tokens.count && tokens[index].kind == .name(name) }

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

    func unexpected(_ message: String) -> TemplateError {
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

    func make(_ kind: TemplateExpression.Kind, _ line: Int) -> TemplateExpression {
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
    func counted(_ count: inout Int, _ line: Int) throws(TemplateError) -> Int {
        count += 1
        guard count <= 100 else { throw TemplateError(.limit, line: line, "an expression is too long") }
        return line
    }

    private mutating func take(anyOf symbols: [String]) -> String? {
        for symbol in symbols where take(symbol: symbol) { return symbol }
        return nil
    }
}
