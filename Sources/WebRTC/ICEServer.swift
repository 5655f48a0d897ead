// SPDX-License-Identifier: Apache-2.0

/// A STUN or TURN server as people write it (RFC 7064, RFC 7065): `stun:host:port`, or with credentials
/// `turn:user:password@host:port?transport=udp|tcp|tls`.
public struct ICEServer: Hashable, Sendable {
    /// What a server does.
    public enum Kind: String, Hashable, Sendable {
        /// Tells a host its reflexive address.
        case stun
        /// Relays as well.
        case turn
    }

    /// How the server is reached.
    public enum Transport: String, Hashable, Sendable {
        /// Datagrams.
        case udp
        /// A byte stream.
        case tcp
        /// A byte stream under TLS.
        case tls
    }

    /// STUN or TURN.
    public var kind: Kind
    /// A name or an address.
    public var host: String
    /// The port; 3478 unless given, 5349 for TLS (RFC 7064 §3.2, RFC 7065 §3.2).
    public var port: UInt16
    /// How it is reached.
    public var transport: Transport
    /// The TURN user, empty for STUN.
    public var username: String
    /// The TURN password, empty for STUN.
    public var password: String

    /// A STUN server over UDP.
    public static func stun(_ host: String, port: UInt16 = 3478) -> ICEServer {
        ICEServer(kind: .stun, host: host, port: port, transport: .udp, username: "", password: "")
    }

    /// A server from its parts.
    public init(kind: Kind, host: String, port: UInt16, transport: Transport, username: String, password: String) {
        self.kind = kind
        self.host = host
        self.port = port
        self.transport = transport
        self.username = username
        self.password = password
    }
}

extension ICEServer: LosslessStringConvertible {
    /// Reads the form above; `nil` where scheme, host, port or transport are wrong.
    public init?(_ text: String) {
        guard let colon = text.firstIndex(of: ":") else { return nil }
        var rest = text[text.index(after: colon)...]
        let secure: Bool
        switch text[..<colon].lowercased() {
        case "stun": (kind, secure) = (.stun, false)
        case "turn": (kind, secure) = (.turn, false)
        case "turns": (kind, secure) = (.turn, true)
        default: return nil
        }
        transport = secure ? .tls : .udp
        if let question = rest.lastIndex(of: "?") {
            let query = rest[rest.index(after: question)...]
            guard query.hasPrefix("transport="),
                let value = Transport(rawValue: String(query.dropFirst(10).lowercased()))
            else { return nil }
            if !(secure && value == .tcp) { transport = value }
            rest = rest[..<question]
        }
        // The password may hold an "@" and a ":"; the user may not hold a ":".
        username = ""
        password = ""
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { return nil }
            (username, password) = (String(parts[0]), String(parts[1]))
            rest = rest[rest.index(after: at)...]
        }
        port = transport == .tls ? 5349 : 3478
        if rest.hasPrefix("["), let bracket = rest.firstIndex(of: "]") {
            host = String(rest[rest.index(after: rest.startIndex)..<bracket])
            rest = rest[rest.index(after: bracket)...]
        } else {
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            host = String(rest[..<end])
            rest = rest[end...]
        }
        if rest.hasPrefix(":") {
            guard let number = UInt16(rest.dropFirst()), number > 0 else { return nil }
            port = number
        } else if !rest.isEmpty {
            return nil
        }
        // Neither scheme has an authority with slashes (RFC 7064 §3.1, RFC 7065 §3.1), and STUN alone has no users.
        guard !host.isEmpty, !host.contains("/"), !username.hasPrefix("//"),
            kind == .stun ? username.isEmpty && transport == .udp : !username.isEmpty
        else { return nil }
    }

    /// The server as it is written, without its password.
    public var description: String {
        let name = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
        guard kind == .turn else { return "stun:\(name):\(port)" }
        return "turn:\(username)@\(name):\(port)?transport=\(transport.rawValue)"
    }
}
