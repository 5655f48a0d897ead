// SPDX-License-Identifier: Apache-2.0

/// Why a model cannot be run: what, where, and what to do about it.
public struct InferenceError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault; more may come.
    public enum Code: String, Hashable, Sendable {
        /// A network, or a part of one, that is not known here.
        case unsupported
        /// A tensor, a size or a vocabulary that must be there is not.
        case missing
        /// Parts that do not fit each other.
        case mismatch
        /// Numbers that cannot be: a network that gives no numbers.
        case invalidNumbers
        /// More tokens than there is room for.
        case tooLong
        /// An option that cannot be.
        case invalidOption
        /// The device cannot do what is asked, or the system has too little of something.
        case device
        /// Too much is asked at a time.
        case busy
    }

    /// What kind of fault it is.
    public let code: Code
    /// Where: a file, a tensor, an option.
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
