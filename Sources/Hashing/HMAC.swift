// SPDX-License-Identifier: Apache-2.0

/// Message authentication with a hash (RFC 2104).
public enum HMAC {
    /// Bytes of a block of SHA-1 and of SHA-256, to which a key is padded.
    private static let blockLength = 64

    /// HMAC-SHA1 of `message`, 20 bytes (STUN's MESSAGE-INTEGRITY, RFC 8489 §14.5).
    public static func sha1(key: [UInt8], message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes { sha1(key: key, message: $0) }
    }

    /// HMAC-SHA1 of `message`, 20 bytes.
    public static func sha1(key: [UInt8], message: RawSpan) -> [UInt8] {
        message.withUnsafeBytes { sha1(key: key, message: $0) }
    }

    /// HMAC-SHA1 of `message`, 20 bytes.
    public static func sha1(key: [UInt8], message: UnsafeRawBufferPointer) -> [UInt8] {
        let key = key.count > blockLength ? SHA1.hash(key) : key
        var inner = SHA1()
        inner.update(pad(key, 0x36))
        inner.update(message)
        var outer = SHA1()
        outer.update(pad(key, 0x5C))
        outer.update(inner.finalize())
        return outer.finalize()
    }

    /// HMAC-SHA256 of `message`, 32 bytes (STUN's MESSAGE-INTEGRITY-SHA256, RFC 8489 §14.6).
    public static func sha256(key: [UInt8], message: [UInt8]) -> [UInt8] {
        message.withUnsafeBytes { sha256(key: key, message: $0) }
    }

    /// HMAC-SHA256 of `message`, 32 bytes.
    public static func sha256(key: [UInt8], message: RawSpan) -> [UInt8] {
        message.withUnsafeBytes { sha256(key: key, message: $0) }
    }

    /// HMAC-SHA256 of `message`, 32 bytes.
    public static func sha256(key: [UInt8], message: UnsafeRawBufferPointer) -> [UInt8] {
        let key = key.count > blockLength ? SHA256.hash(key) : key
        var inner = SHA256()
        inner.update(pad(key, 0x36))
        inner.update(message)
        var outer = SHA256()
        outer.update(pad(key, 0x5C))
        outer.update(inner.finalize())
        return outer.finalize()
    }

    /// Whether two codes are equal, in a time that does not depend on where they differ.
    public static func isEqual(_ first: some Collection<UInt8>, _ second: some Collection<UInt8>) -> Bool {
        guard first.count == second.count else { return false }
        var difference: UInt8 = 0
        for (a, b) in zip(first, second) { difference |= a ^ b }
        return difference == 0
    }

    private static func pad(_ key: [UInt8], _ mask: UInt8) -> [UInt8] {
        var block = [UInt8](repeating: mask, count: blockLength)
        for (index, byte) in key.enumerated() { block[index] ^= byte }
        return block
    }
}
