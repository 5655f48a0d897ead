// SPDX-License-Identifier: Apache-2.0
public import Wire

// Relayed candidates. The relayed address is a base like that of a socket (RFC 8445 §5.1.1.2): packets to it are taken
// out of what the server sends, packets from it are wrapped for the server.
//
//     gather ─▶ one TURNClient for each server and local address ─.allocated─▶ a base, a candidate, pairs
//     a pair with that base ─▶ a permission for the peer's address        the selected pair ─▶ a channel
//     nominated, and three seconds later ─▶ what is not needed is given back
extension ICEAgent {
    // MARK: - Asking

    /// Prepares the relays that are reached from a local address.
    mutating func requestRelays(from socket: SocketAddress) {
        for server in configuration.turnServers where server.transport == .udp {
            guard server.address.ip.family == socket.ip.family, server.address.ip.isLoopback == socket.ip.isLoopback
            else { continue }
            addRelay(server, socket: socket)
        }
    }

    /// Prepares the relays that are reached over streams, one for each server, and begins to connect.
    mutating func requestStreamRelays() {
        for server in configuration.turnServers where server.transport.isStream {
            guard !server.address.ip.isLoopback || configuration.allowsLoopback else { continue }
            guard let index = addRelay(server, socket: nil) else { continue }
            startRelay(index)
        }
    }

    @discardableResult
    private mutating func addRelay(_ server: TURNServer, socket: SocketAddress?) -> Int? {
        guard relays.count < configuration.maximumRelays else {
            counters.overLimit += 1
            return nil
        }
        let client = TURNClient(server: server, initialRTO: configuration.initialRTO, entropy: entropy.split())
        relays.append(Relay(client: client, socket: socket))
        gathering.addRelay(isAsked: server.transport.isStream)
        return relays.count - 1
    }

    mutating func startRelay(_ index: Int) {
        note(.relayAsked(relays[index].client.server.address, relays[index].client.server.transport))
        relays[index].client.start(now: clock)
        pumpRelay(index)
    }

    // MARK: - The driver's answers

    /// Tells that a socket or stream is open, and its local address.
    public mutating func relayOpened(_ link: RelayLink, local: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        guard let index = relays.firstIndex(where: { $0.link == link && !$0.isClosed }) else { return }
        relays[index].local = local
        relays[index].client.connected(now: clock)
        pumpRelay(index)
    }

    /// Tells that a socket or stream is closed, or could not be opened.
    public mutating func relayClosed(_ link: RelayLink, _ reason: TURNFailure = .streamClosed, now: Timestamp) {
        clock = max(clock, now)
        guard let index = relays.firstIndex(where: { $0.link == link && !$0.isClosed }) else {
            return streamClosed(link)
        }
        relays[index].isClosed = true
        relays[index].client.disconnected(reason, now: clock)
        pumpRelay(index)
    }

    /// Nobody listens where a relay was asked for at `server`. One that has answered is not given up for a forged ICMP.
    mutating func relayUnreachable(_ server: SocketAddress, from local: SocketAddress) {
        for index in relays.indices
        where !relays[index].isStream && relays[index].local == local && relays[index].client.address == server
            && !relays[index].client.hasAnswered
        {
            relays[index].client.disconnected(.unreachable, now: clock)
            pumpRelay(index)
        }
    }

    // MARK: - What the clients want

    /// Takes all that a client has.
    mutating func pumpRelay(_ index: Int) {
        while true {
            switch relays[index].client.nextOutput() {
            case .transmit(let bytes): transmit(bytes, over: index)
            case .event(let event): handle(event, of: index)
            case .wait: return
            }
        }
    }

    private mutating func transmit(_ bytes: [UInt8], over index: Int) {
        guard !relays[index].isClosed else { return }
        if relays[index].isStream {
            guard let link = relays[index].link else { return }
            outbox.append(.event(.relay(.send(link, bytes))))
        } else if let local = relays[index].local {
            let server = relays[index].client.address
            outbox.append(.transmit(Datagram(source: local, destination: server, payload: bytes)))
        }
    }

