// SPDX-License-Identifier: Apache-2.0

/// What a token of the vocabulary is, by GGUF's numbers (`tokenizer.ggml.token_type`).
public enum TokenKind: UInt8, Hashable, Sendable {
    /// A piece of text.
    case normal = 1
    /// What stands for text that the vocabulary cannot express.
    case unknown = 2
    /// Steers the model, as the end of a turn does: never made from a user's text.
    case control = 3
    /// A piece of text that is always one token, wherever it stands.
    case userDefined = 4
    /// Only there to fill the vocabulary.
    case unused = 5
    /// One byte of what no other token expresses.
    case byte = 6

    /// Whether only trusted text may become this token.
    var needsTrust: Bool { self == .control || self == .unknown }
}
