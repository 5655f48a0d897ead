// SPDX-License-Identifier: Apache-2.0

/// Why no token can be chosen: what, where, and what to do about it.
public struct SamplingError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: String, Hashable, Sendable {
        /// An option outside of what it may be.
        case invalidOption
        /// The model's output is not a number, or is infinite.
        case notANumber
        /// No token may be chosen: all are at −∞.
        case noCandidate
    }

    /// What is wrong.
    public let code: Code
    /// Where: an option's name, or "logits".
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
}
