// SPDX-License-Identifier: Apache-2.0

/// What is wrong with a vocabulary or with text for it: what, where, and what to do about it.
public struct TokenizerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: String, Hashable, Sendable {
        /// The model brings no vocabulary, or a part of it that must be there is not.
        case missing
        /// The vocabulary cannot be read.
        case malformed
        /// A kind of vocabulary or pre-tokenizer that is not known here.
        case unsupported
        /// Parts that do not agree with each other, or with the model.
        case mismatch
        /// More text than a tokenizer takes.
        case tooLong
    }

    /// What is wrong.
    public let code: Code
    /// Where: a file and a field, or "text".
    public let place: String
    /// What was found and what was expected, in words.
    public let message: String
    /// What the user can do.
    public let advice: String

    /// An error; all texts without a final full stop.
    @inline(never)
    public init(_ code: Code, at place: String, _ message: String, advice: String) {
        self.code = code
        self.place = place
        self.message = message
        self.advice = advice
    }

    /// The fault in one line.
    public var description: String { "\(place): \(message) (\(advice))" }

    /// A vocabulary file that cannot be what it should be.
    @inline(never)
    static func malformed(_ place: String, _ message: String) -> TokenizerError {
        TokenizerError(.malformed, at: place, message, advice: "get the model again, or pack it again from its source")
    }
}
