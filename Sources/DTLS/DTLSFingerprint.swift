// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

/// A hash of a certificate as session descriptions carry it (RFC 8122 §5).
public struct DTLSFingerprint: Hashable, Sendable {
    /// The hash function's name in lower case, such as `sha-256`.
    public let algorithm: String
    /// The hash.
    public let bytes: [UInt8]

    /// A fingerprint from its parts; the case of the name does not matter.
    public init(algorithm: String, bytes: [UInt8]) {
        self.algorithm = algorithm.lowercased()
        self.bytes = bytes
    }

    /// The SHA-256 fingerprint of a certificate.
    public init(sha256Of certificateDER: [UInt8]) {
        self.init(algorithm: "sha-256", bytes: KnownHash.sha256.digest(certificateDER))
    }

    /// What `a=fingerprint:` holds: a name, a space, bytes in hexadecimal between colons. `nil` for anything else.
    /// RFC 8122 wants capitals; small letters are read as well.
    public init?(sdp text: some StringProtocol) {
        let parts = text.split(separator: " ", omittingEmptySubsequences: true)
        guard parts.count == 2, !parts[0].isEmpty else { return nil }
        var bytes: [UInt8] = []
        for octet in parts[1].utf8.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false) {
            guard octet.count == 2, bytes.count < 64, octet.first != UInt8(ascii: "+"),
                let value = UInt8(String(decoding: octet, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(value)
        }
        self.init(algorithm: String(parts[0]), bytes: bytes)
    }

    /// Whether the hash function is one that verifies: known here, and not broken.
    public var isUsable: Bool { KnownHash(rawValue: algorithm) != nil }
}

extension DTLSFingerprint: CustomStringConvertible {
    /// What stands after `a=fingerprint:`.
    public var description: String {
        let digits = Array("0123456789ABCDEF".utf8)
        var text = Array(algorithm.utf8)
        var separator = UInt8(ascii: " ")
        for byte in bytes {
            text += [separator, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            separator = UInt8(ascii: ":")
        }
        return String(decoding: text, as: UTF8.self)
    }
}

extension DTLSFingerprint {
    /// Checks a certificate against what its owner's description promised.
    ///
    /// RFC 8122 §5.1: of the hash functions in the list the most preferred one counts, here the strongest, and the
    /// certificate has to match one fingerprint made with it. Unknown and broken functions (MD5, SHA-1) are passed
    /// over.
    static func verify(certificateDER: [UInt8], against expected: [DTLSFingerprint]) throws(DTLSError) {
        guard let hash = strongestHash(in: expected) else { throw .noUsableFingerprint }
        let actual = DTLSFingerprint(algorithm: hash.rawValue, bytes: hash.digest(certificateDER))
        guard expected.contains(actual) else { throw .fingerprintMismatch(expected: expected, actual: actual) }
    }

    static func strongestHash(in fingerprints: [DTLSFingerprint]) -> KnownHash? {
        KnownHash.allCases.first { hash in fingerprints.contains { $0.algorithm == hash.rawValue } }
    }

    /// The hash functions that verify, strongest first.
    enum KnownHash: String, CaseIterable {
        case sha512 = "sha-512"
        case sha384 = "sha-384"
        case sha256 = "sha-256"

        /// The hash of `bytes`, by OpenSSL's `EVP_Digest`.
        func digest(_ bytes: [UInt8]) -> [UInt8] {
            let function =
                switch self {
                case .sha512: EVP_sha512()
                case .sha384: EVP_sha384()
                case .sha256: EVP_sha256()
                }
            var count: UInt32 = 0
            var output = [UInt8](repeating: 0, count: 64)
            guard EVP_Digest(bytes, bytes.count, &output, &count, function, nil) == 1 else { return [] }
            return Array(output.prefix(Int(count)))
        }
    }
}
