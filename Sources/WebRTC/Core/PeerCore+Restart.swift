// SPDX-License-Identifier: Apache-2.0
import DTLS
public import ICE
public import SDP
public import Wire

// A restart replaces the ICE agent and nothing else (RFC 8445 §9): DTLS and SCTP do not notice.
//
//     restartICE, createOffer ──▶ restart.offered gathers ──answer──▶ it is `ice`, and `ice` is restart.previous
//     an offer with new credentials ──────────────────────────────▶ the same at once
//     `ice` selects a pair ──▶ data goes there; restart.previous answers checks for three seconds more

/// The ICE agents of a connection beside the current one.
struct ICERestart: ~Copyable, Sendable {
    /// The next offer restarts ICE.
    var isWanted = false
    /// Where an agent that answers a restart gathers.
    var addresses: [SocketAddress] = []
    /// An agent whose credentials were offered and have no answer yet.
    var offered: ICEAgent?
    /// The agent before, whose pair carries data until the current one has a pair.
    var previous: ICEAgent?
    /// The current agent has nominated.
    var hasConcluded = false
    /// When the agent before is let go: as long after nomination as checks may still come (RFC 8445 §8.3.1).
    var end: Timestamp?
    /// When one of the two has something to do.
    var deadline: Timestamp?

    static let overlap = Duration.seconds(3)

    var isIdle: Bool { (offered.peek { _ in false } ?? true) && (previous.peek { _ in false } ?? true) }
}

extension PeerCore {
    /// Has the next offer restart ICE (RFC 8445 §9): new credentials, new candidates, new checks, while data goes on
    /// over the old pair.
    public mutating func restartICE() {
        restart.isWanted = true
    }

    /// Whether the next offer restarts ICE.
    public var wantsRestart: Bool { restart.isWanted }

    /// Whether an offer of the peer's restarts ICE: it has other credentials than the description before.
    public func isRestart(_ offer: SessionDescription) -> Bool {
        guard let remote else { return false }
        return remote.iceUfrag != offer.iceUfrag || remote.icePwd != offer.icePwd
    }

    /// Makes a further offer, where descriptions were exchanged before. `localAddresses` and `servers` serve a restart.
    public mutating func offerAgain(
        localAddresses: [SocketAddress], servers: [SocketAddress], turnServers: [TURNServer] = [], now: Timestamp
    ) throws(PeerConnectionError) {
        guard remote != nil, !hasLocalOffer, state != .closed, state != .failed else {
            throw PeerConnectionError(
                .invalidState, "a further offer follows a finished exchange on a connection that is not closed")
        }
        hasLocalOffer = true
        localKind = .offer
        sessionVersion += 1
        guard restart.isWanted, var settings = iceSettings else { return }
        restart.isWanted = false
        // RFC 8445 §6.1.1: a restart leaves the roles as they are.
        settings.role = ice.peek { $0.role } ?? settings.role
        settings.stunServers = servers
        settings.turnServers = turnServers
        usesRelays = usesRelays || !turnServers.isEmpty
        iceSettings = settings
        restart.offered = makeAgent(settings, localAddresses, now: now)
        restart.addresses = localAddresses
        pumpICE()
    }

