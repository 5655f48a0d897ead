// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// What a router of packets reads before it knows whom a message is for: no allocation but for the answer, no hashing.
extension STUNMessage {
    /// Whether `bytes` start like a STUN message. RFC 7983 §7 gives STUN the first bytes 0 to 3; the cookie settles it.
    public static func isSTUN(_ bytes: RawSpan) -> Bool {
        guard bytes.byteCount >= headerLength, let first = bytes.byte(at: 0), first < 4 else { return false }
        return bytes.uint32(at: 4) == magicCookie
    }

    /// The class of what ``isSTUN(_:)`` takes for a message; `nil` for anything else.
    public static func messageClass(in bytes: RawSpan) -> Class? {
        guard isSTUN(bytes), let type = bytes.uint16(at: 0) else { return nil }
        return Class(rawValue: type >> 4 & 1 | type >> 7 & 2)
    }

    /// The transaction of what ``isSTUN(_:)`` takes for a message; `nil` for anything else.
    public static func transactionID(in bytes: RawSpan) -> STUNTransactionID? {
        guard isSTUN(bytes), let high = bytes.uint32(at: 8), let middle = bytes.uint32(at: 12),
            let low = bytes.uint32(at: 16)
        else { return nil }
        return STUNTransactionID(high: high, low: UInt64(middle) << 32 | UInt64(low))
    }

    /// The USERNAME of a message, unchecked; `nil` where there is none or the message is malformed before it.
    public static func username(in bytes: RawSpan) -> String? {
        guard let value = usernameRange(in: bytes) else { return nil }
        return String(validating: [UInt8](copying: bytes.extracting(value)), as: UTF8.self)
    }

    /// The part of the USERNAME before the colon: the fragment of the agent that a check is meant for (RFC 8445 §7.2.2).
    public static func recipientUfrag(in bytes: RawSpan) -> String? {
        guard let value = usernameRange(in: bytes) else { return nil }
        var end = value.lowerBound
        while end < value.upperBound, bytes.byte(at: end) != UInt8(ascii: ":") { end += 1 }
        guard end < value.upperBound else { return nil }
        return String(validating: [UInt8](copying: bytes.extracting(value.lowerBound..<end)), as: UTF8.self)
    }

    private static func usernameRange(in bytes: RawSpan) -> Range<Int>? {
        guard isSTUN(bytes) else { return nil }
        var offset = headerLength
        while offset < bytes.byteCount {
            guard let (kind, value) = try? attribute(in: bytes, at: offset) else { return nil }
            // RFC 8489 §14.3: fewer than 509 bytes as of today, 763 in what older senders may write.
            if kind == .username { return value.count <= 763 ? value : nil }
            if kind == .messageIntegrity || kind == .messageIntegritySHA256 { return nil }
            offset += 4 + padded(value.count)
        }
        return nil
    }
}
