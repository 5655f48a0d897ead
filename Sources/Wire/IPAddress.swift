// SPDX-License-Identifier: Apache-2.0

/// An IPv4 or IPv6 address. Text as in RFC 4291 §2.2 is read, text as in RFC 5952 is written.
public struct IPAddress: Hashable, Sendable {
    /// Which protocol an address belongs to.
    public enum Family: Sendable, Hashable {
        case v4
        case v6
    }

    /// The protocol.
    public let family: Family
    /// The first 64 bits of an IPv6 address, 0 for IPv4.
    public let high: UInt64
    /// The last 64 bits of an IPv6 address, or the 32 bits of an IPv4 one.
    public let low: UInt64
    /// The interface index of a link-local IPv6 address (RFC 4007 §6), else 0.
    public let scopeID: UInt32

    private init(family: Family, high: UInt64, low: UInt64, scopeID: UInt32) {
        self.family = family
        self.high = high
        self.low = low
        self.scopeID = scopeID
    }

    /// An IPv4 address from its 32 bits, most significant first: 127.0.0.1 is `0x7F000001`.
    public static func v4(_ bits: UInt32) -> IPAddress {
        IPAddress(family: .v4, high: 0, low: UInt64(bits), scopeID: 0)
    }

    /// An IPv6 address from its two halves and, for a link-local one, the interface.
    public static func v6(high: UInt64, low: UInt64, scopeID: UInt32 = 0) -> IPAddress {
        IPAddress(family: .v6, high: high, low: low, scopeID: scopeID)
    }

    /// The IPv4 bits, `nil` for IPv6.
    public var v4Bits: UInt32? { family == .v4 ? UInt32(truncatingIfNeeded: low) : nil }

    /// The same address without a zone.
    public var withoutScope: IPAddress { IPAddress(family: family, high: high, low: low, scopeID: 0) }

    /// An IPv6 address of the form ::ffff:a.b.c.d as IPv4 (RFC 4291 §2.5.5.2); any other as it is.
    public var unmapped: IPAddress {
        guard family == .v6, high == 0, low >> 32 == 0xFFFF else { return self }
        return .v4(UInt32(truncatingIfNeeded: low))
    }

    /// 127.0.0.1.
    public static let loopbackV4 = IPAddress.v4(0x7F00_0001)
    /// ::1.
    public static let loopbackV6 = IPAddress.v6(high: 0, low: 1)
    /// 0.0.0.0.
    public static let anyV4 = IPAddress.v4(0)
    /// ::.
    public static let anyV6 = IPAddress.v6(high: 0, low: 0)

    /// Whether this is 127.0.0.0/8 or ::1.
    public var isLoopback: Bool {
        family == .v4 ? low >> 24 == 127 : high == 0 && low == 1
    }

    /// Whether this is 0.0.0.0 or ::.
    public var isUnspecified: Bool { high == 0 && low == 0 }

    /// Whether this is 169.254.0.0/16 or fe80::/10.
    public var isLinkLocal: Bool {
        family == .v4 ? low >> 16 == 0xA9FE : high >> 54 == 0x3FA
    }

    /// Whether this is 224.0.0.0/4 or ff00::/8.
    public var isMulticast: Bool {
        family == .v4 ? low >> 28 == 0xE : high >> 56 == 0xFF
    }

    /// Whether this is private (RFC 1918), shared (RFC 6598) or a unique local IPv6 address (RFC 4193).
    public var isPrivate: Bool {
        switch family {
        case .v4: low >> 24 == 10 || low >> 20 == 0xAC1 || low >> 16 == 0xC0A8 || low >> 22 == 0x6440 >> 6
        case .v6: high >> 57 == 0x7E
        }
    }

    /// The 4 or 16 bytes in network order.
    public var bytes: [UInt8] {
        switch family {
        case .v4: (0..<4).map { UInt8(truncatingIfNeeded: low >> (24 - 8 * $0)) }
        case .v6:
            (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? high : low) >> (56 - 8 * ($0 & 7))) }
        }
    }
}

extension IPAddress: LosslessStringConvertible {
    /// Reads dotted decimal, or IPv6 text with an optional numeric zone; `nil` for anything else, names included.
    public init?(_ text: String) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            self.init(v6Text: text)
        } else if let bits = IPAddress.parseV4(Substring(text)) {
            self = .v4(bits)
        } else {
            return nil
        }
    }

    private static func parseV4(_ text: Substring) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bits: UInt32 = 0
        for part in parts {
            // Leading zeros are refused: some readers take them for octal.
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                part.utf8.count == 1 || part.utf8.first != 0x30, let value = UInt8(part)
            else { return nil }
            bits = bits << 8 | UInt32(value)
        }
        return bits
    }

    private init?(v6Text: String) {
        var text = Substring(v6Text)
        var scope: UInt32 = 0
        if let percent = text.firstIndex(of: "%") {
            guard let index = UInt32(text[text.index(after: percent)...]) else { return nil }
            scope = index
            text = text[..<percent]
        }
        var groups: [UInt16] = []
        var gap: Int?
        var rest = text
        if rest.hasPrefix("::") {
            gap = 0
            rest = rest.dropFirst(2)
        } else if rest.hasPrefix(":") {
            return nil
        }
        while !rest.isEmpty {
            guard groups.count < 8 else { return nil }
            let end = rest.firstIndex(of: ":") ?? rest.endIndex
            let part = rest[..<end]
            if part.utf8.contains(UInt8(ascii: ".")) {
                guard end == rest.endIndex, groups.count <= 6, let bits = IPAddress.parseV4(part) else { return nil }
                groups += [UInt16(truncatingIfNeeded: bits >> 16), UInt16(truncatingIfNeeded: bits)]
                break
            }
            guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy(IPAddress.isHexDigit),
                let value = UInt16(part, radix: 16)
            else { return nil }
            groups.append(value)
            guard end < rest.endIndex else { break }
            rest = rest[rest.index(after: end)...]
            if rest.hasPrefix(":") {
                guard gap == nil else { return nil }
                gap = groups.count
                rest = rest.dropFirst()
            } else if rest.isEmpty {
                return nil
            }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        let high = groups[0..<4].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        let low = groups[4..<8].reduce(UInt64(0)) { $0 << 16 | UInt64($1) }
        self = .v6(high: high, low: low, scopeID: scope)
    }

    private static func isHexDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x46).contains(byte) || (0x61...0x66).contains(byte)
    }

    /// The address as RFC 5952 writes it, with `%zone` where there is one.
    public var description: String {
        guard family == .v6 else { return bytes.map(String.init).joined(separator: ".") }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: ($0 < 4 ? high : low) >> (48 - 16 * ($0 & 3))) }
        let zone = scopeID == 0 ? "" : "%\(scopeID)"
        if high == 0, low >> 32 == 0xFFFF { return "::ffff:\(unmapped)\(zone)" }
        // The longest run of at least two zero groups, the first of equals (RFC 5952 §4.2).
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8, groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        func text(_ range: Range<Int>) -> String {
            groups[range].map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard !best.isEmpty else { return text(0..<8) + zone }
        return text(0..<best.lowerBound) + "::" + text(best.upperBound..<8) + zone
    }
}
