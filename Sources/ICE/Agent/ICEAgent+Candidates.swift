// SPDX-License-Identifier: Apache-2.0
public import Wire

extension ICEAgent {
    // MARK: Local candidates (RFC 8445 §5.1)

    /// Offers the address of a bound UDP socket as a host candidate. Add the preferred addresses first, see
    /// ``preferenceOrder(of:)``. After ``Event/gatheringComplete`` it is too late.
    public mutating func addLocalAddress(_ address: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        if let reason = localDropReason(address) {
            note(.localCandidateDropped(address, reason))
            return
        }
        sockets.append(address)
        guard configuration.transportPolicy == .all else {
            if gathering.isRunning { requestRelays(from: address) }
            return
        }
        // RFC 8445 §5.1.2.1: 65535 for the only address, and unique within a type. Sixteen are left below each for what
        // servers see of it.
        let preference = UInt16(clamping: 65535 - 16 * bases.count)
        bases.append(Base(address: address, preference: preference, host: locals.count))
        let base = bases.count - 1
        addLocal(
            ICECandidate(
                foundation: foundation(.host, base: address.ip, server: nil),
                priority: ICECandidate.priority(.host, localPreference: preference),
                address: SocketAddress(ip: address.ip.withoutScope, port: address.port), kind: .host),
            base: base)
        if !isConcluded {
            for remote in remotes.indices where !remotes[remote].isLearned { formPair(base: base, remote: remote) }
        }
        addActive(address.ip)
        if gathering.isRunning {
            requestReflexive(base)
            requestRelays(from: address)
        }
    }

    /// Whether ``addLocalAddress(_:now:)`` still has candidates made of an address. Once the peer was told that there
    /// are no more, an address that the host gets needs a restart (RFC 8838 §13, RFC 8445 §9).
    public var takesLocalAddresses: Bool { !hasEnded && !gathering.isComplete }

    /// Begins to look for server-reflexive and relayed candidates, from the addresses added so far and those added
    /// until it ends.
    public mutating func gather(now: Timestamp) {
        clock = max(clock, now)
        guard !gathering.isRunning, !gathering.isComplete else { return }
        gathering.start(
            now: clock, timeout: configuration.gatheringTimeout, grace: configuration.gatheringGrace)
        for base in bases.indices where bases[base].tcp == nil { requestReflexive(base) }
        for socket in sockets { requestRelays(from: socket) }
        requestStreamRelays()
    }

    /// Addresses in the order in which RFC 8421 §4 would have them added: IPv6 and IPv4 in turn, then link-local ones,
    /// then loopback. The order within each is kept.
    public static func preferenceOrder(of addresses: [SocketAddress]) -> [SocketAddress] {
        func rank(_ ip: IPAddress) -> Int { ip.isLoopback ? 2 : ip.isLinkLocal ? 1 : 0 }
        var ordered: [SocketAddress] = []
        for wanted in 0...2 {
            let group = addresses.filter { rank($0.ip) == wanted }
            let six = group.filter { $0.ip.family == .v6 }
            let four = group.filter { $0.ip.family == .v4 }
            for index in 0..<max(six.count, four.count) {
                if index < six.count { ordered.append(six[index]) }
                if index < four.count { ordered.append(four[index]) }
            }
        }
        return ordered
    }

    private func localDropReason(_ address: SocketAddress) -> ICEDecision.DropReason? {
        if hasEnded || gathering.isComplete { return .tooLate }
        if address.ip.isUnspecified { return .unspecified }
        if address.ip.isMulticast { return .multicast }
        if address.port == 0 { return .portZero }
        if Self.isDeprecated(address.ip) { return .deprecated }
        if address.ip.isLoopback, !configuration.allowsLoopback { return .loopback }
        if sockets.contains(address) || baseIndex(of: address) != nil { return .duplicate }
        return locals.count >= configuration.maximumCandidates ? .limit : nil
    }

    /// Kinds of IPv6 addresses that are not used any more: site-local ones, and those that hold an IPv4 address (RFC
    /// 8445 §5.1.1.1).
    private static func isDeprecated(_ ip: IPAddress) -> Bool {
        guard ip.family == .v6 else { return false }
        return ip.high >> 54 == 0xFEC0 >> 6
            || ip.high == 0 && (ip.low >> 32 == 0 && ip.low > 1 || ip.low >> 32 == 0xFFFF)
    }

