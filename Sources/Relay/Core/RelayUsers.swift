// SPDX-License-Identifier: Apache-2.0
internal import Hashing
public import ICE

/// Who may use a relay: users known in advance, and whoever holds a credential that a shared secret made.
public struct RelayUsers: Sendable {
    /// Where the credentials are valid; a server's domain name is the usual choice (RFC 8489 §9.2.4).
    public let realm: String
    private var keys: [String: Keys] = [:]
    private var names: [[UInt8]: String] = [:]
    private let secrets: [[UInt8]]

    /// The most bytes of a realm: longer ones would make a challenge much larger than the request that provokes it.
    public static let maximumRealmLength = 64

    /// A user's keys. Passwords are not kept (RFC 8656 §6).
    struct Keys: Sendable {
        let md5: [UInt8]
        let sha256: [UInt8]

        init(_ credentials: LongTermCredentials, realm: String) {
            md5 = credentials.key(realm: realm, algorithm: .md5)
            sha256 = credentials.key(realm: realm, algorithm: .sha256)
        }

        subscript(algorithm: LongTermCredentials.PasswordAlgorithm) -> [UInt8] {
            switch algorithm {
            case .md5: md5
            case .sha256: sha256
            }
        }
    }

    /// A user that was found.
    struct User: Sendable {
        /// The name that the request gave, or that its hash stands for.
        let name: String
        /// Whom quotas count for: a short-lived name's part behind the time.
        let account: String
        let keys: Keys
    }

    /// Users from their passwords, and the secrets that short-lived credentials are made with, of which any will do.
    public init(realm: String, users: [LongTermCredentials] = [], secrets: [String] = []) {
        self.realm = String(decoding: realm.utf8.prefix(Self.maximumRealmLength), as: UTF8.self)
        self.secrets = secrets.map { Array($0.utf8) }
        for user in users {
            keys[user.username] = Keys(user, realm: self.realm)
            names[LongTermCredentials.userhash(username: user.username, realm: self.realm)] = user.username
        }
    }

    /// Whether nobody can be authenticated.
    public var isEmpty: Bool { keys.isEmpty && secrets.isEmpty }

    /// Whether a hash can stand for each name. The names that a secret vouches for are not known in advance.
    var takesUserhash: Bool { secrets.isEmpty }

    /// A user by name, at a time in seconds since 1970.
    func user(named name: String, unixTime: Int64) -> User? {
        if let keys = keys[name] { return User(name: name, account: name, keys: keys) }
        let parts = name.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        guard let secret = secrets.first, let expiry = parts.first.flatMap({ Int64($0) }), expiry > unixTime else {
            return nil
        }
        let password = Self.password(for: name, secret: secret)
        let account = parts.count == 2 && !parts[1].isEmpty ? String(parts[1]) : name
        let keys = Keys(LongTermCredentials(username: name, password: password), realm: realm)
        return User(name: name, account: account, keys: keys)
    }

    /// The keys that a name has with each secret but the first: an old secret stays valid while it is being replaced.
    func alternatives(named name: String, algorithm: LongTermCredentials.PasswordAlgorithm) -> [Keys] {
        guard keys[name] == nil else { return [] }
        return secrets.dropFirst().map {
            Keys(LongTermCredentials(username: name, password: Self.password(for: name, secret: $0)), realm: realm)
        }
    }

    /// A user by USERHASH (RFC 8489 §14.4).
    func user(hashed hash: [UInt8]) -> User? {
        guard let name = names[hash], let keys = keys[name] else { return nil }
        return User(name: name, account: name, keys: keys)
    }

    /// A credential that a shared secret vouches for until a time, in seconds since 1970: the name is that time and the
    /// user, the password is made of the name ("A REST API For Access To TURN Services",
    /// draft-uberti-behave-turn-rest).
    public static func shortLived(secret: String, user: String, expires: Int64) -> LongTermCredentials {
        let name = user.isEmpty ? "\(expires)" : "\(expires):\(user)"
        return LongTermCredentials(username: name, password: password(for: name, secret: Array(secret.utf8)))
    }

    private static func password(for name: String, secret: [UInt8]) -> String {
        String(decoding: Base64Text.encode(HMAC.sha1(key: secret, message: Array(name.utf8))), as: UTF8.self)
    }
}
