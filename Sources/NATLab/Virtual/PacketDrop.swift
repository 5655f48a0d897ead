// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

/// Why a packet got no further, with what is needed to say so in words. It is a value without text: naming a cause
/// costs nothing until somebody asks for ``description``.
public enum PacketDrop: Error, Hashable, Sendable {
    /// Nothing behind the NAT has the address it went to.
    case unmapped(external: SocketAddress, source: SocketAddress)
    /// The mapping's filter does not know its source.
    case filtered(Filter)
    /// It went from inside to an address of the same NAT, which does no hairpinning.
    case notHairpinned(external: SocketAddress)
    /// The NAT remembers as many sessions as it can.
    case tooManySessions(limit: Int)
    /// No external port is free for a new mapping.
    case noPortFree(external: IPAddress)
    /// All blocks of ports are given to other hosts.
    case noBlockFree(external: IPAddress)
    /// The box lets no UDP through.
    case udpBlocked
    /// It had passed as many routers as its TTL allowed.
    case timeToLiveExceeded
    /// Nobody has the address it went to.
    case noRoute(IPAddress)
    /// The host does not have the address it sent from.
    case foreignSource(IPAddress)
    /// The link lost it.
    case lost
    /// The link's queue had no room.
    case queueFull
    /// It is longer than the link's MTU; both in bytes of the whole IP packet.
    case tooLong(byteCount: Int, mtu: Int)

    /// A filter that did not let a packet in.
    public struct Filter: Hashable, Sendable {
        /// On how much of its source that depends.
        public let rule: NATBehavior.Dependence
        /// The mapping's external address; that of the host itself behind a firewall.
        public let mapping: SocketAddress
        /// Who sent the packet.
        public let source: SocketAddress
        /// Where the mapping has sent to most recently.
        public let latest: SocketAddress
        /// How many destinations (addresses, where the rule depends on these alone) the filter knows.
        public let destinationCount: Int
        /// What the packet did besides.
        public let effect: NATProfile.FilteredInbound
    }
}

extension PacketDrop: CustomStringConvertible {
    /// For example `address-and-port-dependent filter: mapping 198.51.100.7:51022 has sent to 203.0.113.9:3478, not to
    /// 203.0.113.20:40312`.
    public var description: String {
        switch self {
        case .unmapped(let external, let source): "no mapping: nothing inside has \(external), to which \(source) sent"
        case .filtered(let filter): filter.description
        case .notHairpinned(let external):
            "no hairpinning: \(external) is an address of the NAT that its own host sent to"
        case .tooManySessions(let limit): "the NAT remembers \(limit) sessions, and no more"
        case .noPortFree(let external): "no port of \(external) is free"
        case .noBlockFree(let external): "no block of ports of \(external) is free"
        case .udpBlocked: "UDP is blocked"
        case .timeToLiveExceeded: "its time to live ran out"
        case .noRoute(let address): "no route: nobody has \(address)"
        case .foreignSource(let address): "the host does not have the address \(address) that it sent from"
        case .lost: "lost on the link"
        case .queueFull: "the link's queue was full"
        case .tooLong(let byteCount, let mtu): "\(byteCount) bytes, where the link takes \(mtu)"
        }
    }
}

extension PacketDrop.Filter: CustomStringConvertible {
    /// The rule, the mapping, whom it knows and who sent.
    public var description: String {
        let others = destinationCount > 1 ? " and \(destinationCount - 1) more" : ""
        let consequence =
            switch effect {
            case .dropped: ""
            case .takesPort: "; what is sent to it now gets another port"
            case .endsMapping: "; the mapping ended"
            case .refused: "; refused by ICMP"
            }
        return "\(rule.words) filter: mapping \(mapping) has sent to \(latest)\(others), not to \(source)\(consequence)"
    }
}

extension NATBehavior.Dependence {
    /// As RFC 4787 writes it, in lower case.
    var words: String {
        switch self {
        case .endpointIndependent: "endpoint-independent"
        case .addressDependent: "address-dependent"
        case .addressAndPortDependent: "address-and-port-dependent"
        }
    }
}