    /// Takes an offer or answer after the first ones.
    mutating func renegotiate(_ description: SessionDescription, now: Timestamp) throws(PeerConnectionError) {
        let isOffer = description.type == .offer
        if isOffer {
            // What W3C calls an implicit rollback: the peer's offer stands, ours is forgotten.
            if hasLocalOffer { rollBack() }
            localKind = .answer
        } else if !hasLocalOffer {
            throw PeerConnectionError(.invalidState, "there is no offer of ours that this could answer")
        }
        try check(description)
        guard let credentials = ICECredentials(ufrag: description.iceUfrag, password: description.icePwd) else {
            throw PeerConnectionError(
                .invalidDescription, "a=ice-ufrag or a=ice-pwd is no valid credential (RFC 8839 §5.4)")
        }
        try checkAssociation(description)
        let isRestart = ice.peek { $0.remoteCredentials != credentials } ?? true
        let weRestart = restart.offered.peek { _ in true } ?? false
        guard isOffer || isRestart == weRestart else {
            throw PeerConnectionError(
                .invalidDescription,
                weRestart
                    ? "the answer to an ICE restart has the old credentials (RFC 8839 §4.4.2)"
                    : "the answer has new ICE credentials, and no restart was offered (RFC 8839 §4.4.2)")
        }
        remote = description
        hasLocalOffer = false
        if isOffer { sessionVersion += 1 }
        if isRestart { try replaceAgent(credentials, description, now: now) }
        takeCandidates(of: description, now: now)
        pumpICE()
    }

    /// Forgets an offer that has no answer. What it was to restart, the next one will.
    private mutating func rollBack() {
        hasLocalOffer = false
        if let ufrag = restart.offered.peek({ $0.localCredentials.ufrag }) {
            restart.isWanted = true
            closeAgent(restart.offered.take())
            restart.offered = nil
            events.append(.ufragRetired(ufrag))
        }
    }

    /// The association stays, so that the fingerprints have to (RFC 8842 §3.1). `a=setup` is not looked at: Firefox
    /// answers every restart with `active`, also where it is the DTLS server, and leaves the association alone.
    private func checkAssociation(_ description: SessionDescription) throws(PeerConnectionError) {
        guard let remote, Set(remote.fingerprints) == Set(description.fingerprints), remote.tlsID == description.tlsID
        else {
            throw PeerConnectionError(
                .invalidDescription, "the peer wants a new DTLS association, which needs a new connection")
        }
    }

    /// A new agent takes over; the old one stays while its pair carries data.
    private mutating func replaceAgent(
        _ credentials: ICECredentials, _ description: SessionDescription, now: Timestamp
    ) throws(PeerConnectionError) {
        var next = restart.offered.take()
        if next.peek({ _ in true }) == nil, var settings = iceSettings {
            settings.role = ice.peek { $0.role } ?? settings.role
            next = makeAgent(settings, restart.addresses, now: now)
        }
        do {
            if let nat = description.dreamer?.behavior { next?.setRemoteNAT(nat) }
            if mayRenominate(description) { next?.allowRenomination() }
            try next?.setRemote(
                credentials: credentials, lite: description.isICELite, pacing: description.checkInterval, now: now)
        } catch {
            throw PeerConnectionError(.invalidState, "\(error)")
        }
        if ice.peek({ $0.selectedPair != nil }) ?? false {
            retirePrevious()
            restart.previous = ice.take()
        } else if let ufrag = ice.peek({ $0.localCredentials.ufrag }) {
            // Of an attempt that led to nothing; if an agent before it carries data, that goes on.
            events.append(.ufragRetired(ufrag))
        }
        ice = next.take()
        remoteNames = RemoteNames()
        restart.hasConcluded = false
        restart.end = nil
    }

    private mutating func retirePrevious() {
        guard let ufrag = restart.previous.peek({ $0.localCredentials.ufrag }) else { return }
        closeAgent(restart.previous.take())
        restart.end = nil
        events.append(.ufragRetired(ufrag))
    }

    // MARK: - Network changes

    /// Tells that addresses of this host, from those that candidates are made of, are gone. What used them ends at
    /// once. Answers whether the path to the peer was one of that, so that only a restart helps, with the addresses
    /// that there are now (RFC 8445 §9); until then the state is `disconnected`.
    public mutating func removeLocalAddresses(_ addresses: [SocketAddress], now: Timestamp) -> Bool {
        restart.addresses.removeAll { addresses.contains($0) }
        for address in addresses {
            ice?.removeLocalAddress(address, now: now)
            restart.offered?.removeLocalAddress(address, now: now)
            restart.previous?.removeLocalAddress(address, now: now)
        }
        pumpICE()
        return ice.peek { $0.needsRestart } ?? false
    }

