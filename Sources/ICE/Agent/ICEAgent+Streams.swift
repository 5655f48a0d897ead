// SPDX-License-Identifier: Apache-2.0
public import Wire

// Candidates for TCP (RFC 6544). Connections are links, as those to relays over streams are:
//
//     active:  a check of the pair ─▶ RelayRequest.open, .send ─▶ relayOpened ─▶ receive(over:) ─▶ answers
//     passive: the driver takes a connection ─▶ streamAccepted ─▶ receive(over:) ─a check with a right proof─▶ a pair
//
// STUN and everything else travels in frames of RFC 4571. A connection that ends fails its pair, or after nomination is
// opened again by the active side (§11.1); one that no pair needs is closed three seconds after nomination (§8).

/// One connection to or from the peer.
struct PeerStream: Sendable {
    let link: RelayLink
    /// The active or passive base.
    let base: Int
    /// The address of the other end, without a zone.
    let remote: SocketAddress
    /// When a connection that was taken is given up, unless the peer has shown itself before; `nil` for ours.
    let deadline: Timestamp?
    /// It came when the peer had long been done with others than the one in use.
    var isLate = false
    /// A check, or an answer, with a right proof has come.
    var isProven = false
    var reader = FrameReader()
}

extension ICEAgent {
    /// How long one who connects may take to show a check with a right proof: two lost segments and their copies
    /// (RFC 6298 §2: 1 s, 2 s), and a slow path.
    private static let proofTimeout = Duration.seconds(10)
    /// Connections that were taken and are without a proof.
    private static let maximumUnprovenStreams = 8
    /// The longest message before there is a proof: what fits an Ethernet is more than any check has.
    static let longestUnproven = 1500
    /// Ti of RFC 8489 §6.2.2: how long an answer over TCP is waited for, which is not asked for again.
    static let streamRTO = Duration.milliseconds(39_500) / Transaction.finalWait

    // MARK: - Candidates

    /// Offers the address at which the driver takes connections as a passive candidate. With ``TCPCandidates/both``,
    /// and before ``Event/gatheringComplete``.
    public mutating func addLocalListener(_ address: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        guard configuration.tcpCandidates == .both else { return }
        addStreamCandidate(.passive, address)
    }

    /// Offers to open connections from an address of the host.
    mutating func addActive(_ ip: IPAddress) {
        guard configuration.tcpCandidates != .none else { return }
        addStreamCandidate(.active, SocketAddress(ip: ip, port: ICECandidate.activePort))
    }

    private mutating func addStreamCandidate(_ type: ICECandidate.TCPType, _ address: SocketAddress) {
        guard configuration.transportPolicy == .all, !hasEnded, !gathering.isComplete,
            locals.count < configuration.maximumCandidates, !address.ip.isUnspecified, address.port != 0,
            !address.ip.isLoopback || configuration.allowsLoopback,
            !bases.contains(where: { $0.tcp == type && $0.address == address && !$0.isGone })
        else { return }
        let preference = ICECandidate.localPreference(type, rank: bases.count { $0.tcp == type })
        bases.append(Base(address: address, preference: preference, host: locals.count, tcp: type))
        let base = bases.count - 1
        addLocal(
            ICECandidate(
                foundation: foundation(.host, base: address.ip, server: nil, transport: .tcp), transport: .tcp,
                priority: ICECandidate.priority(.host, localPreference: preference, transport: .tcp),
                address: SocketAddress(ip: address.ip.withoutScope, port: address.port), kind: .host,
                extensions: ICECandidate.tcpType(type)),
            base: base)
        guard !isConcluded else { return }
        for remote in remotes.indices where !remotes[remote].isLearned { formPair(base: base, remote: remote) }
    }

    func transport(of base: Int) -> ICECandidate.Transport { bases[base].tcp == nil ? .udp : .tcp }

    /// Whether a base and a candidate of the peer make a pair: RFC 6544 §6.2, where a passive base has no pairs but
    /// those of connections that came.
    func suits(_ base: Int, _ remote: Int) -> Bool {
        let candidate = remotes[remote].candidate
        return switch bases[base].tcp {
        case nil: candidate.transport == .udp
        case .active: candidate.tcpType == .passive
        case .passive: candidate.transport == .tcp && streamIndex(base, remotes[remote].address) != nil
        }
    }

    // MARK: - Connections

