// SPDX-License-Identifier: Apache-2.0
internal import Wire

// candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type>
//     [raddr <address>] [rport <port>] *(<extension name> <extension value>)              RFC 8839 §5.1

extension ICECandidate: LosslessStringConvertible {
    /// Reads a candidate attribute, with or without `a=` and `candidate:` before it. `nil` for what RFC 8839 §5.1 has a
    /// reader ignore: types and transports that are not known, and lines that are not well formed.
    public init?(sdp line: String) {
        var text = Substring(line)
        if text.hasPrefix("a=") { text = text.dropFirst(2) }
        if text.hasPrefix("candidate:") { text = text.dropFirst("candidate:".utf8.count) }
        // A line that nobody writes is refused before it is split.
        guard text.utf8.count <= 2048 else { return nil }
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count >= 8,
            (1...32).contains(words[0].utf8.count), words[0].utf8.allSatisfy(ICECredentials.isICEChar),
            let component = Self.number(words[1], Int.self), (1...256).contains(component),
            let transport = Transport(rawValue: words[2].lowercased()),
            let priority = Self.number(words[3], UInt32.self),
            let host = Self.host(words[4]), let port = Self.number(words[5], UInt16.self),
            words[6].lowercased() == "typ", let kind = Kind(rawValue: words[7].lowercased())
        else { return nil }
        var rest = words[8...]
        var related: (ip: IPAddress?, port: UInt16?) = (nil, nil)
        if rest.count >= 2, rest.first?.lowercased() == "raddr" {
            related.ip = IPAddress(String(rest[rest.startIndex + 1]))
            rest = rest.dropFirst(2)
        }
        if rest.count >= 2, rest.first?.lowercased() == "rport" {
            related.port = Self.number(rest[rest.startIndex + 1], UInt16.self)
            rest = rest.dropFirst(2)
        }
        var extensions: [Extension] = []
        while rest.count >= 2 {
            extensions.append(Extension(name: String(rest[rest.startIndex]), value: String(rest[rest.startIndex + 1])))
            rest = rest.dropFirst(2)
        }
        foundation = String(words[0])
        self.component = component
        self.transport = transport
        self.priority = priority
        self.host = host
        self.port = port
        self.kind = kind
        relatedAddress = related.ip.map { SocketAddress(ip: $0, port: related.port ?? 0) }
        self.extensions = extensions
    }

    /// Reads what ``description`` writes, and the rest of what ``init(sdp:)`` takes.
    public init?(_ description: String) {
        self.init(sdp: description)
    }

    /// The candidate attribute as RFC 8839 §5.1 writes it, from `candidate:` on.
    public var description: String {
        let hostText =
            switch host {
            case .address(let ip): ip.withoutScope.description
            case .name(let name): name
            }
        let transportText = transport == .udp ? "udp" : "tcp"
        var text = "candidate:\(foundation) \(component) \(transportText) \(priority) \(hostText) \(port) typ \(kind.rawValue)"
        if let relatedAddress {
            text += " raddr \(relatedAddress.ip.withoutScope) rport \(relatedAddress.port)"
        }
        for item in extensions { text += " \(item.name) \(item.value)" }
        return text
    }

    private static func host(_ word: Substring) -> Host? {
        if let ip = IPAddress(String(word)) { return .address(ip) }
        // RFC 1123 §2.1 names, not all digits and dots (that would be a mistyped address) and within RFC 1035's 255.
        guard word.utf8.count <= 255, word.utf8.contains(where: { ($0 | 0x20) >= 0x61 && ($0 | 0x20) <= 0x7A }),
            word.utf8.allSatisfy({
                (0x30...0x39).contains($0) || (0x61...0x7A).contains($0 | 0x20) || $0 == 0x2D || $0 == 0x2E || $0 == 0x5F
            })
        else { return nil }
        return .name(String(word))
    }

    private static func number<T: FixedWidthInteger>(_ word: Substring, _ type: T.Type) -> T? {
        guard word.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return T(word)
    }
}
