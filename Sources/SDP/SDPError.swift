// SPDX-License-Identifier: Apache-2.0

/// Why text is no session description that data channels can be made from, and where.
public struct SDPError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of fault.
    public enum Code: Hashable, Sendable {
        /// More text, lines, sections or values than are read.
        case tooLarge
        /// No `v=0` at the start, or a line that is no `x=value`.
        case malformed
        /// Well-formed, but without a section for data channels.
        case noDataChannels
        /// Something that the section for data channels has to have.
        case missing(String)
        /// An attribute with a value that it cannot have.
        case invalid(String)
        /// An answer that does not fit its offer.
        case mismatch(String)
        /// Neither `offer` nor `answer`, or no object with `type` and `sdp`.
        case notADescription
    }
    /// What is wrong.
    public let code: Code
    /// In which line, counted from 1; `nil` where no line is to blame.
    public let line: Int?

    init(_ code: Code, line: Int? = nil) {
        self.code = code
        self.line = line
    }

    /// The fault in words.
    public var description: String {
        let what =
            switch code {
            case .tooLarge: "the session description is too large"
            case .malformed: "this is no session description"
            case .noDataChannels: "the session description has no section for data channels"
            case .missing(let name): "the session description lacks \(name)"
            case .invalid(let name): "the session description has an invalid \(name)"
            case .mismatch(let what): "the answer does not fit the offer: \(what)"
            case .notADescription: "neither an offer nor an answer"
            }
        return line.map { "\(what) (line \($0))" } ?? what
    }
}
