// SPDX-License-Identifier: Apache-2.0

/// Why an HTTP origin could not give what was asked for.
public struct OriginError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of failure.
    public enum Code: Hashable, Sendable {
        /// The base address is no http or https address.
        case invalidURL
        /// The server has no such file (404, 410).
        case notFound
        /// The server answered with another status that will not change (401, 403, 400 …).
        case refused
        /// The server keeps failing (5xx, 429 …) after all retries.
        case serverError
        /// The range lies outside the file (416).
        case rangeNotSatisfiable
        /// The file on the server has another size than it should have.
        case wrongSize
        /// The answer ended early, again and again.
        case truncated
        /// The answer is larger than allowed.
        case tooLarge
        /// The answer makes no sense: a range nobody asked for, an encoded body …
        case invalidResponse
        /// Nothing came in time.
        case timedOut
        /// No connection: refused, unknown name, wrong certificate …
        case unreachable
    }
    /// What went wrong; equality of errors in tests and in code goes by this.
    public let code: Code
    /// What was asked for.
    public let url: String
    /// The HTTP status, where there was an answer.
    public let status: Int?
    /// Details in words.
    public let detail: String

    /// An error from its parts.
    public init(_ code: Code, url: String, status: Int? = nil, detail: String = "") {
        self.code = code
        self.url = url
        self.status = status
        self.detail = detail
    }

    /// The failure in words.
    public var description: String {
        let what =
            switch code {
            case .invalidURL: "is no http:// or https:// address"
            case .notFound: "does not exist on the server"
            case .refused: "was refused by the server"
            case .serverError: "could not be served"
            case .rangeNotSatisfiable: "is shorter than the range asked for"
            case .wrongSize: "has another size than expected"
            case .truncated: "kept ending early"
            case .tooLarge: "is larger than allowed"
            case .invalidResponse: "got an answer that makes no sense"
            case .timedOut: "timed out"
            case .unreachable: "could not be reached"
            }
        return url + " " + what + (status.map { " (HTTP status \($0))" } ?? "") + (detail.isEmpty ? "" : ": \(detail)")
    }
}
