// SPDX-License-Identifier: Apache-2.0

/// What stands behind `|`.
enum TemplateFilters {
    /// All that are known; others are refused when the template is read.
    static let names: Set<String> = [
        "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "indent", "int", "items", "join",
        "last", "length", "list", "lower", "map", "reject", "rejectattr", "replace", "reverse", "safe", "select",
        "selectattr", "sort", "string", "title", "tojson", "trim", "unique", "upper",
    ]
}

extension TemplateInterpreter {
    /// The value of a filter.
    mutating func filter(
        _ value: TemplateValue, _ name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch name {
        case "default", "d":
            let other = arguments.value(0, "default_value") ?? .string(MarkedText())
            let isWide = arguments.value(1, "boolean")?.isTrue ?? false
            return value.isUndefined || isWide && !value.isTrue ? other : value
        case "length", "count": return .integer(try length(of: value, line: line))
        case "tojson": return try json(value, arguments, line: line)
        case "safe", "string":
            guard let text = value.written else { throw wrong(name, value, line) }
            return .string(try charge(text, line: line))
        case "trim", "lower", "upper", "capitalize", "title", "replace":
            // Whatever it is, it is text then.
            guard let text = value.written else { throw wrong(name, value, line) }
            let method = name == "trim" ? "strip" : name
            guard let result = try self.method(method, of: .string(text), arguments, line: line) else {
                throw wrong(name, value, line)
            }
            return result
        case "first", "last":
            let items = try items(of: value, line: line)
            return (name == "first" ? items.first : items.last) ?? .undefined("the \(name) item")
        case "list": return .list(try items(of: value, line: line))
        case "join":
            let separator = arguments.value(0, "d")?.written ?? MarkedText()
            return try join(items(of: value, line: line), separator, line: line)
        case "items", "dictsort":
            if value.isUndefined, name == "items" { return .list([]) }
            guard case .map(let map) = value else { throw wrong(name, value, line) }
            var members = map.members
            if name == "dictsort" {
                let keys = members.map { $0.key.string.lowercased() }
                members = zip(keys, members).sorted { $0.0.utf8.lexicographicallyPrecedes($1.0.utf8) }.map { $0.1 }
            }
            return .list(members.map { .list([.string($0.key), $0.value]) })
        case "reverse":
            if case .string(let text) = value {
                let count = text.characterCount
                return .string(text.sliced(Array((0..<count).reversed())))
            }
            return .list(try items(of: value, line: line).reversed())
        case "sort", "unique": return try arrange(value, name, arguments, line: line)
        case "int", "float", "abs": return try number(value, name, arguments, line: line)
        case "indent": return .string(try indent(value, arguments, line: line))
        case "map", "select", "reject", "selectattr", "rejectattr":
            return try choose(value, name, arguments, line: line)
        default: throw wrong(name, value, line)
        }
    }

    private func wrong(_ name: String, _ value: TemplateValue, _ line: Int) -> TemplateError {
        TemplateError(.wrongKind, line: line, "the filter “\(name)” cannot take \(value.kind)")
    }

    private func length(of value: TemplateValue, line: Int) throws(TemplateError) -> Int {
        switch value {
        case .string(let text): text.characterCount
        case .list(let values): values.count
        case .map(let map): map.count
        case .undefined: 0
        default: throw wrong("length", value, line)
        }
    }

    private mutating func json(
        _ value: TemplateValue, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        for name in arguments.named.keys where !["indent", "ensure_ascii", "separators", "sort_keys"].contains(name) {
            throw TemplateError(.unsupported, line: line, "the option “\(name)” of “tojson” is not known here")
        }
        guard arguments.value(1, "ensure_ascii")?.isTrue != true || arguments.positional.count > 1 else {
            throw TemplateError(.unsupported, line: line, "“tojson” with ensure_ascii is not known here")
        }
        let indent = arguments.named["indent"]?.integer ?? arguments.positional.first?.integer
        var separators = (item: indent == nil ? ", " : ",", key: ": ")
        if case .list(let pair)? = arguments.named["separators"], pair.count == 2, let item = pair[0].text,
            let key = pair[1].text
        {
            separators = (item.string, key.string)
        }
        guard indent.map({ (0...16).contains($0) }) ?? true,
            separators.item.utf8.count + separators.key.utf8.count < 16,
            let text = value.json(
                indent: indent, separators: separators, sorted: arguments.named["sort_keys"]?.isTrue ?? false)
        else { throw wrong("tojson", value, line) }
        return .string(try charge(text, line: line))
    }

