// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

//   inside ──▶ outbound ──▶ mapping found or made ──▶ destination noted for the filter ──▶ forwarded
//                 │                                └─ destination is an own address ──▶ inbound ──▶ hairpinned
//   outside ──▶ inbound ──▶ mapping of the external port? ──▶ filter knows the source? ──▶ forwarded
//                                   └── no: unmapped                 └── no: filtered, and what that does

/// A NAT or a firewall as a value: packets go in with the time, and what becomes of them comes out.
///
/// It has no I/O, clock or randomness of its own: the same profile, seed and calls give the same answers. Times must
/// not go back from call to call. It looks at addresses alone, so that is all it is given. The filter is that of a
/// mapping, not of the host behind it (RFC 4787 §5: "the NAT assigns a filtering rule for the mapping").
///
///     var nat = VirtualNAT(.portRestricted, externalAddresses: [address], entropy: Entropy(seed: 1))
///     switch nat.outbound(from: host, to: peer, now: now) {
///     case .forwarded(let source, let destination): …      // source is the mapping
///     case .dropped(let reason): print(reason)
///     …
///     }
public struct VirtualNAT: Sendable {
    /// What becomes of a packet.
    public enum Verdict: Hashable, Sendable {
        /// It goes on to the other side, with these addresses.
        case forwarded(source: SocketAddress, destination: SocketAddress)
        /// It goes back to the side it came from, the inside, with these addresses.
        case hairpinned(source: SocketAddress, destination: SocketAddress)
        /// It ends here.
        case dropped(PacketDrop)
        /// It ends here, and its sender is told by an ICMP error.
        case refused(PacketDrop)
    }

    /// A mapping as one may ask for it.
    public struct Mapping: Hashable, Sendable {
        /// The host's address and port.
        public let inside: SocketAddress
        /// What the outside sees of it.
        public let external: SocketAddress
        /// Where it has sent to most recently.
        public let latestDestination: SocketAddress
        /// When it ends if nothing refreshes it.
        public let expiry: Timestamp
    }

    /// A host behind the NAT that has mappings.
    struct InsideHost: Sendable {
        /// Which external address its mappings have, where they are paired.
        let addressIndex: Int
        /// Its block of ports, counted from the first.
        let block: Int?
        var mappingCount = 0
    }

    /// The external port and the stranger of a packet that the NAT took for itself.
    struct Claim: Hashable, Sendable {
        let external: SocketAddress
        let stranger: SocketAddress
    }

    /// How long a claim lasts after its last packet: nf_conntrack_udp_timeout's default, for a session without an
    /// answer.
    static let claimLifetime = Duration.seconds(30)
    /// How many claims are remembered; a stranger must not make a NAT grow.
    static let claimLimit = 65_536

    /// How it behaves.
    public let profile: NATProfile
    /// Its addresses outside.
    public private(set) var externalAddresses: [IPAddress]
    /// How many mappings it has made since it began.
    public private(set) var mappingsMade = 0
    var table = MappingTable()
    var entropy: Entropy
    var hosts: [IPAddress: InsideHost] = [:]
    var ports: [ExternalPorts]
    private var sessionCount = 0
    private var claims: [Claim: Timestamp] = [:]
    /// The claims; those before the head are done with, one that still lives when its turn comes goes to the end.
    private var claimOrder: [Claim] = []
    private var claimHead = 0

    /// A NAT that nothing has passed yet.
    ///
    /// `externalAddresses` are as many as the profile says; none are needed by a box that does not translate.
    public init(_ profile: NATProfile, externalAddresses: [IPAddress], entropy: Entropy) {
        precondition(!profile.translates || !externalAddresses.isEmpty, "a NAT has an external address")
        self.profile = profile
        self.externalAddresses = externalAddresses
        self.entropy = entropy
        ports = []
        ports = makePorts()
    }

    /// How many mappings are alive.
    public func mappingCount(now: Timestamp) -> Int { table.all.count { $0.expiry > now } }

    /// The mappings that are alive, the one that ends first in front.
    public func mappings(now: Timestamp) -> [Mapping] {
        table.all.filter { $0.expiry > now }.map {
            Mapping(
                inside: $0.key.inside, external: $0.external, latestDestination: $0.latestDestination,
                expiry: $0.expiry)
        }
    }

    /// The external address that a packet from `inside` to `remote` would have if it left now and a mapping of it is alive;
    /// `nil` where it would need a new mapping.
    public func mapping(of inside: SocketAddress, toward remote: SocketAddress, now: Timestamp) -> SocketAddress? {
        for key in [MappingTable.Key(inside: inside, remote: remote), key(inside, remote)] {
            if let index = table.find(key), table[index].expiry > now { return table[index].external }
        }
        return nil
    }