    private mutating func handle(_ event: TURNClient.Event, of index: Int) {
        let server = relays[index].client.server.address
        switch event {
        case .connect(let address, let name, let isFresh):
            openRelay(index, to: address, name: name, isFresh: isFresh)
        case .answered:
            gathering.relayAnswered(index, .alive, now: clock)
        case .allocated:
            relayAllocated(index)
        case .permitted(let ip):
            note(.relayPermitted(server, ip))
        case .refused(let ip, let reason):
            note(.relayRefused(server, ip, reason))
            failPairs(.relay(reason)) { [bases = relays[index].bases] base, remote in
                bases.contains(base) && remote.ip == ip
            }
        case .bound(let peer, let channel):
            note(.relayChannelBound(server, peer, channel: channel))
        case .undelivered:
            // ICMP is easily forged, and a peer may yet bind its socket: as without a relay (RFC 8445 §7.2.5.2.2).
            break
        case .ended(let reason):
            relayEnded(index, reason)
        }
    }

    private mutating func openRelay(_ index: Int, to address: SocketAddress, name: String?, isFresh: Bool) {
        let transport = relays[index].client.server.transport
        if transport == .udp, !configuration.opensRelaySockets {
            if isFresh {
                relays[index].client.disconnected(.allocationMismatch, now: clock)
            } else {
                relays[index].local = relays[index].socket
                relays[index].client.connected(now: clock)
            }
            return
        }
        // Another server gets another socket as well: the driver knows a relay's packets by where they come from.
        closeLink(of: index)
        lastLink += 1
        let link = RelayLink(ufrag: localCredentials.ufrag, number: lastLink)
        relays[index].link = link
        relays[index].local = nil
        relays[index].isClosed = false
        relays[index].reader = TURNStreamReader()
        outbox.append(
            .event(
                .relay(
                    .open(link, transport: transport, to: address, name: name, from: relays[index].socket?.ip))))
    }

    private mutating func closeLink(of index: Int) {
        guard let link = relays[index].link, !relays[index].isClosed else { return }
        relays[index].isClosed = true
        outbox.append(.event(.relay(.close(link))))
    }

    // MARK: - What the servers gave

    private mutating func relayAllocated(_ index: Int) {
        let client = relays[index].client
        guard gathering.isRunning else {
            // Too late to be told to the peer (RFC 8838 §13).
            relays[index].client.release(now: clock)
            return
        }
        note(.relayAllocated(client.server.address, relayed: client.relayed, mapped: client.mapped))
        if configuration.transportPolicy == .all, let mapped = client.mapped, let local = relays[index].local,
            let base = bases.firstIndex(where: { $0.address == local && !$0.isGone }),
            Self.isReflexive(mapped, of: local)
        {
            // RFC 8656 §7.3: it is what a Binding request would have told.
            learnReflexive(mapped, base: base, server: client.address)
        }
        for address in client.relayed { addRelayed(address, index, server: client.server, mapped: client.mapped) }
        gathering.relayAnswered(index, .done, now: clock)
        if relays[index].bases.isEmpty { relays[index].client.release(now: clock) }
    }

    private mutating func addRelayed(
        _ address: SocketAddress, _ index: Int, server: TURNServer, mapped: SocketAddress?
    ) {
        if address.ip.isLoopback, !configuration.allowsLoopback {
            note(.localCandidateDropped(address, .loopback))
            return
        }
        guard baseIndex(of: address) == nil else {
            note(.localCandidateDropped(address, .duplicate))
            return
        }
        guard locals.count < configuration.maximumCandidates else {
            note(.localCandidateDropped(address, .limit))
            return
        }
        // Below all sockets' preferences, so that a peer that learns the address from a check does not take it for
        // better than those; and datagrams before streams.
        let ceiling: UInt16 =
            switch server.transport {
            case .udp: 24_576
            case .tcp: 16_384
            case .tls: 8192
            }
        let base = bases.count
        bases.append(
            Base(
                address: address, preference: ceiling - min(UInt16(clamping: 16 * base), ceiling - 1),
                host: locals.count, relay: index))
        relays[index].bases.append(base)
        let hidden = Self.hiddenAddress(address.ip.family)
        addLocal(
            ICECandidate(
                foundation: foundation(
                    .relayed, base: address.ip, server: server.address.ip, transport: server.transport),
                priority: ICECandidate.priority(.relayed, localPreference: bases[base].preference), address: address,
                kind: .relayed, relatedAddress: configuration.transportPolicy == .relay ? hidden : mapped ?? hidden),
            base: base)
        guard !isConcluded else { return }
        for remote in remotes.indices where !remotes[remote].isLearned { formPair(base: base, remote: remote) }
    }