    private mutating func requestReflexive(_ base: Int) {
        let ip = bases[base].address.ip
        for server in configuration.stunServers
        where server.ip.family == ip.family && server.ip.isLoopback == ip.isLoopback {
            gathering.add(base: base, server: server)
        }
    }

    /// A server told the address it sees of a base.
    mutating func learnReflexive(_ mapped: SocketAddress, base: Int, server: SocketAddress) {
        guard gathering.isRunning, !bases[base].isGone else { return }
        // A host candidate with a name is found on the link alone, which makes the same address seen by a server worth
        // telling.
        if locals.contains(where: {
            $0.base == base && $0.address == mapped && !(configuration.hidesHostAddresses && $0.candidate.kind == .host)
        }) {
            note(.localCandidateDropped(mapped, .redundant))
            return
        }
        guard locals.count < configuration.maximumCandidates else {
            note(.localCandidateDropped(mapped, .limit))
            return
        }
        let siblings = locals.count { $0.base == base && $0.candidate.kind == .serverReflexive }
        let preference = bases[base].preference &- UInt16(clamping: min(siblings, 15))
        addLocal(
            ICECandidate(
                foundation: foundation(.serverReflexive, base: bases[base].address.ip, server: server.ip),
                priority: ICECandidate.priority(.serverReflexive, localPreference: preference), address: mapped,
                kind: .serverReflexive,
                relatedAddress: SocketAddress(
                    ip: bases[base].address.ip.withoutScope, port: bases[base].address.port)),
            base: base)
        for remote in remotes.indices { notePruned(base: base, remote: remote) }
    }

    mutating func addLocal(_ candidate: ICECandidate, base: Int) {
        guard let address = candidate.address else { return }
        let candidate = configuration.hidesHostAddresses ? concealed(candidate, address.ip) : candidate
        locals.append(LocalCandidate(candidate: candidate, address: address, base: base))
        note(.localCandidateFound(candidate))
        outbox.append(.event(.localCandidate(candidate)))
    }

    /// The peer saw an address of ours that we did not know (RFC 8445 §7.2.5.3.1). Not told to the peer, who knows it.
    mutating func learnLocal(_ mapped: SocketAddress, base: Int, priority: UInt32) -> Int {
        if let known = locals.firstIndex(where: { $0.base == base && $0.address == mapped }) { return known }
        guard locals.count < configuration.maximumCandidates + configuration.maximumLearnedCandidates else {
            counters.overLimit += 1
            return bases[base].host
        }
        let tcp = bases[base].tcp
        let candidate = ICECandidate(
            foundation: foundation(
                .peerReflexive, base: bases[base].address.ip, server: nil, transport: tcp == nil ? .udp : .tcp),
            transport: transport(of: base), priority: priority, address: mapped, kind: .peerReflexive,
            relatedAddress: SocketAddress(ip: bases[base].address.ip.withoutScope, port: bases[base].address.port),
            extensions: tcp.map(ICECandidate.tcpType) ?? [])
        locals.append(LocalCandidate(candidate: candidate, address: mapped, base: base))
        note(.localCandidateFound(candidate))
        return locals.count - 1
    }

    /// Equal for equal kind, base address, server and transport to it, and for nothing else (RFC 8445 §5.1.1.3).
    /// Classes are numbered as they come.
    mutating func foundation(
        _ kind: ICECandidate.Kind, base: IPAddress, server: IPAddress?, transport: TURNServer.Transport = .udp
    ) -> String {
        let class_ = FoundationClass(kind: kind, base: base, server: server, transport: transport)
        if let index = foundations.firstIndex(of: class_) { return String(index + 1) }
        foundations.append(class_)
        return String(foundations.count)
    }

    // MARK: Remote candidates

    /// Tells the peer's credentials; checks start with that. `pacing` is what the peer announced (`a=ice-pacing`),
    /// `nil` if it announced nothing. With a lite peer this agent is controlling (RFC 8445 §6.1.1).
    public mutating func setRemote(
        credentials: ICECredentials, lite: Bool = false, pacing announced: Duration? = nil, now: Timestamp
    ) throws(ICEError) {
        clock = max(clock, now)
        guard !hasEnded else { throw .ended }
        guard remoteCredentials == nil else {
            guard remoteCredentials == credentials else { throw .remoteCredentialsAlreadySet }
            return
        }
        remoteCredentials = credentials
        if lite { switchRole(to: .controlling, because: .litePeer) }
        // RFC 8445 §14.2: the higher of both proposals; who proposes none proposes 50 ms. Beyond seconds a proposal is
        // a mistake.
        pacing = max(pacing, min(announced ?? .milliseconds(50), .seconds(5)))
        nextCheck = clock
        pacDeadline = clock + configuration.pacTimeout
        setState(.checking)
        holdChecks()
        let early = earlyChecks
        earlyChecks.removeAll()
        for check in early where check.ufrag == credentials.ufrag {
            peerChecked(
                base: check.base, from: check.source, priority: check.priority, useCandidate: check.useCandidate)
        }
    }

