// SPDX-License-Identifier: Apache-2.0

/// Reads the statements of a template. What is not known is refused by name and line.
struct TemplateParser {
    private let segments: [TemplateSegment]
    private var index = 0
    private var depth = 0

    /// Blocks inside each other.
    private static let deepest = 64

    private static let refused: Set<String> = [
        "block", "extends", "include", "import", "from", "call", "filter", "raw", "do", "with", "autoescape", "trans",
        "debug",
    ]

    /// The statements of a template.
    static func parse(_ source: String) throws(TemplateError) -> [TemplateStatement] {
        var parser = TemplateParser(segments: try TemplateLexer(source).segmented())
        let (statements, end) = try parser.block(until: [])
        if let end { throw TemplateError(.syntax, line: end.line, "“\(end.name)” has nothing to end") }
        return statements
    }

    private init(segments: [TemplateSegment]) { self.segments = segments }

    /// The tag that ended a block, with the words in it still to be read.
    private struct End {
        let name: String
        let line: Int
        var words: TemplateWords
    }

    private mutating func block(
        until ends: Set<String>
    ) throws(TemplateError) -> (body: [TemplateStatement], end: End?) {
        depth += 1
        defer { depth -= 1 }
        var body: [TemplateStatement] = []
        while index < segments.count {
            let segment = segments[index]
            index += 1
            switch segment {
            case .text(let text):
                body.append(TemplateStatement(kind: .text(MarkedText(text, isTrusted: true)), line: 0))
            case .output(let tokens, let line):
                var words = TemplateWords(tokens, line: line)
                let expression = try words.expressionOrTuple()
                try words.end()
                body.append(TemplateStatement(kind: .output(expression), line: line))
            case .statement(let tokens, let line):
                var words = TemplateWords(tokens, line: line)
                let name = try words.name()
                guard depth <= Self.deepest else {
                    throw TemplateError(.limit, line: line, "blocks are nested more than \(Self.deepest) deep")
                }
                if ends.contains(name) { return (body, End(name: name, line: line, words: words)) }
                // Marks what an assistant said, for training: nothing to whoever renders.
                if name == "generation" || name == "endgeneration" {
                    try words.end()
                    continue
                }
                body.append(TemplateStatement(kind: try statement(name, &words, line), line: line))
            }
        }
        return (body, nil)
    }

    /// A block that must be ended.
    private mutating func closedBlock(
        _ what: String, _ line: Int, until ends: Set<String>
    ) throws(TemplateError) -> (body: [TemplateStatement], end: End) {
        let (body, end) = try block(until: ends)
        guard let end else { throw TemplateError(.syntax, line: line, "“\(what)” is never ended") }
        return (body, end)
    }

    private mutating func statement(
        _ name: String, _ words: inout TemplateWords, _ line: Int
    ) throws(TemplateError) -> TemplateStatement.Kind {
        switch name {
        case "if": return try branches(&words, line)
        case "for": return try loop(&words, line)
        case "set": return try set(&words, line)
        case "macro": return try macro(&words, line)
        case "break":
            try words.end()
            return .breakLoop
        case "continue":
            try words.end()
            return .continueLoop
        default:
            guard !Self.refused.contains(name) else {
                throw TemplateError(.unsupported, line: line, "the statement “\(name)” is not known here")
            }
            throw TemplateError(.syntax, line: line, "“\(name.prefix(50))” cannot stand here")
        }
    }

    private mutating func branches(
        _ words: inout TemplateWords, _ line: Int
    ) throws(TemplateError) -> TemplateStatement.Kind {
        var branches: [(condition: TemplateExpression?, body: [TemplateStatement])] = []
        var condition: TemplateExpression? = try words.expressionOrTuple()
        try words.end()
        while true {
            let isLast = condition == nil
            var (body, end) = try closedBlock("if", line, until: isLast ? ["endif"] : ["elif", "else", "endif"])
            branches.append((condition, body))
            switch end.name {
            case "elif":
                condition = try end.words.expressionOrTuple()
                try end.words.end()
            case "else":
                condition = nil
                try end.words.end()
            default:
                try end.words.end()
                return .branches(branches)
            }
        }
    }

    private mutating func loop(
        _ words: inout TemplateWords, _ line: Int
    ) throws(TemplateError) -> TemplateStatement.Kind {
        let names = try words.targets()
        try words.expect("in", isName: true)
        let items = try words.expressionWithoutCondition()
        var condition: TemplateExpression?
        if words.take(name: "if") { condition = try words.expression() }
        if words.take(name: "recursive") {
            throw TemplateError(.unsupported, line: line, "recursive loops are not known here")
        }
        try words.end()
        var (body, end) = try closedBlock("for", line, until: ["else", "endfor"])
        var otherwise: [TemplateStatement] = []
        try end.words.end()
        if end.name == "else" {
            (otherwise, end) = try closedBlock("for", line, until: ["endfor"])
            try end.words.end()
        }
        return .loop(.init(names: names, items: items, condition: condition, body: body, otherwise: otherwise))
    }

    private mutating func set(
        _ words: inout TemplateWords, _ line: Int
    ) throws(TemplateError) -> TemplateStatement.Kind {
        let names = try words.targets()
        if names.count == 1, words.take(symbol: ".") {
            let attribute = try words.name()
            try words.expect("=")
            let value = try words.expressionOrTuple()
            try words.end()
            return .setAttribute(names[0], attribute, value)
        }
        if words.take(symbol: "=") {
            let value = try words.expressionOrTuple()
            try words.end()
            return .set(names, value)
        }
        guard names.count == 1, words.isAtEnd else {
            throw TemplateError(.unsupported, line: line, "this form of “set” is not known here")
        }
        let (body, end) = try closedBlock("set", line, until: ["endset"])
        try end.words.end()
        return .capture(names[0], body)
    }

    private mutating func macro(
        _ words: inout TemplateWords, _ line: Int
    ) throws(TemplateError) -> TemplateStatement.Kind {
        let name = try words.name()
        try words.expect("(")
        var parameters: [(name: String, value: TemplateExpression?)] = []
        while !words.take(symbol: ")") {
            if !parameters.isEmpty { try words.expect(",") }
            let parameter = try words.name()
            parameters.append((parameter, words.take(symbol: "=") ? try words.expression() : nil))
        }
        try words.end()
        var (body, end) = try closedBlock("macro", line, until: ["endmacro"])
        if !end.words.isAtEnd { _ = try end.words.name() }
        try end.words.end()
        return .macro(.init(name: name, parameters: parameters, body: body))
    }
}
