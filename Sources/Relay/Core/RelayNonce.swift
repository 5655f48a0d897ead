// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import ICE
internal import Wire

/// Nonces that the server need not remember: a time, and a code over that time and the client's address. Whoever asks
/// without credentials leaves nothing behind (RFC 8489 §9.2.4, "stateless").
struct RelayNonce: Sendable {
    /// Bytes of the code kept: 96 bits, as RFC 2104 §5 allows.
    private static let codeLength = 12

    private let key: [UInt8]
    private let prefix: [UInt8]
    private let lifetime: Duration

    init(key: [UInt8], features: STUNSecurityFeatures, lifetime: Duration) {
        self.key = key
        prefix = features.noncePrefix
        self.lifetime = lifetime
    }

    /// A nonce for a client.
    func make(for client: RelayClient, now: Timestamp) -> [UInt8] {
        prefix + Base64Text.encode(body(for: client, seconds: UInt32(clamping: now.nanoseconds / 1_000_000_000)))
    }

    /// Whether a nonce was made for this client and is not too old.
    func isValid(_ nonce: [UInt8], for client: RelayClient, now: Timestamp) -> Bool {
        // 16 bytes are 24 characters; the time is in the first 6, of which 4 bytes take 5 and a third.
        guard nonce.count == prefix.count + 24, nonce.starts(with: prefix),
            let seconds = Self.seconds(nonce[prefix.count...])
        else { return false }
        let age = now - Timestamp(nanoseconds: Int64(seconds) * 1_000_000_000)
        guard age >= .seconds(-1), age < lifetime else { return false }
        let expected = prefix + Base64Text.encode(body(for: client, seconds: seconds))
        return HMAC.isEqual(nonce, expected)
    }

    private func body(for client: RelayClient, seconds: UInt32) -> [UInt8] {
        var writer = ByteWriter(capacity: 32)
        writer.write(bigEndian: seconds)
        let time = writer.bytes
        writer.write(client.transport.rawValue)
        writer.write(bigEndian: client.address.port)
        writer.write(client.address.ip.bytes)
        return time + HMAC.sha1(key: key, message: writer.bytes).prefix(Self.codeLength)
    }

    /// The time that a nonce holds.
    private static func seconds(_ text: ArraySlice<UInt8>) -> UInt32? {
        var bits: UInt64 = 0
        for byte in text.prefix(6) {
            guard let digit = digit(byte) else { return nil }
            bits = bits << 6 | UInt64(digit)
        }
        return UInt32(truncatingIfNeeded: bits >> 4)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