    private mutating func relayEnded(_ index: Int, _ reason: TURNFailure?) {
        let server = relays[index].client.server.address
        note(reason.map { ICEDecision.Action.relayFailed(server, $0) } ?? .relayReleased(server))
        gathering.relayAnswered(index, .failed, now: clock)
        closeLink(of: index)
        let gone = relays[index].bases
        guard !gone.isEmpty, reason != nil, !hasEnded else { return }
        if isConcluded, let selected, let pair = checklist[id: selected], gone.contains(pair.base),
            !bases[pair.base].isGone
        {
            // Nothing can come over it any more, so that there is no answer to wait for.
            note(.failed(.relayLost))
            end(.failed)
            return
        }
        failPairs(.relay(reason ?? .expired)) { base, _ in gone.contains(base) }
    }

    /// Takes pairs for failed that lack what their relay would have to do for them.
    mutating func failPairs(
        _ reason: ICEDecision.FailureReason, where matches: (_ base: Int, _ remote: SocketAddress) -> Bool
    ) {
        let hit = checklist.pairs.filter { $0.state != .failed && matches($0.base, remotes[$0.remote].address) }
        guard !hit.isEmpty else { return }
        for pair in hit {
            note(.checkFailed(name(pair), reason))
            transactions.removeAll { $0.purpose.pair == pair.id }
            checklist.update(pair.id) { pair in
                pair.state = .failed
                pair.validLocal = nil
                pair.nominateOnSuccess = false
            }
            checklist.untrigger(pair.id)
            if nomination == .inProgress(pair: pair.id) { nomination = .none }
        }
        evaluateSelection()
    }

    // MARK: - Time

    mutating func advanceRelays() {
        for index in relays.indices {
            guard let deadline = relays[index].client.nextDeadline, deadline <= clock else { continue }
            relays[index].client.handleTimeout(now: clock)
            pumpRelay(index)
        }
        if let quietAt, quietAt <= clock, !hasTidiedRelays { tidyRelays() }
    }

    /// Gives back what no one needs once a pair is chosen and the time for stray checks is over (RFC 8445 §8.3.1).
    private mutating func tidyRelays() {
        hasTidiedRelays = true
        let pair = selected.flatMap { checklist[id: $0] }
        for index in relays.indices {
            if let pair, relays[index].bases.contains(pair.base) {
                relays[index].client.keep(only: [remotes[pair.remote].address.ip])
            } else {
                releaseRelay(index)
            }
        }
    }

    /// Gathering is over: what lends nothing yet is let go. An allocation that is being made is awaited, and then given
    /// back.
    mutating func stopPendingRelays() {
        for index in relays.indices where relays[index].bases.isEmpty {
            let client = relays[index].client
            guard client.state != .ended, client.state != .releasing, !client.hasAnswered else { continue }
            if client.state == .idle {
                relays[index].client.release(now: clock)
            } else {
                relays[index].client.disconnected(.timeout, now: clock)
            }
            pumpRelay(index)
        }
    }

    mutating func releaseAllRelays() {
        for index in relays.indices {
            releaseRelay(index)
            // Nobody waits for an answer.
            closeLink(of: index)
        }
    }

    private mutating func releaseRelay(_ index: Int) {
        relays[index].client.release(now: clock)
        pumpRelay(index)
    }

    /// When relays have something to do.
    var relayDeadline: Timestamp? {
        guard !relays.isEmpty else { return nil }
        var earliest = relays.compactMap(\.client.nextDeadline).min()
        if let quietAt, !hasTidiedRelays { earliest = min(earliest ?? quietAt, quietAt) }
        return earliest
    }
}
