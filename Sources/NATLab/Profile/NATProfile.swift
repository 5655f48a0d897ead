// SPDX-License-Identifier: Apache-2.0
public import ICE

/// One NAT or firewall between a host and the public network, in the terms of RFC 4787: what a simulation builds on
/// virtual time, a laboratory in the kernel, and what probing a real network finds out.
public struct NATProfile: Hashable, Sendable {
    /// How it is called in tables; letters, digits and hyphens.
    public var name: String
    /// What kind of box it is.
    public var kind = Kind.nat
    /// Mapping, filtering and allocation of ports.
    public var behavior = NATBehavior(mapping: .endpointIndependent, filtering: .addressAndPortDependent)
    /// External ports are chosen from these.
    public var ports: ClosedRange<UInt16> = 1024...65_535
    /// How far apart sequentially allocated ports lie; at least 1. Of no meaning for other allocations.
    public var portStep = 1
    /// How many contiguous ports one internal address gets, and gets no more than (RFC 6888 REQ-4); `nil` where all share
    /// ``ports``.
    public var portBlock: Int?
    /// Whether an external port is even where the internal one is, and odd where it is odd (RFC 4787 §4.2.2).
    public var preservesParity = false
    /// What happens when the port that is to be preserved is not free (RFC 4787 §4.2.1).
    public var portConflict = PortConflict.nextPort
    /// How many external addresses there are, at least 1.
    public var addressCount = 1
    /// Which external address a new mapping gets (RFC 4787 §4.1); of no meaning with one address.
    public var pooling = Pooling.paired
    /// Whether hosts behind it reach each other at its external addresses (RFC 4787 §6).
    public var hairpinning = Hairpinning.none
    /// When a mapping ends that nothing refreshes (RFC 4787 §4.3 wants two minutes at least).
    public var mappingLifetime = Duration.seconds(120)
    /// How long a destination may answer after the last packet to it; `nil` for as long as the mapping lives.
    public var filterLifetime: Duration?
    /// Whether packets from inside keep a mapping alive (RFC 4787 REQ-6: they must).
    public var outboundRefreshes = true
    /// Whether packets from outside keep a mapping alive, beside those from inside (RFC 4787 §4.3).
    public var inboundRefreshes = false
    /// What a packet from outside does that is not let in.
    public var filteredInbound = FilteredInbound.dropped
    /// How many sessions, pairs of an inner address with port and a destination, it remembers at most; where it filters
    /// nothing, how many mappings. What would make one more is dropped.
    public var maximumSessions = 65_536
    /// The boxes further out, the next one first: a home router behind an operator's NAT has one. Those of the boxes in
    /// it are of no meaning.
    public var outer: [NATProfile] = []

    /// What kind of box it is.
    public enum Kind: String, Hashable, Sendable, CaseIterable {
        /// Nothing: the host has a public address.
        case open
        /// It translates IPv4. IPv6 passes untranslated, filtered in the same way.
        case nat
        /// It translates nothing, lets out all and in only answers (as ``NATProfile/behavior``'s filtering says).
        case firewall
        /// It lets no UDP through; TCP passes outward.
        case udpBlocked = "udp-blocked"
    }

    /// What happens when the port that is to be preserved is not free.
    public enum PortConflict: String, Hashable, Sendable, CaseIterable {
        /// The next free port above it.
        case nextPort = "next"
        /// Any free port, at random: what Linux does.
        case randomPort = "random"
        /// The same port of another external address where there is one, else the next free port.
        case otherAddress = "other-address"
        /// The mapping that has the port ends.
        case overriding = "override"
        /// Both mappings have it ("port overloading", which RFC 4787 REQ-3 forbids); answers find their way by
        /// filtering.
        case overloading = "overload"
    }

    /// Which of several external addresses a mapping gets.
    public enum Pooling: String, Hashable, Sendable, CaseIterable {
        /// All mappings of one internal address the same ("paired").
        case paired
        /// Any ("arbitrary").
        case arbitrary
    }

    /// What becomes of a packet from inside to an external address of the same NAT (RFC 4787 §6).
    public enum Hairpinning: String, Hashable, Sendable, CaseIterable {
        /// It is dropped.
        case none
        /// It arrives, from the sender's external address.
        case externalSource = "external"
        /// It arrives, from the sender's internal address.
        case internalSource = "internal"
    }

    /// What a packet from outside does that is not let in.
    public enum FilteredInbound: String, Hashable, Sendable, CaseIterable {
        /// Nothing.
        case dropped
        /// It takes the port for itself: what leaves from inside to its source later gets another port. That is what
        /// Linux does where masquerading has no filter before it, as the packet gets an entry of its own in the table
        /// of connections.
        case takesPort = "takes-port"
        /// It ends the mapping.
        case endsMapping = "ends-mapping"
        /// It is answered with an ICMP error, which the NAT's own mapping survives.
        case refused
    }

    /// A profile with the values above.
    public init(name: String) {
        self.name = name
    }

    /// A profile of a translating NAT: what most differ in.
    public init(
        _ name: String, mapping: NATBehavior.Dependence, filtering: NATBehavior.Dependence,
        allocation: NATBehavior.Allocation = .preserving
    ) {
        self.name = name
        behavior = NATBehavior(mapping: mapping, filtering: filtering, allocation: allocation)
    }

    /// Whether it changes addresses of IPv4.
    public var translates: Bool { kind == .nat || kind == .udpBlocked }
}
