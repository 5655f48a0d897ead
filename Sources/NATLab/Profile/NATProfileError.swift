// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What is wrong with a profile's file: which member, what stands there and what may.
public enum NATProfileError: Error, Hashable, Sendable {
    /// The text is no JSON.
    case notJSON(JSONError)
    /// A member that must be there is not.
    case missing(member: String)
    /// A member that no profile has.
    case unknown(member: String, known: [String])
    /// A value that the member cannot have; `found` as it stands there.
    case wrongValue(member: String, found: String, allowed: String)
}

extension NATProfileError: CustomStringConvertible {
    /// For example `filtering: "port" is not allowed; it is one of "ei", "ad", "apd"`.
    public var description: String {
        switch self {
        case .notJSON(let error): "the profile is no JSON: \(error)"
        case .missing(let member): "\(member): the member is missing"
        case .unknown(let member, let known):
            "\(member): no profile has this member; it may have \(known.joined(separator: ", "))"
        case .wrongValue(let member, let found, let allowed): "\(member): \(found) is not allowed; it is \(allowed)"
        }
    }
}