    private mutating func arrange(
        _ value: TemplateValue, _ name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        guard arguments.value(2, "attribute") == nil else {
            throw TemplateError(.unsupported, line: line, "“\(name)” by an attribute is not known here")
        }
        let items = try items(of: value, line: line)
        // Texts are compared without case.
        let keys = items.map { item in item.text.map { .string($0.mapped { $0.lowercased() }) } ?? item }
        guard name == "sort" else {
            var kept: [Int] = []
            for index in keys.indices {
                try step(kept.count, line: line)
                if !kept.contains(where: { keys[$0].equals(keys[index]) }) { kept.append(index) }
            }
            return .list(kept.map { items[$0] })
        }
        for (a, b) in zip(keys, keys.dropFirst()) where TemplateTests.order(a, b) == nil {
            throw TemplateError(.wrongKind, line: line, "“sort” cannot order \(a.kind) and \(b.kind)")
        }
        try step(items.count * 16, line: line)
        let isReversed = arguments.value(0, "reverse")?.isTrue ?? false
        let order = keys.indices.sorted { a, b in
            let order = TemplateTests.order(keys[a], keys[b]) ?? 0
            return order == 0 ? a < b : isReversed ? order > 0 : order < 0
        }
        return .list(order.map { items[$0] })
    }

    private func number(
        _ value: TemplateValue, _ name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch (name, value) {
        case ("abs", .number(let number)): return .number(number.magnitude)
        case ("abs", _):
            guard let integer = value.integer, integer != .min else { throw wrong(name, value, line) }
            return .integer(abs(integer))
        case ("int", .number(let number)):
            return Int(exactly: number.rounded(.towardZero)).map { .integer($0) } ?? .integer(0)
        case ("int", .string(let text)):
            let digits = text.trimmed().string
            let whole = Int(digits) ?? Double(digits).flatMap { Int(exactly: $0.rounded(.towardZero)) }
            return whole.map { .integer($0) } ?? arguments.value(0, "default") ?? .integer(0)
        case ("int", _): return value.integer.map { .integer($0) } ?? arguments.value(0, "default") ?? .integer(0)
        case (_, .string(let text)):
            return Double(text.trimmed().string).map { .number($0) } ?? arguments.value(0, "default") ?? .number(0)
        default: return value.number.map { .number($0) } ?? arguments.value(0, "default") ?? .number(0)
        }
    }

    private mutating func indent(
        _ value: TemplateValue, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> MarkedText {
        guard let text = value.written else { throw wrong("indent", value, line) }
        let margin: MarkedText
        switch arguments.value(0, "width") {
        case .string(let text)?: margin = text
        case let width?:
            guard let width = width.integer, (0...1000).contains(width) else { throw wrong("indent", value, line) }
            margin = MarkedText(String(repeating: " ", count: width), isTrusted: true)
        case nil: margin = MarkedText("    ", isTrusted: true)
        }
        let isFirst = arguments.value(1, "first")?.isTrue ?? false
        let isBlank = arguments.value(2, "blank")?.isTrue ?? false
        var result = MarkedText()
        for (index, part) in text.split([0x0A]).enumerated() {
            if index > 0 { result.append(MarkedText("\n", isTrusted: true)) }
            try charge(margin.utf8.count + part.utf8.count + 1, line: line)
            if index > 0 ? isBlank || !part.utf8.isEmpty : isFirst { result.append(margin) }
            result.append(part)
        }
        return result
    }

    /// Items by a test or an attribute, or something else made of each.
    private mutating func choose(
        _ value: TemplateValue, _ name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        let items = try items(of: value, line: line)
        var rest = arguments.positional[...]
        var chosen: [TemplateValue] = []
        if name == "map" {
            let attribute = arguments.named["attribute"]?.text?.string
            let filterName = attribute == nil ? rest.popFirst()?.text?.string : nil
            for item in items {
                try step(line: line)
                if let attribute {
                    let part = Self.member(attribute, of: item)
                    chosen.append(part.isUndefined ? arguments.named["default"] ?? part : part)
                } else if let filterName, TemplateFilters.names.contains(filterName) {
                    let inner = TemplateArguments(positional: Array(rest), named: arguments.named)
                    try enter(line: line)
                    chosen.append(try filter(item, filterName, inner, line: line))
                    leave()
                } else {
                    throw TemplateError(.unsupported, line: line, "this form of “map” is not known here")
                }
            }
            return .list(chosen)
        }
        let attribute = name.hasSuffix("attr") ? rest.popFirst()?.text?.string : nil
        let test = rest.popFirst()?.text?.string
        if let test, !TemplateTests.names.contains(test) {
            throw TemplateError(.unsupported, line: line, "the test “\(test.prefix(50))” is not known here")
        }
        for item in items {
            try step(line: line)
            let subject = attribute.map { Self.member($0, of: item) } ?? item
            let passes =
                try test.map { (test) throws(TemplateError) in
                    try self.test(subject, test, rest.first, line: line)
                } ?? subject.isTrue
            if passes == name.hasPrefix("select") { chosen.append(item) }
        }
        return .list(chosen)
    }

    private static func member(_ name: String, of value: TemplateValue) -> TemplateValue {
        if case .map(let map) = value, let member = map[name] { return member }
        return .undefined(name)
    }
}
