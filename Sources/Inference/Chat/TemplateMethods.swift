// SPDX-License-Identifier: Apache-2.0

extension TemplateInterpreter {
    /// Calls a method of a value; `nil` if it has none of that name.
    mutating func method(
        _ name: String, of value: TemplateValue, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue? {
        switch value {
        case .string(let text): return try method(name, of: text, arguments, line: line)
        case .map(let map): return try method(name, of: map, arguments, line: line)
        case .list(let values):
            switch name {
            case "count":
                guard let item = arguments.positional.first else { throw needs(name, line) }
                return .integer(values.count { $0.equals(item) })
            case "index":
                guard let item = arguments.positional.first, let place = values.firstIndex(where: { $0.equals(item) })
                else { throw TemplateError(.wrongKind, line: line, "the list does not hold what “index” looks for") }
                return .integer(place)
            default: return nil
            }
        case .undefined: throw TemplateError(.wrongKind, line: line, "“.\(name)” of \(value.kind)")
        default: return nil
        }
    }

    private func needs(_ name: String, _ line: Int) -> TemplateError {
        TemplateError(.wrongKind, line: line, "“.\(name)” is not given what it takes")
    }

    private func method(
        _ name: String, of map: TemplateMap, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue? {
        switch name {
        case "items": return .list(map.members.map { .list([.string($0.key), $0.value]) })
        case "keys": return .list(map.members.map { .string($0.key) })
        case "values": return .list(map.members.map { $0.value })
        case "get":
            guard let key = arguments.positional.first else { throw needs(name, line) }
            let other = arguments.positional.count > 1 ? arguments.positional[1] : .none
            return key.text.flatMap { map[$0] } ?? other
        default: return nil
        }
    }

    private mutating func method(
        _ name: String, of text: MarkedText, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue? {
        func string(_ index: Int) throws(TemplateError) -> MarkedText {
            guard index < arguments.positional.count, let text = arguments.positional[index].text else {
                throw needs(name, line)
            }
            return text
        }
        /// The argument, `nil` where it is missing or none.
        func optional(_ index: Int, _ key: String) throws(TemplateError) -> MarkedText? {
            switch arguments.value(index, key) {
            case nil, .some(.none): return nil
            case .some(let value):
                guard let text = value.text else { throw needs(name, line) }
                return text
            }
        }
        func most(_ key: String) throws(TemplateError) -> Int {
            guard let value = arguments.value(1, key) else { return .max }
            guard let count = value.integer else { throw needs(name, line) }
            return count < 0 ? .max : count
        }
        try step(1 + text.utf8.count / 64, line: line)
        switch name {
        case "strip": return .string(text.trimmed(try optional(0, "chars")))
        case "lstrip": return .string(text.trimmed(try optional(0, "chars"), trailing: false))
        case "rstrip": return .string(text.trimmed(try optional(0, "chars"), leading: false))
        case "upper": return .string(try charge(text.mapped { $0.uppercased() }, line: line))
        case "lower": return .string(try charge(text.mapped { $0.lowercased() }, line: line))
        case "capitalize": return .string(try charge(text.mapped(MarkedText.capitalized), line: line))
        case "title": return .string(try charge(text.mapped(MarkedText.titled), line: line))
        case "startswith", "endswith":
            guard let argument = arguments.positional.first else { throw needs(name, line) }
            let candidates = if case .list(let values) = argument { values } else { [argument] }
            for candidate in candidates {
                guard let part = candidate.text?.utf8 else { throw needs(name, line) }
                let fits = part.count <= text.utf8.count
                if fits, name == "startswith" ? text.utf8.starts(with: part) : text.utf8.suffix(part.count) == part[...]
                {
                    return .bool(true)
                }
            }
            return .bool(false)
        case "removeprefix":
            let part = try string(0).utf8
            return .string(text.utf8.starts(with: part) ? text.part(part.count..<text.utf8.count) : text)
        case "removesuffix":
            let part = try string(0).utf8
            let fits = part.count <= text.utf8.count && text.utf8.suffix(part.count) == part[...]
            return .string(fits ? text.part(0..<text.utf8.count - part.count) : text)
        case "split", "rsplit":
            let most = try most("maxsplit")
            guard let separator = try optional(0, "sep") else {
                guard name == "split" else {
                    throw TemplateError(.unsupported, line: line, "“rsplit” without a separator is not known here")
                }
                return try pieces(text.splitWords(most: most), line: line)
            }
            guard !separator.utf8.isEmpty else { throw needs(name, line) }
            return try pieces(
                name == "split"
                    ? text.split(separator.utf8, most: most) : text.splitFromEnd(separator.utf8, most: most), line: line
            )
        case "splitlines":
            var lines = text.replacing([0x0D, 0x0A], with: MarkedText("\n", isTrusted: true)).split([0x0A])
            if lines.last?.utf8.isEmpty == true { lines.removeLast() }
            return try pieces(lines, line: line)
        case "replace":
            let old = try string(0).utf8
            guard !old.isEmpty else { throw needs(name, line) }
            let new = try string(1)
            let count = arguments.value(2, "count")?.integer ?? -1
            let places = min(text.utf8.count / old.count, count < 0 ? .max : count)
            try charge(text.utf8.count, line: line)
            try charge(places.multipliedReportingOverflow(by: new.utf8.count).partialValue, line: line)
            return .string(text.replacing(old, with: new, most: count < 0 ? .max : count))
        case "join": return try join(items(of: arguments.positional.first ?? .none, line: line), text, line: line)
        case "find":
            guard let place = text.firstIndex(of: try string(0).utf8) else { return .integer(-1) }
            return .integer(text.part(0..<place).characterCount)
        case "count":
            let part = try string(0).utf8
            guard !part.isEmpty else { throw needs(name, line) }
            return .integer(text.split(part).count - 1)
        case "isdigit", "isnumeric":
            return .bool(!text.utf8.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) })
        default:
            throw TemplateError(
                .unsupported, line: line, "the method “.\(name.prefix(50))” of strings is not known here")
        }
    }

    private mutating func pieces(_ texts: [MarkedText], line: Int) throws(TemplateError) -> TemplateValue {
        try step(texts.count, line: line)
        return .list(texts.map { .string($0) })
    }

    /// Texts with a separator between them.
    mutating func join(
        _ values: [TemplateValue], _ separator: MarkedText, line: Int
    ) throws(TemplateError) -> TemplateValue {
        var result = MarkedText()
        for (index, value) in values.enumerated() {
            guard let text = value.written else {
                throw TemplateError(.wrongKind, line: line, "\(value.kind) cannot be joined")
            }
            try step(line: line)
            try charge(text.utf8.count + separator.utf8.count, line: line)
            if index > 0 { result.append(separator) }
            result.append(text)
        }
        return .string(result)
    }
}
