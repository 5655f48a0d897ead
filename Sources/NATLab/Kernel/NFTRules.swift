// SPDX-License-Identifier: Apache-2.0
import ICE
public import Wire

/// What `nft` loads into the namespace of a NAT or firewall to make it behave as a profile says.
///
/// Connection tracking does the translating. What a mapping is used again for and what is let in does not follow from
/// it, but from sets and maps of ours, which packets from inside fill as they leave: an inbound packet is looked up in
/// them before connection tracking sees it, so that one which is not let in leaves no trace there. (A plain
/// `masquerade` gives such a packet an entry of its own, and what leaves later another port: that is
/// ``NATProfile/FilteredInbound/takesPort``.)
///
///                    inbound                                outbound
///     wan ──▶ admit ──▶ inward ──▶ across ──▶ lan ──▶ across ──▶ outward ──▶ learn ──▶ wan
///            in @open?  @owners    no other            @assigned, or     fills @open,
///                                  connections         a new port        @assigned, @owners
public struct NFTRules: Hashable, Sendable {
    /// A profile that the kernel cannot be made to follow.
    public struct Unsupported: Error, Hashable, Sendable, CustomStringConvertible {
        /// The profile's name.
        public let profile: String
        /// What cannot be expressed, and why.
        public let reason: String

        /// For example `symmetric-deaf: …`.
        public var description: String { "\(profile): \(reason)" }
    }

    /// The interface toward the public network.
    static let outerInterface = "wan"
    /// The interface toward the hosts behind.
    static let innerInterface = "lan"
    /// The table that holds everything.
    static let table = "ip lab"
    /// How many entries a set may have, each of some hundred bytes.
    static let capacity = 65_535
    /// How many ports a sequence has before it begins again: `nft` counts in the processor's byte order, and a table
    /// turns that into ports. Two such tables are loaded in milliseconds, and in one message also by those who are root
    /// in a user namespace only, whose messages net.core.wmem_max bounds.
    static let sequenceLength = 2048

    /// What the rules are made for.
    public let profile: NATProfile
    /// The external addresses; for a firewall, which translates nothing, its own.
    public let addresses: [IPAddress]
    /// The addresses on the segment behind it.
    public let inside: [IPAddress]
    /// The rules, as `nft -f` reads them.
    public let text: String

    /// Makes the rules for a NAT with these external IPv4 addresses, as many as the profile wants, and these inside,
    /// each of which gets its share where shares are fixed. Its interfaces are called `wan` and `lan`.
    public init(_ profile: NATProfile, addresses: [IPAddress], inside: [IPAddress] = []) throws(Unsupported) {
        if let reason = NFTRules.obstacle(to: profile) {
            throw Unsupported(profile: profile.name, reason: reason)
        }
        let count = NFTRules.addressCount(of: profile)
        guard addresses.count == count, (addresses + inside).allSatisfy({ $0.family == .v4 }) else {
            throw Unsupported(
                profile: profile.name, reason: "it wants \(count) IPv4 addresses and was given \(addresses.count)")
        }
        self.profile = profile
        self.addresses = addresses
        self.inside = inside
        text = NFTRules.text(profile, addresses, inside)
    }

    /// How many external addresses a box of a profile has.
    static func addressCount(of profile: NATProfile) -> Int { profile.kind == .nat ? max(1, profile.addressCount) : 1 }

    /// Why the kernel cannot follow a profile, or one of the boxes further out; `nil` where it can.
    public static func obstacle(to profile: NATProfile) -> String? {
        for outer in profile.outer {
            if let reason = obstacle(to: outer) { return "\(outer.name): \(reason)" }
        }
        guard profile.kind == .nat || profile.kind == .firewall else { return nil }
        if profile.filteredInbound == .endsMapping {
            return "no rule ends a connection's entry, so a filtered packet cannot end a mapping"
        }
        if !profile.outboundRefreshes { return "connection tracking is refreshed by every packet, outbound ones first" }
        if profile.maximumSessions < capacity { return "what is beyond a number of sessions is not dropped" }
        guard profile.kind == .nat else { return nil }
        return allocationObstacle(to: profile) ?? filterObstacle(to: profile)
    }

    private static func allocationObstacle(to profile: NATProfile) -> String? {
        guard profile.behavior.allocation == .preserving else { return nil }
        switch profile.portConflict {
        case .overriding: return "no rule ends a connection's entry, so a mapping cannot take another's port"
        case .nextPort where profile.behavior.mapping != .endpointIndependent && profile.portBlock != nil:
            return "the next port after one that is taken is known for ports of no block"
        case .nextPort, .randomPort, .otherAddress, .overloading: return nil
        }
    }