    /// Forgets everything, as a reboot does; with `addresses` it also gets new ones outside.
    public mutating func rebind(to addresses: [IPAddress]? = nil) {
        if let addresses {
            precondition(!addresses.isEmpty || !profile.translates, "a NAT has an external address")
            externalAddresses = addresses
        }
        table = MappingTable()
        hosts = [:]
        sessionCount = 0
        claims = [:]
        claimOrder = []
        claimHead = 0
        ports = makePorts()
    }

    // MARK: - From inside

    /// Takes a packet that a host inside sent.
    public mutating func outbound(
        from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) -> Verdict {
        switch profile.kind {
        case .open: return .forwarded(source: source, destination: destination)
        case .udpBlocked: return .dropped(.udpBlocked)
        case .nat, .firewall: break
        }
        endDue(now)
        let isHairpin = isTranslated(destination.ip) && externalAddresses.contains(destination.ip)
        if isHairpin, profile.hairpinning == .none { return .dropped(.notHairpinned(external: destination)) }
        let external: SocketAddress
        do { external = try open(from: source, to: destination, now) } catch { return .dropped(error) }
        guard isHairpin else { return .forwarded(source: external, destination: destination) }
        // RFC 4787 §6: to the receiver's filter it comes from outside, whatever source it shows.
        let answer = inbound(from: external, to: destination, now: now)
        guard case .forwarded(_, let inside) = answer else { return answer }
        return .hairpinned(source: profile.hairpinning == .internalSource ? source : external, destination: inside)
    }

    /// Finds or makes the mapping of a packet and lets its destination answer. Answers the external address.
    private mutating func open(
        from source: SocketAddress, to destination: SocketAddress, _ now: Timestamp
    ) throws(PacketDrop) -> SocketAddress {
        let index = try mapping(from: source, to: destination, now)
        table[index].latestDestination = destination
        if profile.outboundRefreshes { table.refresh(index, expiry: now + profile.mappingLifetime) }
        let rule = profile.behavior.filtering
        if rule != .endpointIndependent {
            let known = VirtualNAT.part(of: destination, rule)
            if table[index].destinations[known] == nil {
                guard sessionCount < profile.maximumSessions else {
                    throw .tooManySessions(limit: profile.maximumSessions)
                }
                sessionCount += 1
            }
            table[index].destinations[known] = profile.filterLifetime.map { now + $0 } ?? .distantFuture
        }
        return table[index].external
    }

    private mutating func mapping(
        from source: SocketAddress, to destination: SocketAddress, _ now: Timestamp
    ) throws(PacketDrop) -> Int {
        let shared = key(source, destination)
        guard profile.filteredInbound == .takesPort, isTranslated(source.ip) else {
            if let index = table.find(shared) { return index }
            return try makeMapping(shared, to: destination, now)
        }
        // A destination that has claimed the port gets a mapping of its own, and keeps it while it lives.
        let own = MappingTable.Key(inside: source, remote: destination)
        if let index = table.find(own) { return index }
        let index: Int
        if let found = table.find(shared) {
            index = found
        } else {
            index = try makeMapping(shared, to: destination, now)
        }
        guard isClaimed(table[index].external, by: destination, now) else { return index }
        return try makeMapping(own, to: destination, now)
    }

    private mutating func makeMapping(
        _ key: MappingTable.Key, to destination: SocketAddress, _ now: Timestamp
    ) throws(PacketDrop) -> Int {
        // Where nothing is filtered each mapping counts as a session.
        let isCounted = profile.behavior.filtering == .endpointIndependent
        guard sessionCount < profile.maximumSessions else { throw .tooManySessions(limit: profile.maximumSessions) }
        let external =
            try isTranslated(key.inside.ip) ? allocate(for: key.inside, toward: destination, now) : key.inside
        if isCounted { sessionCount += 1 }
        mappingsMade += 1
        return table.insert(key, external: external, toward: destination, expiry: now + profile.mappingLifetime)
    }

    // MARK: - From outside

    /// Takes a packet that came from outside to an external address, or to a host behind a box that does not translate.
    public mutating func inbound(
        from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) -> Verdict {
        switch profile.kind {
        case .open: return .forwarded(source: source, destination: destination)
        case .udpBlocked: return .dropped(.udpBlocked)
        case .nat, .firewall: break
        }
        endDue(now)
        guard let newest = table.newest(at: destination) else {
            return turnAway(.unmapped(external: destination, source: source), source, destination, now)
        }
        // Only overloaded ports have more than one.
        var index = newest
        while index != MappingTable.none {
            if admits(index, source, now) {
                let inside = table[index].key.inside
                if profile.inboundRefreshes { refresh(index, from: source, now) }
                return .forwarded(source: source, destination: inside)
            }
            index = table[index].older
        }
        let mapping = table[newest]
        let drop = PacketDrop.filtered(
            PacketDrop.Filter(
                rule: profile.behavior.filtering, mapping: destination, source: source,
                latest: mapping.latestDestination,
                destinationCount: mapping.destinations.count, effect: profile.filteredInbound))
        if profile.filteredInbound == .endsMapping { end(newest) }
        return turnAway(drop, source, destination, now)
    }

