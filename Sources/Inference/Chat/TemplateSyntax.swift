// SPDX-License-Identifier: Apache-2.0

/// An expression, and the line on which it begins.
struct TemplateExpression: Sendable {
    indirect enum Kind: Sendable {
        case literal(TemplateValue)
        case name(String)
        case list([TemplateExpression])
        case map([(key: TemplateExpression, value: TemplateExpression)])
        case attribute(TemplateExpression, String)
        case item(TemplateExpression, TemplateExpression)
        case slice(
            TemplateExpression, from: TemplateExpression?, to: TemplateExpression?, step: TemplateExpression?)
        case call(TemplateExpression, Arguments)
        case filter(TemplateExpression, String, Arguments)
        case test(TemplateExpression, String, [TemplateExpression])
        case not(TemplateExpression)
        case negative(TemplateExpression)
        case binary(String, TemplateExpression, TemplateExpression)
        case and(TemplateExpression, TemplateExpression)
        case or(TemplateExpression, TemplateExpression)
        case comparison(TemplateExpression, [(operation: String, operand: TemplateExpression)])
        case condition(if: TemplateExpression, then: TemplateExpression, else: TemplateExpression?)
    }

    /// What a function is given.
    struct Arguments: Sendable {
        var positional: [TemplateExpression] = []
        var named: [(name: String, value: TemplateExpression)] = []
    }

    let kind: Kind
    let line: Int
}

/// A statement, and the line on which it begins.
struct TemplateStatement: Sendable {
    indirect enum Kind: Sendable {
        case text(MarkedText)
        case output(TemplateExpression)
        case branches([(condition: TemplateExpression?, body: [TemplateStatement])])
        case loop(Loop)
        case set([String], TemplateExpression)
        case setAttribute(String, String, TemplateExpression)
        case capture(String, [TemplateStatement])
        case macro(Macro)
        case breakLoop
        case continueLoop
    }

    /// `{% for … in … if … %} … {% else %} … {% endfor %}`
    struct Loop: Sendable {
        var names: [String]
        var items: TemplateExpression
        var condition: TemplateExpression?
        var body: [TemplateStatement]
        var otherwise: [TemplateStatement]
    }

    /// `{% macro name(a, b=1) %} … {% endmacro %}`
    struct Macro: Sendable {
        var name: String
        var parameters: [(name: String, value: TemplateExpression?)]
        var body: [TemplateStatement]
    }

    let kind: Kind
    let line: Int
}