    /// Adds a candidate that signalling brought, at any time until ``endOfRemoteCandidates(now:)``.
    public mutating func addRemoteCandidate(_ candidate: ICECandidate, now: Timestamp) {
        clock = max(clock, now)
        if let reason = remoteDropReason(candidate) {
            note(.remoteCandidateDropped(candidate, reason))
            return
        }
        guard let signalled = candidate.address else { return }
        let address = SocketAddress(ip: signalled.ip.withoutScope, port: signalled.port)
        let remote: Int
        if let known = remoteIndex(of: address, over: candidate.transport) {
            // RFC 8838 §11: what a check showed is now named by its owner, priority and all.
            remotes[known].candidate = candidate
            remotes[known].isLearned = false
            remote = known
            note(.remoteCandidateReplaced(candidate))
            reprioritise()
        } else {
            remotes.append(RemoteCandidate(candidate: candidate, address: address, isLearned: false))
            remote = remotes.count - 1
            note(.remoteCandidateFound(candidate, .signalled))
        }
        guard !isConcluded || isLookingFurther else { return }
        for base in bases.indices { formPair(base: base, remote: remote) }
        predict(after: candidate, at: address)
        for local in locals where local.candidate.kind == .serverReflexive {
            notePruned(base: local.base, remote: remote)
        }
        evaluateSelection()
    }

    /// Tells that signalling will bring no more candidates. Without it an agent does not fail for want of pairs
    /// (RFC 8838 §8).
    public mutating func endOfRemoteCandidates(now: Timestamp) {
        clock = max(clock, now)
        remoteEnded = true
        evaluateNomination()
    }

    private func remoteDropReason(_ candidate: ICECandidate) -> ICEDecision.DropReason? {
        if hasEnded { return .tooLate }
        if remoteEnded { return .afterEndOfCandidates }
        if candidate.transport == .tcp, configuration.tcpCandidates == .none || candidate.tcpType == nil { return .tcp }
        if candidate.component != 1 { return .otherComponent }
        guard let address = candidate.address else { return .unresolvedName }
        if address.ip.isUnspecified { return .unspecified }
        if address.ip.isMulticast { return .multicast }
        if address.port == 0 { return .portZero }
        if address.ip.isLoopback, !configuration.allowsLoopback { return .loopback }
        // RFC 8838 §9: the line may say whose it is.
        if let ufrag = candidate.value(ofExtension: "ufrag"), let remoteCredentials, ufrag != remoteCredentials.ufrag {
            return .otherUfrag
        }
        if let known = remoteIndex(of: address, over: candidate.transport) {
            return remotes[known].isLearned ? nil : .duplicate
        }
        return remotes.count >= configuration.maximumCandidates ? .limit : nil
    }

    /// A check came from an address that signalling did not name (RFC 8445 §7.3.1.3). `nil` if too many did.
    mutating func learnRemote(_ source: SocketAddress, base: Int, priority: UInt32) -> Int? {
        let transport = transport(of: base)
        if let known = remoteIndex(of: source, over: transport) { return known }
        var place = remotes.count
        if remotes.count(where: \.isLearned) >= configuration.maximumLearnedCandidates {
            guard let useless = remotes.indices.first(where: { isUseless($0) }) else {
                counters.overLimit += 1
                return nil
            }
            place = useless
            for pair in checklist.remove(remote: useless) { transactions.removeAll { $0.purpose.pair == pair.id } }
        }
        // Any foundation that no other has: a number with a letter that signalling would have to guess.
        learnedCount += 1
        let candidate = ICECandidate(
            foundation: "prflx\(learnedCount)", transport: transport, priority: priority, address: source,
            kind: .peerReflexive,
            // RFC 6544 §7.2: it has connected to us.
            extensions: transport == .tcp ? ICECandidate.tcpType(.active) : [])
        let learned = RemoteCandidate(candidate: candidate, address: source, isLearned: true)
        if place < remotes.count { remotes[place] = learned } else { remotes.append(learned) }
        note(.remoteCandidateFound(candidate, .check))
        return place
    }

