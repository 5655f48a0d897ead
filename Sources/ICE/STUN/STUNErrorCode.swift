// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// What an error response says: a number between 300 and 699, and words for people (RFC 8489 §14.8).
public struct STUNErrorCode: Error, Hashable, Sendable {
    /// The number; clients decide by it alone.
    public let code: Int
    /// Words for a log, at most 128 characters.
    public let reason: String

    /// An error from its number and words.
    public init(_ code: Int, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    /// The request is malformed, or lacks what authenticates it.
    public static let badRequest = STUNErrorCode(400, "Bad Request")
    /// The credentials are not right.
    public static let unauthenticated = STUNErrorCode(401, "Unauthenticated")
    /// The peer wants nothing more from us: revokes consent (RFC 7675 §5.2).
    public static let forbidden = STUNErrorCode(403, "Forbidden")
    /// The request needs attributes understood that are not.
    public static let unknownAttribute = STUNErrorCode(420, "Unknown Attribute")
    /// Both sides believe to have the same role, and this one keeps it (RFC 8445 §7.3.1.1).
    public static let roleConflict = STUNErrorCode(487, "Role Conflict")

    /// The nonce is not valid any more; the answer holds a new one (RFC 8489 §9.2.4).
    public static let staleNonce = STUNErrorCode(438, "Stale Nonce")
    /// Asks for another server (RFC 8489 §10).
    public static let tryAlternate = STUNErrorCode(300, "Try Alternate")
    /// There is no such allocation, or there is one already (RFC 8656 §19).
    public static let allocationMismatch = STUNErrorCode(437, "Allocation Mismatch")
    /// The server has no addresses of this family (RFC 8656 §19).
    public static let addressFamilyNotSupported = STUNErrorCode(440, "Address Family not Supported")
    /// The credentials are not those that made the allocation (RFC 8656 §19).
    public static let wrongCredentials = STUNErrorCode(441, "Wrong Credentials")
    /// The server relays no such transport (RFC 8656 §19).
    public static let unsupportedTransport = STUNErrorCode(442, "Unsupported Transport Protocol")
    /// The peer's address is of another family than the relayed one (RFC 8656 §19).
    public static let peerAddressFamilyMismatch = STUNErrorCode(443, "Peer Address Family Mismatch")
    /// The user has as many allocations as are allowed (RFC 8656 §19).
    public static let allocationQuotaReached = STUNErrorCode(486, "Allocation Quota Reached")
    /// The server failed; the client may try again (RFC 8489 §14.8).
    public static let serverError = STUNErrorCode(500, "Server Error")
    /// The server has nothing left to give (RFC 8656 §19).
    public static let insufficientCapacity = STUNErrorCode(508, "Insufficient Capacity")

    /// Reads the value of an ERROR-CODE; `nil` if it is too short or its number is out of range.
    init?(attributeValue value: [UInt8]) {
        guard value.count >= 4 else { return nil }
        let hundreds = Int(value[2] & 7)
        let number = Int(value[3])
        guard (3...6).contains(hundreds), number < 100 else { return nil }
        self.init(hundreds * 100 + number, String(decoding: value[4...].prefix(763), as: UTF8.self))
    }

    /// The value of an ERROR-CODE.
    var attributeValue: [UInt8] {
        [0, 0, UInt8(truncatingIfNeeded: code / 100), UInt8(truncatingIfNeeded: code % 100)] + Array(reason.utf8)
    }
}

extension STUNErrorCode: CustomStringConvertible {
    /// Number and words.
    public var description: String { "\(code) \(reason)" }
}
