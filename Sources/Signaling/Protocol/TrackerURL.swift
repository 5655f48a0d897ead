// SPDX-License-Identifier: Apache-2.0

/// The address of a WebTorrent tracker: `ws://host[:port][/path][?query]` or `wss://…` (RFC 6455 §3).
///
/// Two spellings of one address are equal: scheme and host in lower case, the default port left out, no slash at the end of
/// the path (other clients strip it, so trackers expect it gone) and no fragment.
public struct TrackerURL: Hashable, Sendable {
    /// Whether TLS is spoken: `wss`.
    public let isSecure: Bool
    /// A name or an address, an IPv6 one without brackets.
    public let host: String
    /// The TCP port.
    public let port: UInt16
    /// What is asked for: the path, `/` at least, with the query.
    public let target: String

    /// Reads an address; `nil` for anything that is no `ws` or `wss` address, trackers of other kinds (`udp`, `https`)
    /// included.
    public init?(_ text: String) {
        // Longer addresses serve nobody, and the request line has to hold them.
        guard text.utf8.count <= 2048, text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) else { return nil }
        guard let mark = text.utf8Range(of: "://") else { return nil }
        switch text[..<mark.lowerBound].lowercased() {
        case "ws": isSecure = false
        case "wss": isSecure = true
        default: return nil
        }
        let rest = text[mark.upperBound...].prefix { $0 != "#" }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard !authority.contains("@") else { return nil }
        guard let (host, port) = TrackerURL.split(authority) else { return nil }
        self.host = host
        self.port = port ?? (isSecure ? 443 : 80)

        let tail = rest[authority.endIndex...]
        var path = tail.prefix { $0 != "?" }
        let query = tail[path.endIndex...]
        while path.hasSuffix("/") { path = path.dropLast() }
        target = (path.isEmpty ? "/" : String(path)) + query
    }

    private static func split(_ authority: Substring) -> (host: String, port: UInt16?)? {
        var host = authority
        var digits: Substring?
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            host = authority[authority.index(after: authority.startIndex)..<end]
            let after = authority[authority.index(after: end)...]
            guard after.isEmpty || after.hasPrefix(":"), host.contains(":") else { return nil }
            digits = after.isEmpty ? nil : after.dropFirst()
        } else if let colon = authority.firstIndex(of: ":") {
            host = authority[..<colon]
            digits = authority[authority.index(after: colon)...]
            guard digits?.contains(":") == false else { return nil }
        }
        guard !host.isEmpty, host.utf8.count <= 253 else { return nil }
        // "host:" without digits means the default port (RFC 3986 §3.2.3).
        guard let digits, !digits.isEmpty else { return (host.lowercased(), nil) }
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits), port > 0 else { return nil }
        return (host.lowercased(), port)
    }

    /// What the `Host` header says (RFC 6455 §4.1): the port only where it is not the default one.
    var hostHeader: String {
        let name = host.contains(":") ? "[\(host)]" : host
        return port == (isSecure ? 443 : 80) ? name : "\(name):\(port)"
    }
}

extension TrackerURL: LosslessStringConvertible {
    /// The normalised address.
    public var description: String {
        "\(isSecure ? "wss" : "ws")://\(hostHeader)\(target == "/" ? "" : target)"
    }
}

extension String {
    /// Where `needle` first stands.
    fileprivate func utf8Range(of needle: String) -> Range<Index>? {
        let length = needle.utf8.count
        var start = startIndex
        while let end = utf8.index(start, offsetBy: length, limitedBy: endIndex) {
            if self[start..<end] == needle { return start..<end }
            start = utf8.index(after: start)
        }
        return nil
    }
}