    /// Tells that somebody has connected to where a listener stands. Answers the connection's name, for
    /// ``receive(_:over:now:)`` and ``relayClosed(_:_:now:)``; `nil` where it is to be closed.
    public mutating func streamAccepted(
        from source: SocketAddress, to local: SocketAddress, now: Timestamp
    ) -> RelayLink? {
        clock = max(clock, now)
        let plain = SocketAddress(ip: local.ip.withoutScope, port: local.port)
        let place = bases.firstIndex { base in
            base.tcp == .passive && !base.isGone && base.address.port == plain.port
                && base.address.ip.withoutScope == plain.ip
        }
        let isLate = quietAt.map { $0 <= clock } ?? false
        guard !hasEnded, let base = place, !isLate || isLookingFurther || isSelected(base) else { return nil }
        guard streams.count < configuration.maximumStreams,
            streams.count(where: { $0.deadline != nil && !$0.isProven }) < Self.maximumUnprovenStreams
        else {
            counters.overLimit += 1
            return nil
        }
        let remote = SocketAddress(ip: source.ip.withoutScope, port: source.port)
        if let old = streamIndex(base, remote) { endStream(old, .timeout) }
        let link = makeLink()
        var stream = PeerStream(link: link, base: base, remote: remote, deadline: clock + Self.proofTimeout)
        stream.isLate = isLate
        streams.append(stream)
        return link
    }

    /// A driver's connection is over.
    mutating func streamClosed(_ link: RelayLink) {
        guard let index = streams.firstIndex(where: { $0.link == link }) else { return }
        let stream = streams.remove(at: index)
        lost(stream, .unreachable)
    }

    /// What becomes of pairs whose connection is gone.
    private mutating func lost(_ stream: PeerStream, _ reason: ICEDecision.FailureReason) {
        guard !hasEnded else { return }
        guard isConcluded, let selected, let pair = checklist[id: selected], pair.base == stream.base,
            remotes[pair.remote].address == stream.remote
        else {
            failPairs(reason) { $0 == stream.base && $1 == stream.remote }
            return
        }
        note(.checkFailed(name(pair), reason))
        setState(.disconnected)
        guard bases[pair.base].tcp == .active else { return }
        // RFC 6544 §11.1. One that cannot be opened is tried again with every check for consent.
        hasFailedToReopen = !stream.isProven
        if stream.isProven { askConsent(pair) }
    }

    /// Whether data goes by connections of a base.
    private func isSelected(_ base: Int) -> Bool {
        selected.flatMap { checklist[id: $0] }?.base == base
    }

    /// Takes the path over to a connection that the peer has opened in place of the nominated one (RFC 6544 §11.1): its
    /// check, whose proof was right, came from another port. Answers whether it was that.
    mutating func resume(base: Int, from source: SocketAddress) -> Bool {
        guard bases[base].tcp == .passive, isConcluded, let selected, let pair = checklist[id: selected],
            pair.base == base, let index = streamIndex(base, source)
        else { return false }
        let old = remotes[pair.remote]
        guard old.address != source, streams[index].isLate || hasLostStream(pair) else { return false }
        var candidate = old.candidate
        candidate.host = .address(source.ip)
        candidate.port = source.port
        remotes[pair.remote] = RemoteCandidate(candidate: candidate, address: source, isLearned: true)
        note(.remoteCandidateFound(candidate, .check))
        if let gone = streamIndex(base, old.address) {
            outbox.append(.event(.relay(.close(streams.remove(at: gone).link))))
        }
        note(.pairSelected(name(pair), isNominated: true))
        outbox.append(.event(.selectedPair(snapshot(pair))))
        askConsent(pair)
        return true
    }

    private mutating func endStream(_ index: Int, _ reason: ICEDecision.FailureReason) {
        let stream = streams.remove(at: index)
        outbox.append(.event(.relay(.close(stream.link))))
        lost(stream, reason)
    }

    private mutating func makeLink() -> RelayLink {
        lastLink += 1
        return RelayLink(ufrag: localCredentials.ufrag, number: lastLink)
    }

    func streamIndex(_ base: Int, _ remote: SocketAddress) -> Int? {
        streams.firstIndex { $0.base == base && $0.remote == remote }
    }

    /// The connection that packets of a pair go by; `nil` where there is none that has shown where it leads.
    public func stream(from address: SocketAddress, to remote: SocketAddress) -> RelayLink? {
        streams.first { $0.isProven && $0.remote == remote && bases[$0.base].address == address }?.link
    }

