// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The addresses of a server for NAT discovery: up to two hosts with two ports each (RFC 5780 §6).
struct NATEndpoints: Hashable, Sendable {
    /// Where the server was known to be.
    let primary: SocketAddress
    /// Its OTHER-ADDRESS, where that is of use.
    private(set) var other: SocketAddress?

    init(primary: SocketAddress) {
        self.primary = primary
    }

    var hasTwoAddresses: Bool { other.map { $0.ip != primary.ip } ?? false }
    var hasTwoPorts: Bool { other.map { $0.port != primary.port } ?? false }

    /// The host of the server, the other port.
    var otherPort: SocketAddress? {
        hasTwoPorts ? other.map { SocketAddress(ip: primary.ip, port: $0.port) } : nil
    }

    /// The other host, the known port.
    var otherHost: SocketAddress? {
        hasTwoAddresses ? other.map { SocketAddress(ip: $0.ip, port: primary.port) } : nil
    }

    /// Takes what an answer named as OTHER-ADDRESS; answers what is wrong with it.
    mutating func set(other address: SocketAddress?) -> NATServerFault? {
        guard let address else { return .noOtherAddress }
        guard isUsable(address) else { return .otherAddressUnusable(address) }
        other = address
        if address.ip == primary.ip { return .otherAddressOnSameHost(address) }
        if address.port == primary.port { return .otherAddressOnSamePort(address) }
        return nil
    }

    private func isUsable(_ address: SocketAddress) -> Bool {
        let (ip, known) = (address.ip, primary.ip)
        guard address != primary, address.port != 0, ip.family == known.family, !ip.isUnspecified, !ip.isMulticast
        else {
            return false
        }
        // An address that only its neighbours reach is of use where the server itself is such a neighbour.
        return (!ip.isLoopback || known.isLoopback) && (!ip.isLinkLocal || known.isLinkLocal)
            && (!ip.isPrivate || known.isPrivate || known.isLoopback)
    }

    /// What the answer of the other address names as OTHER-ADDRESS in turn (RFC 5780 §6.1, table 1).
    func expectedOther(at destination: SocketAddress) -> SocketAddress? {
        guard let other else { return nil }
        return SocketAddress(
            ip: destination.ip == primary.ip ? other.ip : primary.ip,
            port: destination.port == primary.port ? other.port : primary.port)
    }

    /// Where an answer comes from that is asked of the known address with these flags.
    func origin(of changes: NATExchange.Changes) -> SocketAddress? {
        guard let other else { return nil }
        return SocketAddress(
            ip: changes.contains(.address) ? other.ip : primary.ip,
            port: changes.contains(.port) ? other.port : primary.port)
    }
}
