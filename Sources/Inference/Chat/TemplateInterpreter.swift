// SPDX-License-Identifier: Apache-2.0

/// Runs the statements of a template, within bounds: a template comes with a model, from strangers.
struct TemplateInterpreter {
    /// What a template may cost.
    struct Limits: Sendable {
        /// Statements, operations and items gone over.
        var steps = 10_000_000
        /// Bytes of text made, what is thrown away included.
        var bytes = 256 << 20
        /// Statements, expressions and macros inside each other as they run.
        var depth = 400
        /// How deep lists and mappings may be nested.
        var nesting = 80
    }

    private enum Flow { case on, breakLoop, continueLoop }

    let limits: Limits
    private var steps = 0
    private var bytes = 0
    private var depth = 0
    private var loopDepth = 0
    /// Names and values, the innermost scope last.
    private var scopes: [[String: TemplateValue]]
    private(set) var namespaces: [[String: TemplateValue]] = []
    private(set) var macros: [TemplateStatement.Macro] = []
    private var output = MarkedText()

    init(variables: [String: TemplateValue], limits: Limits) {
        self.limits = limits
        scopes = [variables]
    }

    /// The text that the statements give out.
    mutating func run(_ statements: [TemplateStatement]) throws(TemplateError) -> MarkedText {
        for (_, value) in scopes[0] { try weigh(value, line: 0) }
        _ = try execute(statements)
        return output
    }

    // MARK: Costs

    /// Pays for work.
    mutating func step(_ count: Int = 1, line: Int) throws(TemplateError) {
        steps += count
        guard steps <= limits.steps else {
            throw TemplateError(.limit, line: line, "it takes more than \(limits.steps) steps")
        }
    }

    /// Pays for text.
    mutating func charge(_ text: MarkedText, line: Int) throws(TemplateError) -> MarkedText {
        try charge(text.utf8.count, line: line)
        return text
    }

    /// Pays for bytes of text.
    mutating func charge(_ count: Int, line: Int) throws(TemplateError) {
        let (sum, overflow) = bytes.addingReportingOverflow(count)
        bytes = sum
        guard !overflow, bytes <= limits.bytes else {
            throw TemplateError(.limit, line: line, "it makes more than \(limits.bytes) bytes of text")
        }
    }

    /// Looks a new value over: nested too deeply, or the same things in it too often, it would take forever to write.
    mutating func weigh(_ value: TemplateValue, line: Int) throws(TemplateError) {
        var weight = 0
        try weigh(value, &weight, nesting: 0, line: line)
    }

    private mutating func weigh(
        _ value: TemplateValue, _ weight: inout Int, nesting: Int, line: Int
    ) throws(TemplateError) {
        try step(line: line)
        weight += 1
        switch value {
        case .string(let text): weight += text.utf8.count
        case .list(let values): try weigh(values, &weight, nesting: nesting, line: line)
        case .loop(let loop): try weigh(loop.items, &weight, nesting: nesting, line: line)
        case .map(let map):
            guard nesting < limits.nesting else { throw tooDeep(line) }
            for member in map.members {
                weight += member.key.utf8.count
                try weigh(member.value, &weight, nesting: nesting + 1, line: line)
            }
        default: break
        }
        guard weight <= limits.bytes else {
            throw TemplateError(.limit, line: line, "a list or mapping holds more than \(limits.bytes) bytes")
        }
    }

    private mutating func weigh(
        _ values: [TemplateValue], _ weight: inout Int, nesting: Int, line: Int
    ) throws(TemplateError) {
        guard nesting < limits.nesting else { throw tooDeep(line) }
        for value in values { try weigh(value, &weight, nesting: nesting + 1, line: line) }
    }

    private func tooDeep(_ line: Int) -> TemplateError {
        TemplateError(.limit, line: line, "lists or mappings are nested more than \(limits.nesting) deep")
    }

    /// Goes one level deeper; `leave` goes back.
    mutating func enter(line: Int) throws(TemplateError) {
        try step(line: line)
        depth += 1
        guard depth <= limits.depth else {
            throw TemplateError(.limit, line: line, "it nests more than \(limits.depth) deep as it runs")
        }
    }

    mutating func leave() { depth -= 1 }

    // MARK: Names

    /// The value of a name.
    func value(of name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return TemplateFunctions.names.contains(name) ? .function(name) : .undefined(name)
    }

    private mutating func set(_ name: String, _ value: TemplateValue) { scopes[scopes.count - 1][name] = value }

    /// Makes an object whose attributes can be set.
    mutating func makeNamespace(_ attributes: [String: TemplateValue]) -> TemplateValue {
        namespaces.append(attributes)
        return .namespace(namespaces.count - 1)
    }

    // MARK: Statements

    private mutating func execute(_ statements: [TemplateStatement]) throws(TemplateError) -> Flow {
        for statement in statements {
            try enter(line: statement.line)
            let flow = try execute(statement)
            leave()
            if flow != .on { return flow }
        }
        return .on
    }