    private func admits(_ index: Int, _ source: SocketAddress, _ now: Timestamp) -> Bool {
        let rule = profile.behavior.filtering
        guard rule != .endpointIndependent else { return true }
        guard let expiry = table[index].destinations[VirtualNAT.part(of: source, rule)] else { return false }
        return expiry > now
    }

    private mutating func refresh(_ index: Int, from source: SocketAddress, _ now: Timestamp) {
        table.refresh(index, expiry: now + profile.mappingLifetime)
        guard let filterLifetime = profile.filterLifetime else { return }
        let rule = profile.behavior.filtering
        guard rule != .endpointIndependent else { return }
        table[index].destinations[VirtualNAT.part(of: source, rule)] = now + filterLifetime
    }

    private mutating func turnAway(
        _ drop: PacketDrop, _ source: SocketAddress, _ destination: SocketAddress, _ now: Timestamp
    ) -> Verdict {
        switch profile.filteredInbound {
        case .dropped, .endsMapping: return .dropped(drop)
        case .refused: return .refused(drop)
        case .takesPort:
            if isTranslated(destination.ip) { claim(destination, by: source, now) }
            return .dropped(drop)
        }
    }

    // MARK: - ICMP errors

    /// The host inside that an ICMP error is for, which came from outside about a packet that left as `external`; `nil`
    /// where no mapping is left. Errors pass no filter and refresh nothing (RFC 5508 §4.2).
    public func insideForError(about external: SocketAddress, now: Timestamp) -> SocketAddress? {
        guard profile.kind == .nat || profile.kind == .firewall else { return profile.kind == .open ? external : nil }
        guard let index = table.newest(at: external), table[index].expiry > now else { return nil }
        return table[index].key.inside
    }

    // MARK: - Claims of strangers

    private func isClaimed(_ external: SocketAddress, by stranger: SocketAddress, _ now: Timestamp) -> Bool {
        guard let expiry = claims[Claim(external: external, stranger: stranger)] else { return false }
        return expiry > now
    }

    private mutating func claim(_ external: SocketAddress, by stranger: SocketAddress, _ now: Timestamp) {
        let claim = Claim(external: external, stranger: stranger)
        if claims[claim] == nil {
            dropDueClaims(now)
            guard claims.count < VirtualNAT.claimLimit else { return }
            claimOrder.append(claim)
        }
        claims[claim] = now + VirtualNAT.claimLifetime
    }

    /// Looks at the claims that were longest not looked at. Each new claim looks at several, so those that are due
    /// never pile up.
    private mutating func dropDueClaims(_ now: Timestamp) {
        for _ in 0..<min(4, claimOrder.count - claimHead) {
            let claim = claimOrder[claimHead]
            claimHead += 1
            if let expiry = claims[claim], expiry > now { claimOrder.append(claim) } else { claims[claim] = nil }
        }
        guard claimHead > 1024, claimHead > claimOrder.count / 2 else { return }
        claimOrder.removeFirst(claimHead)
        claimHead = 0
    }

    // MARK: - Ends

    private mutating func endDue(_ now: Timestamp) {
        while let index = table.due(now) { end(index) }
    }

    mutating func end(_ index: Int) {
        let mapping = table[index]
        sessionCount -= profile.behavior.filtering == .endpointIndependent ? 1 : mapping.destinations.count
        table.remove(index)
        if isTranslated(mapping.key.inside.ip) { release(mapping) }
    }

    // MARK: - Parts of addresses

    /// Whether addresses of this family are changed.
    func isTranslated(_ address: IPAddress) -> Bool { profile.translates && address.family == .v4 }

    /// Whether a new mapping may have an external address: no other has it, nor has the destination claimed it.
    func isFree(_ external: SocketAddress, toward destination: SocketAddress, _ now: Timestamp) -> Bool {
        !table.uses(external) && (claims.isEmpty || !isClaimed(external, by: destination, now))
    }

    private func key(_ inside: SocketAddress, _ destination: SocketAddress) -> MappingTable.Key {
        // What is not translated is the same toward all.
        let rule = isTranslated(inside.ip) ? profile.behavior.mapping : .endpointIndependent
        return MappingTable.Key(inside: inside, remote: VirtualNAT.part(of: destination, rule))
    }

    private static func part(of address: SocketAddress, _ rule: NATBehavior.Dependence) -> SocketAddress {
        switch rule {
        case .endpointIndependent: .unspecified
        case .addressDependent: SocketAddress(ip: address.ip, port: 0)
        case .addressAndPortDependent: address
        }
    }
}