    /// Whether the connection of a pair is gone.
    func hasLostStream(_ pair: CheckPair) -> Bool {
        bases[pair.base].tcp != nil && streamIndex(pair.base, remotes[pair.remote].address) == nil
    }

    // MARK: - Sending and receiving

    /// Sends a message over the connection of a pair; an active base opens it first (RFC 6544 §7.1).
    mutating func transmitStream(_ payload: [UInt8], from base: Int, to destination: SocketAddress) {
        if let index = streamIndex(base, destination) {
            outbox.append(.event(.relay(.send(streams[index].link, FrameReader.frame(payload)))))
            return
        }
        // What is no check comes after one, and is lost with its connection.
        guard bases[base].tcp == .active, STUNMessage.messageClass(in: payload.span.bytes) == .request else { return }
        guard streams.count < configuration.maximumStreams else {
            counters.overLimit += 1
            return
        }
        let link = makeLink()
        streams.append(PeerStream(link: link, base: base, remote: destination, deadline: nil))
        let (peer, own) = (scoped(destination, base), bases[base].address.ip)
        outbox.append(.event(.relay(.open(link, transport: .tcp, to: peer, name: nil, from: own))))
        outbox.append(.event(.relay(.send(link, FrameReader.frame(payload)))))
    }

    /// Takes bytes of a connection to or from the peer.
    mutating func receiveFrames(_ bytes: RawSpan, over link: RelayLink) {
        guard let index = streams.firstIndex(where: { $0.link == link }), !hasEnded else { return }
        // What stays behind would be copied with the stream.
        var reader = FrameReader()
        swap(&reader, &streams[index].reader)
        reader.append(bytes)
        while let range = reader.next() {
            guard let stream = streams.first(where: { $0.link == link }) else { return }
            take(reader.buffer.span.bytes.extracting(range), of: stream)
        }
        // A packet may have brought it to its end.
        guard let index = streams.firstIndex(where: { $0.link == link }) else { return }
        if !streams[index].isProven, reader.announced ?? 0 > Self.longestUnproven {
            counters.malformed += 1
            endStream(index, .malformed)
            return
        }
        swap(&reader, &streams[index].reader)
    }

    private mutating func take(_ packet: RawSpan, of stream: PeerStream) {
        if let first = packet.byte(at: 0), first <= 3 {
            receiveMessage(packet, from: stream.remote, base: stream.base)
        } else if stream.isProven {
            queue(
                RelayedPacket(
                    source: stream.remote, destination: bases[stream.base].address,
                    payload: [UInt8](copying: packet), isRelayed: false))
        } else if let index = streams.firstIndex(where: { $0.link == stream.link }) {
            // RFC 6544 §7.1: who speaks first of something else is not the peer.
            counters.malformed += 1
            endStream(index, .malformed)
        }
    }

    // MARK: - Time

    /// Closes what has shown no proof in time, and what is not needed any more.
    mutating func advanceStreams() {
        while let index = streams.firstIndex(where: { stream in
            !stream.isProven && stream.deadline.map { $0 <= clock } ?? false
        }) {
            endStream(index, .timeout)
        }
        guard let quietAt, quietAt <= clock, !isLookingFurther else { return }
        let pair = selected.flatMap { checklist[id: $0] }
        while let index = streams.firstIndex(where: { stream in
            guard let pair else { return true }
            return stream.base != pair.base || stream.remote != remotes[pair.remote].address
        }) {
            endStream(index, .timeout)
        }
    }

    mutating func closeAllStreams() {
        for stream in streams { outbox.append(.event(.relay(.close(stream.link)))) }
        streams.removeAll()
    }

    /// Closes the connections of bases that the host has no more.
    mutating func closeStreams(ofBases gone: Set<Int>) {
        for stream in streams where gone.contains(stream.base) {
            outbox.append(.event(.relay(.close(stream.link))))
        }
        streams.removeAll { gone.contains($0.base) }
    }

    /// When connections have something to do.
    var streamDeadline: Timestamp? {
        guard !streams.isEmpty else { return nil }
        var earliest = streams.compactMap { $0.isProven ? nil : $0.deadline }.min()
        if let quietAt, quietAt > clock { earliest = min(earliest ?? quietAt, quietAt) }
        return earliest
    }
}