    /// Whether a learned candidate may give its place to another: all that came of it are pairs that failed. Two NATs
    /// with a mapping for each destination whose filters let everybody in give each check, and each answer, another
    /// source.
    private func isUseless(_ remote: Int) -> Bool {
        guard remotes[remote].isLearned else { return false }
        let pairs = checklist.pairs.filter { $0.remote == remote }
        return !pairs.isEmpty && pairs.allSatisfy { $0.state == .failed && !$0.isValid }
    }

    // MARK: Pairs (RFC 8445 §6.1.2)

    /// Whether packets from one can reach the other at all. Loopback goes with loopback alone: else a peer could aim
    /// checks at services of this host.
    func canPair(_ local: IPAddress, _ remote: IPAddress) -> Bool {
        guard local.family == remote.family, local.isLoopback == remote.isLoopback else { return false }
        // RFC 8445 §6.1.2.2.
        return local.family == .v4 || local.isLinkLocal == remote.isLinkLocal
    }

    /// Tells why a reflexive candidate makes no pair: it would be checked from its base, and there the host candidate
    /// stands already (RFC 8445 §6.1.2.4).
    private mutating func notePruned(base: Int, remote: Int) {
        guard configuration.reportsDecisions, canPair(bases[base].address.ip, remotes[remote].address.ip) else {
            return
        }
        note(.pairPruned(base: bases[base].address, remote: remotes[remote].address, .redundant))
    }

    /// Whether a pair was nominated: after that only the peer brings up another (RFC 8445 §8.1.2).
    var isConcluded: Bool { if case .done = nomination { true } else { false } }

    /// Puts a pair on the checklist; answers its number if it is there.
    @discardableResult
    mutating func formPair(base: Int, remote: Int) -> Int? {
        if let known = checklist.index(base: base, remote: remote) { return checklist.pairs[known].id }
        guard canPair(bases[base].address.ip, remotes[remote].address.ip) else { return nil }
        guard !bases[base].isGone, suits(base, remote) else { return nil }
        let host = locals[bases[base].host].candidate
        let other = remotes[remote].candidate
        let insertion = checklist.insert(
            base: base, remote: remote, foundation: "\(host.foundation):\(other.foundation)",
            priority: Self.pairPriority(role, local: host.priority, remote: other.priority),
            limit: configuration.maximumPairs)
        switch insertion {
        case .added(let pair, let removed):
            if let removed {
                transactions.removeAll { $0.purpose.pair == removed.id }
                note(.pairPruned(base: bases[removed.base].address, remote: remotes[removed.remote].address, .limit))
            }
            note(.pairFormed(name(pair), pair.state, priority: pair.priority))
            if let relay = bases[base].relay {
                // RFC 8445 §7.2.1, and sooner: the peer's checks need it as well.
                relays[relay].client.permit(remotes[remote].address, now: clock)
                pumpRelay(relay)
            }
            open(pair)
            return pair.id
        case .redundant:
            note(.pairPruned(base: bases[base].address, remote: remotes[remote].address, .redundant))
        case .full:
            counters.overLimit += 1
            note(.pairPruned(base: bases[base].address, remote: remotes[remote].address, .limit))
        }
        return nil
    }

    private static func pairPriority(_ role: Role, local: UInt32, remote: UInt32) -> UInt64 {
        role == .controlling
            ? ICECandidatePair.priority(controlling: local, controlled: remote)
            : ICECandidatePair.priority(controlling: remote, controlled: local)
    }

    /// Computes the priorities of all pairs anew.
    mutating func reprioritise() {
        let (locals, remotes, bases, role) = (locals, remotes, bases, role)
        checklist.reprioritise { pair in
            let local = locals[pair.validLocal ?? bases[pair.base].host].candidate
            let remote = remotes[pair.remote].candidate
            let foundation = "\(locals[bases[pair.base].host].candidate.foundation):\(remote.foundation)"
            return (Self.pairPriority(role, local: local.priority, remote: remote.priority), foundation)
        }
    }
}

/// What makes two candidates have the same foundation.
struct FoundationClass: Hashable, Sendable {
    let kind: ICECandidate.Kind
    let base: IPAddress
    let server: IPAddress?
    /// What carries packets to a relay.
    let transport: TURNServer.Transport
}