    private mutating func execute(_ statement: TemplateStatement) throws(TemplateError) -> Flow {
        let line = statement.line
        switch statement.kind {
        case .text(let text): try give(text, line: line)
        case .output(let expression):
            let value = try evaluate(expression)
            guard let text = value.written else {
                throw TemplateError(.wrongKind, line: line, "\(value.kind) cannot be written")
            }
            try give(text, line: line)
        case .branches(let branches):
            for branch in branches {
                if let condition = branch.condition, try !evaluate(condition).isTrue { continue }
                return try execute(branch.body)
            }
        case .loop(let loop): try execute(loop, line: line)
        case .set(let names, let expression): try assign(evaluate(expression), to: names, line: line)
        case .setAttribute(let name, let attribute, let expression):
            let value = try evaluate(expression)
            guard case .namespace(let number) = self.value(of: name) else {
                throw TemplateError(.wrongKind, line: line, "“\(name)” is no namespace: its attributes cannot be set")
            }
            namespaces[number][attribute] = value
        case .capture(let name, let body): set(name, .string(try captured(body, scope: [:])))
        case .macro(let macro):
            macros.append(macro)
            set(macro.name, .macro(macros.count - 1))
        case .breakLoop, .continueLoop:
            guard loopDepth > 0 else { throw TemplateError(.syntax, line: line, "there is no loop here") }
            if case .breakLoop = statement.kind { return .breakLoop }
            return .continueLoop
        }
        return .on
    }

    private mutating func give(_ text: MarkedText, line: Int) throws(TemplateError) {
        try charge(text.utf8.count, line: line)
        output.append(text)
    }

    /// What a body gives out, in a scope of its own.
    private mutating func captured(
        _ body: [TemplateStatement], scope: [String: TemplateValue]
    ) throws(TemplateError) -> MarkedText {
        let outer = output
        output = MarkedText()
        scopes.append(scope)
        _ = try execute(body)
        scopes.removeLast()
        let text = output
        output = outer
        return text
    }

    private mutating func assign(
        _ value: TemplateValue, to names: [String], line: Int
    ) throws(TemplateError) {
        guard names.count > 1 else {
            if let name = names.first { set(name, value) }
            return
        }
        let parts = try items(of: value, line: line)
        guard parts.count == names.count else {
            throw TemplateError(.wrongKind, line: line, "\(parts.count) values for \(names.count) names")
        }
        for (name, part) in zip(names, parts) { set(name, part) }
    }

    private mutating func execute(_ loop: TemplateStatement.Loop, line: Int) throws(TemplateError) {
        var items = try items(of: evaluate(loop.items), line: line)
        if let condition = loop.condition {
            var kept: [TemplateValue] = []
            for item in items {
                try step(line: line)
                scopes.append([:])
                try assign(item, to: loop.names, line: line)
                if try evaluate(condition).isTrue { kept.append(item) }
                scopes.removeLast()
            }
            items = kept
        }
        guard !items.isEmpty else {
            scopes.append([:])
            _ = try execute(loop.otherwise)
            scopes.removeLast()
            return
        }
        loopDepth += 1
        var state = TemplateLoop(items: items, index: 0)
        for index in items.indices {
            try step(line: line)
            state.index = index
            scopes.append(["loop": .loop(state)])
            try assign(items[index], to: loop.names, line: line)
            let flow = try execute(loop.body)
            scopes.removeLast()
            if flow == .breakLoop { break }
        }
        loopDepth -= 1
    }

    /// What a loop goes over.
    mutating func items(of value: TemplateValue, line: Int) throws(TemplateError) -> [TemplateValue] {
        switch value {
        case .list(let values): return values
        case .undefined: return []
        case .map(let map): return map.members.map { .string($0.key) }
        case .string(let text):
            let offsets = text.characterOffsets
            try step(offsets.count, line: line)
            return zip(offsets, offsets.dropFirst()).map { .string(text.part($0..<$1)) }
        default: throw TemplateError(.wrongKind, line: line, "\(value.kind) cannot be gone over")
        }
    }

    /// Calls a macro: its names are its own, what lies outside of all loops and macros it can see.
    mutating func call(
        macro number: Int, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        let macro = macros[number]
        var scope: [String: TemplateValue] = [:]
        guard arguments.positional.count <= macro.parameters.count else {
            throw TemplateError(
                .wrongKind, line: line,
                "“\(macro.name)” takes \(macro.parameters.count) arguments, it is given \(arguments.positional.count)")
        }
        for (index, parameter) in macro.parameters.enumerated() {
            if index < arguments.positional.count {
                scope[parameter.name] = arguments.positional[index]
            } else if let value = arguments.named[parameter.name] {
                scope[parameter.name] = value
            } else if let value = parameter.value {
                scope[parameter.name] = try evaluate(value)
            } else {
                scope[parameter.name] = .undefined(parameter.name)
            }
        }
        for name in arguments.named.keys where !macro.parameters.contains(where: { $0.name == name }) {
            throw TemplateError(.wrongKind, line: line, "“\(macro.name)” has no parameter “\(name)”")
        }
        let outerScopes = scopes
        let outerLoops = loopDepth
        scopes = [scopes[0]]
        loopDepth = 0
        // What a macro sets outside of itself is nothing.
        let text = try captured(macro.body, scope: scope)
        scopes = outerScopes
        loopDepth = outerLoops
        return .string(text)
    }
}

/// What a function is given, evaluated.
struct TemplateArguments {
    var positional: [TemplateValue] = []
    var named: [String: TemplateValue] = [:]

    /// The argument at a place or of a name.
    func value(_ index: Int, _ name: String) -> TemplateValue? {
        index < positional.count ? positional[index] : named[name]
    }
}
