// SPDX-License-Identifier: Apache-2.0
public import Wire

/// The fragment and the password that checks are authenticated with (RFC 8445 §5.3).
public struct ICECredentials: Hashable, Sendable {
    /// Names the agent in the USERNAME of checks: 4 to 256 ice-chars.
    public let ufrag: String
    /// The key of the checks that are sent to the agent: 22 to 256 ice-chars.
    public let password: String

    /// Credentials as received; `nil` if a length or a character is against RFC 8839 §5.4.
    public init?(ufrag: String, password: String) {
        guard (4...256).contains(ufrag.utf8.count), ufrag.utf8.allSatisfy(Self.isICEChar),
            (22...256).contains(password.utf8.count), password.utf8.allSatisfy(Self.isICEChar)
        else { return nil }
        self.ufrag = ufrag
        self.password = password
    }

    /// Fresh credentials: 48 random bits in the fragment, 144 in the password (RFC 8445 §5.3 wants at least 24 and 128).
    public init(using entropy: inout Entropy) {
        ufrag = Self.text(8, &entropy)
        password = Self.text(24, &entropy)
    }

    /// Whether a byte is an ice-char of RFC 8839 §5.1: a letter, a digit, `+` or `/`.
    static func isICEChar(_ byte: UInt8) -> Bool {
        (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || (0x2F...0x39).contains(byte) || byte == 0x2B
    }

    private static func text(_ count: Int, _ entropy: inout Entropy) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        return String(decoding: entropy.bytes(count).map { alphabet[Int($0 & 63)] }, as: UTF8.self)
    }
}
