// SPDX-License-Identifier: Apache-2.0

/// Functions that every template has.
enum TemplateFunctions {
    static let names: Set<String> = ["raise_exception", "namespace", "range", "dict"]
    /// The most that `range` gives.
    static let longestRange = 100_000
}

extension TemplateInterpreter {
    mutating func function(
        _ name: String, _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        switch name {
        case "raise_exception":
            let message = arguments.positional.first?.written?.string ?? "no reason given"
            throw TemplateError(.refused, line: line, "it refuses the conversation: \(message.prefix(500))")
        case "namespace", "dict":
            guard arguments.positional.isEmpty else {
                throw TemplateError(.unsupported, line: line, "“\(name)” of a value is not known here")
            }
            if name == "namespace" { return makeNamespace(arguments.named) }
            var map = TemplateMap()
            for (name, value) in arguments.named.sorted(by: { $0.key < $1.key }) {
                map.set(MarkedText(name, isTrusted: true), value)
            }
            try weigh(.map(map), line: line)
            return .map(map)
        default: return try range(arguments, line: line)
        }
    }

    private mutating func range(
        _ arguments: TemplateArguments, line: Int
    ) throws(TemplateError) -> TemplateValue {
        let numbers = arguments.positional.compactMap { $0.integer }
        guard numbers.count == arguments.positional.count, (1...3).contains(numbers.count),
            numbers.count < 3 || numbers[2] != 0
        else { throw TemplateError(.wrongKind, line: line, "“range” takes one to three integers") }
        let start = numbers.count > 1 ? numbers[0] : 0
        let end = numbers.count > 1 ? numbers[1] : numbers[0]
        let step = numbers.count > 2 ? numbers[2] : 1
        var values: [TemplateValue] = []
        for value in stride(from: start, to: end, by: step) {
            guard values.count < TemplateFunctions.longestRange else {
                throw TemplateError(
                    .limit, line: line, "a range of more than \(TemplateFunctions.longestRange) numbers")
            }
            values.append(.integer(value))
        }
        try self.step(values.count, line: line)
        return .list(values)
    }
}
