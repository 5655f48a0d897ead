// SPDX-License-Identifier: Apache-2.0

/// What can go wrong with a certificate, a handshake or a session.
public enum DTLSError: Error, Hashable, Sendable {
    /// The peer's certificate has none of the fingerprints that its session description promised (RFC 8122 §5.1). Both
    /// are given so that the fault can be told from a mixed-up session.
    case fingerprintMismatch(expected: [DTLSFingerprint], actual: DTLSFingerprint)
    /// No fingerprint of the list uses a hash function that is known and strong: SHA-256, SHA-384 or SHA-512.
    case noUsableFingerprint
    /// The peer ended the session with this fatal alert (RFC 5246 §7.2).
    case peerAlert(UInt8)
    /// The peer's messages were unacceptable; OpenSSL's words.
    case handshakeFailed(String)
    /// The handshake was repeated as often as it may be and never answered.
    case timedOut
    /// Data was sent before the session was established and the peer's certificate verified, or after its end.
    case notConnected
    /// Data was longer than a record may carry: `limit` bytes.
    case plaintextTooLong(limit: Int)
    /// The MTU is smaller than any handshake message can be cut to.
    case mtuTooSmall(minimum: Int)
    /// The configuration names no cipher.
    case noCipher
    /// Text is no certificate or no private key, or the two do not belong together.
    case invalidPEM(String)
    /// OpenSSL could not do what needs no peer, such as generate a key; its words.
    case library(String)
}

extension DTLSError: CustomStringConvertible {
    /// The fault in words.
    public var description: String {
        switch self {
        case .fingerprintMismatch(let expected, let actual):
            "the peer's certificate has the fingerprint \(actual), its description promised "
                + expected.map(\.description).joined(separator: ", ")
        case .noUsableFingerprint: "no fingerprint of the peer uses SHA-256, SHA-384 or SHA-512"
        case .peerAlert(let alert): "the peer ended the DTLS session with alert \(alert) (\(DTLSError.name(of: alert)))"
        case .handshakeFailed(let reason): "the DTLS handshake failed: \(reason)"
        case .timedOut: "the DTLS handshake was not answered"
        case .notConnected: "the DTLS session is not established"
        case .plaintextTooLong(let limit): "a DTLS record carries at most \(limit) bytes"
        case .mtuTooSmall(let minimum): "DTLS needs an MTU of at least \(minimum) bytes"
        case .noCipher: "a DTLS session needs at least one cipher"
        case .invalidPEM(let reason): "the PEM text is unusable: \(reason)"
        case .library(let reason): "OpenSSL failed: \(reason)"
        }
    }

    /// The names of RFC 5246 §7.2 and its successors for what ends a handshake in practice.
    private static func name(of alert: UInt8) -> String {
        switch alert {
        case 10: "unexpected_message"
        case 20: "bad_record_mac"
        case 40: "handshake_failure"
        case 42: "bad_certificate"
        case 43: "unsupported_certificate"
        case 45: "certificate_expired"
        case 46: "certificate_unknown"
        case 47: "illegal_parameter"
        case 48: "unknown_ca"
        case 50: "decode_error"
        case 51: "decrypt_error"
        case 70: "protocol_version"
        case 71: "insufficient_security"
        case 80: "internal_error"
        case 90: "user_canceled"
        case 116: "certificate_required"
        default: "unnamed"
        }
    }
}
