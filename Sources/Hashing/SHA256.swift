// SPDX-License-Identifier: Apache-2.0

/// SHA-256 (FIPS 180-4 §6.2), computed by OpenSSL.
///
/// Copies share OpenSSL's context until one of them takes more; a shared context is only read, which is what makes the
/// type sendable.
public struct SHA256: @unchecked Sendable {
    /// How many bytes a hash has.
    public static let byteCount = 32

    private var digest = OpenSSLDigest.sha256()

    /// The hash of nothing yet.
    public init() {}

    /// The hash of `bytes`, 32 bytes.
    public static func hash(_ bytes: [UInt8]) -> [UInt8] {
        bytes.withUnsafeBytes { hash($0) }
    }

    /// The hash of `bytes`, 32 bytes.
    public static func hash(_ bytes: RawSpan) -> [UInt8] {
        bytes.withUnsafeBytes { hash($0) }
    }

    /// The hash of `bytes`, 32 bytes.
    public static func hash(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        let digest = OpenSSLDigest.sha256()
        digest.update(bytes)
        return digest.finish()
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        if !isKnownUniquelyReferenced(&digest) { digest = digest.copy() }
        digest.update(bytes)
    }

    /// The 32-byte hash of what was taken so far; more may be taken after it.
    public func finalize() -> [UInt8] {
        digest.copy().finish()
    }
}
