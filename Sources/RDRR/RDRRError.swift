// SPDX-License-Identifier: Apache-2.0

/// What is wrong with a model folder, a manifest, a link or a model file: what, where, and what to do about it.
public struct RDRRError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: String, Hashable, Sendable {
        /// The text is no JSON.
        case notJSON
        /// Larger than any valid one.
        case tooLarge
        /// A version of the format that is not known.
        case unsupportedVersion
        /// A field, or a file, that must be there is not.
        case missing
        /// A field of the wrong kind: text where a number belongs.
        case wrongKind
        /// A field of the right kind with a value that cannot be.
        case invalid
        /// A file name that could leave the folder or cannot be a file's.
        case unsafeName
        /// A name that is used twice.
        case duplicateName
        /// Bytes that lie outside of what holds them.
        case outOfBounds
        /// Sizes that do not agree.
        case sizeMismatch
        /// Shards that overlap or leave a gap.
        case notContiguous
        /// Bytes that do not have the hash they should have.
        case hashMismatch
        /// The file is no model of a known kind.
        case notAModel
        /// The file ends too early.
        case truncated
        /// Known, but not supported here.
        case unsupported
        /// No room is left on the disk.
        case diskFull
        /// The place to write to is taken.
        case exists
        /// The system refused to read or write.
        case io
    }

    /// What is wrong.
    public let code: Code
    /// Where: a JSON path such as `shards[3].size`, or a file.
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

    /// The same fault, with the place put under `prefix`, as in `model/manifest.json: shards[0].size`.
    public func within(_ prefix: String) -> RDRRError {
        RDRRError(code, at: place.isEmpty ? prefix : "\(prefix): \(place)", message, advice: advice)
    }
}