    /// Tells that the host has got an address. Answers whether candidates are made of it, for the peer that still
    /// expects some; else it serves the next restart (RFC 8838 §13).
    public mutating func addLocalAddress(_ address: SocketAddress, now: Timestamp) -> Bool {
        guard !restart.addresses.contains(address) else { return false }
        restart.addresses.append(address)
        guard ice.peek({ $0.takesLocalAddresses }) ?? false else { return false }
        ice?.addLocalAddress(address, now: now)
        pumpICE()
        return true
    }

    // MARK: - Running

    /// Gives a STUN message to the agent that it is for: requests name it, responses answer it.
    mutating func receiveDuringRestart(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        let ufrag = STUNMessage.recipientUfrag(in: bytes)
        let id = ufrag == nil ? STUNMessage.transactionID(in: bytes) : nil
        func isFor(_ agent: borrowing ICEAgent) -> Bool {
            if let ufrag { return agent.localCredentials.ufrag == ufrag }
            return id.map { agent.ownsTransaction($0) } ?? false
        }
        if restart.previous.peek(isFor) ?? false {
            restart.previous?.receive(bytes, from: source, to: destination, now: now)
        } else if restart.offered.peek(isFor) ?? false {
            restart.offered?.receive(bytes, from: source, to: destination, now: now)
        } else {
            ice?.receive(bytes, from: source, to: destination, now: now)
        }
    }

    mutating func handleRestartTimeout(now: Timestamp) {
        restart.offered?.handleTimeout(now: now)
        restart.previous?.handleTimeout(now: now)
        guard restart.hasConcluded else { return }
        let end = restart.end ?? now + ICERestart.overlap
        restart.end = end
        if end <= now { retirePrevious() }
    }

    /// Takes what the agents beside the current one have.
    mutating func pumpRestart() {
        var deadlines = [iceDeadline, restart.end].compactMap { $0 }
        offered: while let output = restart.offered?.nextOutput() {
            switch output {
            case .transmit(let datagram): iceDatagrams.append(datagram)
            case .event(.localCandidate(let candidate)):
                report(candidate, ufrag: restart.offered.peek { $0.localCredentials.ufrag })
            case .event(.gatheringComplete): events.append(.gatheringComplete)
            case .event(.relay(let request)): relayRequests.append(request)
            case .event(.ports(let request)): note(request, of: restart.offered.peek { $0.localCredentials.ufrag })
            case .event(.decision(let decision)): events.append(.decision(decision))
            case .event: break
            case .wait(let deadline):
                if let deadline { deadlines.append(deadline) }
                break offered
            }
        }
        previous: while let output = restart.previous?.nextOutput() {
            switch output {
            case .transmit(let datagram): iceDatagrams.append(datagram)
            case .event(.stateChanged(let new)): previousChanged(new)
            case .event(.relay(let request)): relayRequests.append(request)
            case .event(.ports(let request)): note(request, of: restart.previous.peek { $0.localCredentials.ufrag })
            case .event(.decision(let decision)): events.append(.decision(decision))
            case .event: break
            case .wait(let deadline):
                if let deadline { deadlines.append(deadline) }
                break previous
            }
        }
        iceDeadline = deadlines.min()
    }

    /// The old path came to an end, or back, while a new one is looked for.
    private mutating func previousChanged(_ new: ICEAgent.State) {
        let hasNewPath = ice.peek { $0.selectedPair != nil } ?? false
        switch new {
        case .failed:
            retirePrevious()
            guard !hasNewPath else { return }
            // RFC 7675 §5.1: without consent nothing is sent.
            route = nil
            if state == .connected { setState(.disconnected) }
        case .disconnected:
            if !hasNewPath, state == .connected { setState(.disconnected) }
        case .connected, .completed:
            if !hasNewPath, state == .disconnected { setState(.connected) }
        case .new, .checking, .closed:
            break
        }
    }
}
