// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Which peers a relay sends to. Without limits a relay is a way into every network that its host reaches: its own
/// services, those of its neighbours, and the metadata services of clouds (RFC 8656 §21.1.5).
public struct RelayPeerPolicy: Hashable, Sendable {
    /// Whether addresses that are not of the public Internet are refused.
    public var deniesSpecialRanges = true
    /// What is refused beside these.
    public var denied: [IPRange] = []
    /// What is let through of all that: for laboratories and closed networks. The server's own host is let through only
    /// by an address that stands here alone, as a /32 or /128: whoever opens a network to peers hardly means the
    /// services of this host.
    public var allowed: [IPRange] = []

    /// The policy for a server on the Internet.
    public init() {}

    /// A policy that refuses nothing but the server's own host, for tests and laboratories.
    public static var everything: RelayPeerPolicy {
        var policy = RelayPeerPolicy()
        policy.allowed = [.anyV4, .anyV6].compactMap { IPRange($0, prefixLength: 0) }
        return policy
    }

    /// Whether a peer may be sent to and heard from.
    public func allows(_ ip: IPAddress) -> Bool {
        let ip = ip.withoutScope
        if isExplicitlyAllowed(ip) { return true }
        if denied.contains(where: { $0.contains(ip) }) { return false }
        // What reaches an IPv4 address in another dress is judged as that address.
        if let inner = Self.embeddedV4(ip), denied.contains(where: { $0.contains(inner) }) { return false }
        guard deniesSpecialRanges else { return true }
        let ranges = ip.family == .v4 ? Self.specialV4 : Self.specialV6
        if ranges.contains(where: { $0.contains(ip) }) { return false }
        guard let inner = Self.embeddedV4(ip) else { return true }
        return !Self.specialV4.contains { $0.contains(inner) }
    }

    /// Whether a peer is among those let through whatever else is said of ranges.
    private func isExplicitlyAllowed(_ ip: IPAddress) -> Bool {
        !allowed.isEmpty && allowed.contains { $0.contains(ip) }
    }

    /// Whether this very address is let through, not just a range that it belongs to.
    func names(_ ip: IPAddress) -> Bool {
        !allowed.isEmpty && allowed.contains { $0.isSingle && $0.contains(ip.withoutScope) }
    }

    /// The IPv4 address that packets to an IPv6 one end up at.
    static func embeddedV4(_ ip: IPAddress) -> IPAddress? {
        guard ip.family == .v6 else { return nil }
        // RFC 4291 §2.5.5: IPv4-compatible and IPv4-mapped.
        if ip.high == 0, ip.low >> 32 == 0 || ip.low >> 32 == 0xFFFF { return .v4(UInt32(truncatingIfNeeded: ip.low)) }
        // RFC 6052 §2.1: NAT64's well-known prefix 64:ff9b::/96.
        if ip.high == 0x0064_FF9B_0000_0000, ip.low >> 32 == 0 { return .v4(UInt32(truncatingIfNeeded: ip.low)) }
        // RFC 3056 §2: 6to4, 2002:V4ADDR::/48.
        if ip.high >> 48 == 0x2002 { return .v4(UInt32(truncatingIfNeeded: ip.high >> 16)) }
        return nil
    }

    /// The IPv4 ranges of the IANA special-purpose registry (RFC 6890) that no peer on the Internet has, with multicast
    /// (RFC 5771).
    private static let specialV4 = ranges([
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
    ])

    /// The same of IPv6: unspecified, loopback and IPv4-compatible; IPv4-mapped; local NAT64 (RFC 8215); discard-only;
    /// protocol assignments, Teredo among them, whose addresses name hosts behind NATs; documentation; segment routing;
    /// unique local; link-local; site-local; multicast.
    private static let specialV6 = ranges([
        "::/96", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    ])

    private static func ranges(_ texts: [String]) -> [IPRange] {
        texts.compactMap { IPRange($0) }
    }
}
