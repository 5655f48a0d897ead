// SPDX-License-Identifier: Apache-2.0
internal import Hashing

/// A user and a password that a server knows in advance (RFC 8489 §9.2).
public struct LongTermCredentials: Hashable, Sendable {
    /// The user's name.
    public var username: String
    /// The password.
    public var password: String

    /// Credentials from their parts. Both are taken as they are: what OpaqueString (RFC 8265 §4.2) would change is the
    /// caller's to prepare.
    public init(username: String, password: String) {
        self.username = username
        self.password = password
    }

    /// How a key is made of a password (RFC 8489 §18.5).
    public enum PasswordAlgorithm: UInt16, Hashable, Sendable, CaseIterable {
        /// MD5, whose proof is MESSAGE-INTEGRITY.
        case md5 = 1
        /// SHA-256.
        case sha256 = 2

        /// The key of a user in a realm.
        public func key(username: String, realm: String, password: String) -> [UInt8] {
            let text = Array("\(username):\(realm):\(password)".utf8)
            return switch self {
            case .md5: MD5.hash(text)
            case .sha256: SHA256.hash(text)
            }
        }
    }

    /// The key in a realm.
    public func key(realm: String, algorithm: PasswordAlgorithm = .md5) -> [UInt8] {
        algorithm.key(username: username, realm: realm, password: password)
    }

    /// The value of USERHASH, which hides the name from who listens (RFC 8489 §14.4).
    public static func userhash(username: String, realm: String) -> [UInt8] {
        SHA256.hash(Array("\(username):\(realm)".utf8))
    }
}

/// What a server says of itself in the first bytes of a nonce (RFC 8489 §9.2, §18.1).
public struct STUNSecurityFeatures: OptionSet, Hashable, Sendable {
    /// 24 bits, the first feature the highest.
    public let rawValue: UInt32
    /// Features from their bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// PASSWORD-ALGORITHMS comes with the nonce.
    public static let passwordAlgorithms = STUNSecurityFeatures(rawValue: 1 << 23)
    /// USERHASH may stand for USERNAME.
    public static let usernameAnonymity = STUNSecurityFeatures(rawValue: 1 << 22)

    private static let cookie = Array("obMatJos2".utf8)
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// The features that a nonce tells; `nil` for one that tells none.
    public init?(nonce: [UInt8]) {
        guard nonce.count >= Self.cookie.count + 4, nonce.starts(with: Self.cookie) else { return nil }
        var bits: UInt32 = 0
        for byte in nonce[Self.cookie.count..<Self.cookie.count + 4] {
            guard let digit = Self.alphabet.firstIndex(of: byte) else { return nil }
            bits = bits << 6 | UInt32(digit)
        }
        self.init(rawValue: bits)
    }

    /// The 13 bytes that a nonce starts with to tell these features.
    public var noncePrefix: [UInt8] {
        Self.cookie + stride(from: 18, through: 0, by: -6).map { Self.alphabet[Int(rawValue >> UInt32($0) & 63)] }
    }
}
