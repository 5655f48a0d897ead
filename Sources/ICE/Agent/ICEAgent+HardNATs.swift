// SPDX-License-Identifier: Apache-2.0
internal import Wire

// What helps where NATs are hard, each behind a switch of the configuration and told as a decision:
//
//     the peer's mapping depends on the destination, its ports follow each other, and our filter looks at ports:
//         the ports after the one that a server saw are checked as well; our checks open our filter for those of the peer
//     our mapping depends on the destination, so that the peer's checks cannot reach us, and its filter is closed until it has
//     our description: our checks are repeated sooner
//     the peer's NAT takes a stranger's packet for the owner of a port:
//         the answerer opens its own NAT with packets that end on the way, and has the offerer check first
extension ICEAgent {
    /// Tells what the peer's NAT does, where that is known. Before the peer's credentials and candidates.
    public mutating func setRemoteNAT(_ behavior: NATBehavior) {
        remoteNAT = behavior
    }

    // MARK: - Port prediction

    /// Whether the ports that the peer's NAT will choose for us can be told, and need to be: our filter lets in what
    /// comes from a port only after a packet to it.
    private var canPredict: Bool {
        guard configuration.predictedPorts > 0, let remoteNAT, remoteNAT.mapping != .endpointIndependent,
            remoteNAT.allocation != .random
        else { return false }
        guard let own = configuration.localNAT else { return true }
        // Two mappings that depend on the destination would each have to guess the other's guess.
        return own.mapping == .endpointIndependent && own.filtering == .addressAndPortDependent
    }

    /// Adds the addresses that the peer's NAT is likely to give to its checks of ours, after a reflexive candidate.
    mutating func predict(after candidate: ICECandidate, at address: SocketAddress) {
        guard candidate.kind == .serverReflexive, candidate.transport == .udp, canPredict, let remoteNAT else { return }
        var ports: [UInt16] = []
        if remoteNAT.allocation == .preserving, let inner = candidate.relatedAddress?.port, inner != 0 {
            // The first destination may have taken it; then what follows is the next one.
            ports.append(inner)
        }
        // Each new destination takes the next port: other servers' and other candidates' come before ours.
        for step in 1...configuration.predictedPorts {
            let port = address.port &+ UInt16(truncatingIfNeeded: step)
            if ports.count < configuration.predictedPorts, port != ports.first { ports.append(port) }
        }
        for (index, port) in ports.enumerated() where port != 0 {
            let guess = SocketAddress(ip: address.ip, port: port)
            guard remoteIndex(of: guess) == nil, remotes.count < configuration.maximumCandidates else { continue }
            let step = UInt32(index + 1)
            let predicted = ICECandidate(
                foundation: "\(candidate.foundation.prefix(20))next\(step)",
                priority: candidate.priority > step ? candidate.priority - step : 1, address: guess,
                kind: .serverReflexive)
            remotes.append(RemoteCandidate(candidate: predicted, address: guess, isLearned: true))
            note(.remoteCandidateFound(predicted, .predicted))
            for base in bases.indices where bases[base].relay == nil { formPair(base: base, remote: remotes.count - 1) }
        }
    }

    // MARK: - Early copies

    /// RFC 8445 §14.3 has half a second before the first copy of a check. Where the peer's filter looks at addresses
    /// and is closed until the peer has our description and checks us, and its checks do not reach us so that they
    /// would bring ours about, the first of ours is lost as a rule. Where both sides know so, the first copies follow
    /// sooner, more and more slowly, until they are as far apart as others are.
    private func hastens(_ pair: CheckPair) -> Bool {
        guard let own = configuration.localNAT, own.mapping != .endpointIndependent, let remoteNAT,
            remoteNAT.mapping == .endpointIndependent, remoteNAT.filtering == .addressDependent
        else { return false }
        let remote = remotes[pair.remote]
        return bases[pair.base].relay == nil && remote.candidate.kind != .relayed && !remote.address.ip.isPrivate
    }

    /// The wait before the first of such copies, unless Ta is longer.
    private static let hastenedRTO = Duration.milliseconds(20)

    /// The wait for the first copy of a check, and how many may leave: the last of them not later than others' last.
    func retransmissions(of pair: CheckPair, ordinary rto: Duration) -> (rto: Duration, copies: Int) {
        // RFC 6544 §7.1: a connection loses nothing.
        if bases[pair.base].tcp != nil { return (Self.streamRTO, 1) }
        var copies = Transaction.maximumCopies
        guard hastens(pair) else { return (rto, copies) }
        let first = max(Self.hastenedRTO, pacing)
        while first * (1 << copies) <= rto * (1 << (Transaction.maximumCopies - 1)) { copies += 1 }
        return (min(first, rto), copies)
    }

    // MARK: - Opening packets

    /// Whether this side opens its NAT without reaching the peer's. The offerer need not: its first check comes when
    /// the answerer has done so.
    private var opensSilently: Bool {
        configuration.openingHopLimit != nil && role == .controlled
            && remoteNAT?.filtering != .endpointIndependent
    }

    /// Sends a packet that makes a mapping in our NAT and ends before the peer's.
    mutating func open(_ pair: CheckPair) {
        guard opensSilently, let limit = configuration.openingHopLimit, bases[pair.base].relay == nil,
            bases[pair.base].tcp == nil
        else { return }
        let remote = remotes[pair.remote]
        // A host with a public address may have a firewall before it.
        guard remote.candidate.kind != .relayed, remote.address.ip.isPublic else { return }
        let indication = STUNMessage(.indication, transactionID: STUNTransactionID(using: &entropy))
        outbox.append(
            .transmit(
                Datagram(
                    source: bases[pair.base].address, destination: remote.address, payload: indication.encoded(),
                    hopLimit: limit)))
        note(.openingSent(name(pair), hopLimit: limit))
    }

    /// Checks wait for those of the peer, where these can come: the peer must be able to tell which port of our NAT
    /// lets it in.
    mutating func holdChecks() {
        guard opensSilently, configuration.openingHold > .zero else { return }
        if let own = configuration.localNAT, own.mapping != .endpointIndependent {
            guard own.allocation != .random, remoteNAT?.filtering == .addressAndPortDependent else { return }
        }
        heldUntil = clock + configuration.openingHold
    }
}

extension IPAddress {
    /// Whether it may be reached from anywhere.
    var isPublic: Bool { !isPrivate && !isLoopback && !isLinkLocal }
}
