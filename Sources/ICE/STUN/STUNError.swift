// SPDX-License-Identifier: Apache-2.0

/// Why bytes are not a STUN message.
public enum STUNError: Error, Hashable, Sendable {
    /// Fewer than the 20 bytes of a header.
    case tooShort
    /// One of the two top bits is set: something else shares the port (RFC 8489 §5).
    case notSTUN
    /// The magic cookie is missing, as before RFC 5389.
    case wrongCookie
    /// The length field is no multiple of four, or not what follows the header.
    case wrongLength(claimed: Int, actual: Int)
    /// An attribute reaches over the end of the message; `offset` counts from the start of the message.
    case attributeOverrun(offset: Int)
    /// MESSAGE-INTEGRITY, its SHA-256 form or FINGERPRINT is not as long as it must be.
    case wrongAttributeLength(STUNAttribute.Kind, Int)
    /// Something follows FINGERPRINT, which must come last (RFC 8489 §14.7).
    case attributeAfterFingerprint(offset: Int)
}
