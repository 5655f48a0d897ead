// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What a discovery found out about the NAT or firewall between a host and a server (RFC 5780), each fact known or not.
///
/// It holds for the moment, the ports and the server that it was made with; NATs change under load (RFC 5780 §1). The
/// raw values of its facts are those of a NAT's profile.
public struct NATReport: Hashable, Sendable {
    /// What stands between the host and the server.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Nothing that translates or filters.
        case open
        /// Something that translates.
        case nat
        /// Something that filters and does not translate.
        case firewall
        /// Something that lets no UDP through, as far as several servers tell.
        case udpBlocked = "udp-blocked"
    }

    /// Whether mappings of one host have one external address (RFC 4787 §4.1).
    public enum Pooling: String, Hashable, Sendable, CaseIterable {
        /// They do, or there is only one.
        case paired
        /// They do not.
        case arbitrary
    }

    /// What becomes of a packet from inside to an external address of the same NAT (RFC 4787 §6).
    public enum Hairpinning: String, Hashable, Sendable, CaseIterable {
        /// It is lost.
        case none
        /// It arrives, from the sender's external address.
        case externalSource = "external"
        /// It arrives, from the sender's internal address.
        case internalSource = "internal"
    }

    /// What a packet from outside does that is not let in.
    public enum FilteredInbound: String, Hashable, Sendable, CaseIterable {
        /// Nothing that shows inside.
        case dropped
        /// It takes the port for itself: what leaves to its source later gets another port.
        case takesPort = "takes-port"
        /// It ends the mapping.
        case endsMapping = "ends-mapping"
    }

    /// How long a mapping lives that nothing refreshes.
    public struct Lifetime: Hashable, Sendable {
        /// It was still there after this time.
        public var survived: Duration
        /// It was gone after this time; `nil` if it survived all tests.
        public var expired: Duration?
    }

    /// The server that was asked.
    public internal(set) var server: SocketAddress
    /// Its other address, where it has one that is of use.
    public internal(set) var otherAddress: SocketAddress?
    /// Where the first socket was bound.
    public internal(set) var localAddress: SocketAddress?
    /// Where the server saw the first socket; `nil` if it never answered.
    public internal(set) var mappedAddress: SocketAddress?
    /// All external addresses that were seen, 16 at most.
    public internal(set) var externalAddresses: [IPAddress] = []

    /// What stands in between.
    public internal(set) var kind = NATFact<Kind>.unknown(.notTested)
    /// For which destinations a mapping is used again (RFC 4787 §4.1).
    public internal(set) var mapping = NATFact<NATBehavior.Dependence>.unknown(.notTested)
    /// Whose packets are let in (RFC 4787 §5).
    public internal(set) var filtering = NATFact<NATBehavior.Dependence>.unknown(.notTested)
    /// How the port of a socket's first mapping is chosen (RFC 4787 §4.2.1).
    public internal(set) var allocation = NATFact<NATPortPattern>.unknown(.notTested)
    /// How the ports of a socket's mappings toward further destinations are chosen, where each gets its own.
    public internal(set) var furtherAllocation = NATFact<NATPortPattern>.unknown(.notTested)
    /// Whether external ports are even where internal ones are, and odd where they are odd (RFC 4787 §4.2.2).
    public internal(set) var preservesParity = NATFact<Bool>.unknown(.notTested)
    /// Whether all mappings have one external address.
    public internal(set) var pooling = NATFact<Pooling>.unknown(.notTested)
    /// Whether sockets of this host reach each other at their external addresses.
    public internal(set) var hairpinning = NATFact<Hairpinning>.unknown(.notTested)
    /// What a packet from outside does that is not let in.
    public internal(set) var filteredInbound = NATFact<FilteredInbound>.unknown(.notTested)
    /// How long a mapping lives.
    public internal(set) var mappingLifetime = NATFact<Lifetime>.unknown(.notWanted)
    /// Whether packets from outside keep a mapping alive (RFC 4787 §4.3).
    public internal(set) var inboundRefreshes = NATFact<Bool>.unknown(.notWanted)
    /// Whether addresses inside of packets are changed, by a generic ALG (RFC 5780 §3.6).
    public internal(set) var rewritesPayload = NATFact<Bool>.unknown(.notTested)

    /// What is wrong with the server, 16 things at most.
    public internal(set) var faults: [NATServerFault] = []
    /// How long a round trip to the server takes; `nil` if it never answered.
    public internal(set) var roundTripTime: Duration?
    /// Requests that should have been answered, each copy counted.
    public internal(set) var requestsSent = 0
    /// Those of them that were.
    public internal(set) var requestsAnswered = 0
    /// Datagrams that answered nothing.
    public internal(set) var packetsDropped = 0
    /// Everything that was sent, and what came of it, in order.
    public internal(set) var exchanges: [NATExchange] = []

    init(server: SocketAddress) {
        self.server = server
    }

    /// The facts that decide whether two peers can meet; `nil` unless mapping, filtering and allocation are all known.
    /// What does not translate preserves ports.
    public var behavior: NATBehavior? {
        let chosen = allocation == .unknown(.noTranslation) ? .preserving : allocation.value?.allocation
        guard let mapping = mapping.value, let filtering = filtering.value, let chosen else { return nil }
        return NATBehavior(mapping: mapping, filtering: filtering, allocation: chosen)
    }

    /// Whether something translates; `nil` where that is not known.
    public var translates: Bool? {
        guard let localAddress, let mappedAddress, !localAddress.ip.isUnspecified else { return nil }
        return localAddress.ip.withoutScope != mappedAddress.ip || localAddress.port != mappedAddress.port
    }

    /// Gives every fact that is not known for no better reason this one.
    mutating func settle(_ reason: NATUncertainty) {
        func settled<Value>(_ fact: NATFact<Value>) -> NATFact<Value> {
            fact.uncertainty == .notTested ? .unknown(reason) : fact
        }
        kind = settled(kind)
        mapping = settled(mapping)
        filtering = settled(filtering)
        allocation = settled(allocation)
        furtherAllocation = settled(furtherAllocation)
        preservesParity = settled(preservesParity)
        pooling = settled(pooling)
        hairpinning = settled(hairpinning)
        filteredInbound = settled(filteredInbound)
        mappingLifetime = settled(mappingLifetime)
        inboundRefreshes = settled(inboundRefreshes)
        rewritesPayload = settled(rewritesPayload)
    }
}