    private static func filterObstacle(to profile: NATProfile) -> String? {
        let behavior = profile.behavior
        if profile.filteredInbound == .takesPort {
            if behavior.filtering != .addressAndPortDependent {
                return "only connection tracking lets a filtered packet take a port, and it filters by address and port"
            }
            switch (behavior.mapping, behavior.allocation) {
            case (.endpointIndependent, .preserving), (.addressAndPortDependent, .random): break
            default:
                return
                    "where a filtered packet takes a port, only connection tracking assigns them: endpoint-independent "
                    + "and preserving, or address-and-port-dependent and random"
            }
            if profile.hairpinning != .none { return "where a filtered packet takes a port, nothing hairpins" }
        }
        if profile.hairpinning == .internalSource, behavior.filtering != .endpointIndependent {
            return "a packet that keeps its internal source has no external one that a filter could know"
        }
        return nil
    }

    /// Where the kernel follows a profile only nearly, in words; empty where it does exactly.
    public static func approximations(of profile: NATProfile) -> [String] {
        var result = profile.outer.flatMap { outer in approximations(of: outer).map { "\(outer.name): \($0)" } }
        guard profile.kind == .nat, obstacle(to: profile) == nil else { return result }
        let behavior = profile.behavior
        if behavior.allocation == .sequential {
            let length = min(profile.ports.count, sequenceLength)
            result.append("the sequence begins again after \(length) ports, whether or not the first are free again")
        }
        if behavior.allocation == .preserving, profile.portConflict != .randomPort, profile.portConflict != .overloading
        {
            result.append(
                stepsUp(profile)
                    ? "beyond the \(ladderSteps)th mapping of a port, or from ports outside of \(ladderPorts), a port is "
                        + "chosen at random" : "a port that is taken already gives way to one chosen at random")
        }
        if profile.preservesParity, behavior.allocation != .sequential {
            result.append(
                "hosts that have the same port share an external one, and where they talk to the same end, one is mute")
        }
        if profile.mappingLifetime.nanoseconds % 1_000_000_000 != 0 || profile.mappingLifetime < .seconds(1) {
            result.append(
                "connection tracking keeps translations for whole seconds: a mapping may live up to one longer")
        }
        if !profile.inboundRefreshes || profile.filteredInbound == .takesPort {
            result.append(
                "what is let in keeps the kernel's own entry, and so the port, alive beyond the mapping's end")
        }
        if profile.filterLifetime == nil, behavior.filtering != .endpointIndependent,
            behavior.mapping != .addressAndPortDependent
        {
            result.append("a destination may answer for the mapping's life after the last packet to it, not to any")
        }
        if behavior.mapping == .addressAndPortDependent, behavior.filtering != .addressAndPortDependent {
            result.append("an answer to a stranger who was let in leaves by the port that the stranger sent to")
        }
        return result
    }

    /// Where a port is taken, and mappings of one host compete for it, the next ones are found by tables of ports that
    /// lie so much further, for hosts' usual ports: `nft` does not add.
    static let ladderSteps = 8
    /// What hosts of a laboratory use for ports that they do not choose themselves.
    static let ladderPorts: ClosedRange<UInt16> = 40_000...40_499

    /// Whether a taken port gives way to the next one, and that happens all the time.
    static func stepsUp(_ profile: NATProfile) -> Bool {
        profile.kind == .nat && profile.behavior.allocation == .preserving && profile.portConflict == .nextPort
            && profile.behavior.mapping != .endpointIndependent && profile.filteredInbound != .takesPort
    }

    /// How long connection tracking keeps a UDP mapping: whole seconds, one at least.
    var trackingSeconds: Int { max(1, Int(profile.mappingLifetime.seconds.rounded(.up))) }
}

// MARK: - Keys

extension NFTRules {
    /// What names a mapping or a permission: how much of the other end is part of it.
    struct Keys {
        let mapping: NATBehavior.Dependence
        let filtering: NATBehavior.Dependence

        private static func joined(_ parts: [String], _ dependence: NATBehavior.Dependence, _ rest: [String]) -> String
        {
            let count =
                switch dependence {
                case .endpointIndependent: 0
                case .addressDependent: 1
                case .addressAndPortDependent: 2
                }
            return (parts + rest.prefix(count)).joined(separator: " . ")
        }

        private static let endpoint = ["ipv4_addr", "inet_service"]

        /// The type of the set of permissions.
        var openType: String { Keys.joined(Keys.endpoint, filtering, Keys.endpoint) }

        /// A permission, from its own external end and the other end, each an address and a port.
        func open(own: [String], remote: [String]) -> String { Keys.joined(own, filtering, remote) }

        /// The type of the map of mappings' external ends.
        var assignedType: String { Keys.joined(Keys.endpoint, mapping, Keys.endpoint) }

        /// What a mapping's external end is found by.
        func assigned(inner: [String], remote: [String]) -> String { Keys.joined(inner, mapping, remote) }
    }

    /// An address and a port in `nft`'s words.
    enum End {
        static let source = ["ip saddr", "udp sport"]
        static let destination = ["ip daddr", "udp dport"]

        /// An end as connection tracking knows it, before any translation of packets in that direction.
        static func tracked(_ direction: String, _ side: String) -> [String] {
            let protocolSide = side == "saddr" ? "proto-src" : "proto-dst"
            return ["ct \(direction) ip \(side)", "ct \(direction) \(protocolSide)"]
        }
    }
}

extension [String] {
    /// An end as one key.
    var key: String { joined(separator: " . ") }
}
