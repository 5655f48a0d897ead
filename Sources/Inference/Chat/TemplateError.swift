// SPDX-License-Identifier: Apache-2.0

/// Why a chat template cannot be used, or refuses a conversation: what, and on which line of it.
public struct TemplateError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: String, Hashable, Sendable {
        /// The template cannot be read.
        case syntax
        /// The template uses what is not known here.
        case unsupported
        /// Values that an operation cannot take.
        case wrongKind
        /// The template itself refuses the conversation (`raise_exception`).
        case refused
        /// More work or text than a template may make.
        case limit
        /// The model brings no template.
        case missing
    }

    /// What is wrong.
    public let code: Code
    /// The line of the template, from 1; 0 where there is none.
    public let line: Int
    /// What was found, in words.
    public let message: String

    /// An error; the text without a final full stop.
    @inline(never)
    public init(_ code: Code, line: Int, _ message: String) {
        self.code = code
        self.line = line
        self.message = message
    }

    /// The fault in one line, with what to do about it.
    public var description: String {
        let place = line > 0 ? "chat template, line \(line): " : "chat template: "
        let advice =
            switch code {
            case .syntax, .unsupported, .wrongKind, .missing: " (use another template, or a prompt without one)"
            case .refused: " (change the conversation)"
            case .limit: " (the template does too much for this conversation; shorten it)"
            }
        return place + message + advice
    }
}
