// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import SCTP
public import Wire

extension PeerCore {
    /// Datagrams of DTLS kept until the peer's description is there: two flights of a handshake.
    private static let earlyLimit = 8
    /// The longest of them: what passes an Ethernet.
    private static let longestEarly = 1500

    /// Takes a datagram that came from `source` to our socket at `destination`.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        transport.packetsReceived &+= 1
        transport.bytesReceived &+= UInt64(bytes.byteCount)
        if usesRelays, receiveFromRelay(bytes, from: source, to: destination, now: now) { return }
        // Where only the peer's end is a relay's, what comes from there does so over it.
        let isRelayed = isRelayed && route.map { $0.destination == source } ?? false
        receivePacket(bytes, from: source, to: destination, isRelayed: isRelayed, now: now)
    }

    /// Takes a packet that came from a peer, over whatever way, to an address of ours or one that a relay lends us.
    mutating func receivePacket(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, isRelayed: Bool, now: Timestamp
    ) {
        guard !isRelayed || spend(bytes.byteCount) else { return }
        // RFC 7983 §7.
        switch bytes.byte(at: 0) ?? 0xFF {
        case 0...3:
            if restart.isIdle {
                ice?.receive(bytes, from: source, to: destination, now: now)
            } else {
                receiveDuringRestart(bytes, from: source, to: destination, now: now)
            }
            pumpICE()
        case 20...63:
            receiveDTLS(bytes, from: source, to: destination, now: now)
        case 128...191:
            receiveMedia(bytes, from: source, to: destination)
        default:
            transport.packetsDropped &+= 1
        }
    }

    /// Once keys are agreed on, they prove who sent a record, and any candidate of the peer may be its source. Before,
    /// a datagram counts only from where the peer has shown itself to ICE: nobody with a forged address makes a session
    /// begin, nor fills the room for those that come early.
    private mutating func receiveDTLS(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        // Nearly all datagrams of a connection take the selected path.
        if isDTLSConnected, let route, route.source == destination, route.destination == source {
            return receiveDTLS(bytes, now: now)
        }
        func admits(_ ice: borrowing ICEAgent) -> Bool {
            isDTLSConnected
                ? ice.mayReceiveData(from: source, to: destination) : ice.isProven(source, to: destination)
        }
        let isWelcome = (ice.peek(admits) ?? false) || (restart.previous.peek(admits) ?? false)
        if isWelcome, remote != nil {
            makeDTLS(now: now)
            receiveDTLS(bytes, now: now)
        } else if isWelcome, early.count < Self.earlyLimit, bytes.byteCount <= Self.longestEarly {
            early.append([UInt8](copying: bytes))
        } else {
            transport.packetsDropped &+= 1
        }
    }

    mutating func receiveDTLS(_ bytes: RawSpan, now: Timestamp) {
        dtls?.receive(bytes, now: now, plaintext: &plaintext)
        pumpDTLS(now: now)
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        ice?.handleTimeout(now: now)
        if !restart.isIdle { handleRestartTimeout(now: now) }
        pumpICE()
        if isHandshaking {
            dtls?.handleTimeout(now: now)
            pumpDTLS(now: now)
        }
        recovered?.handleTimeout(now: now)
        if closing.isWanted { settleClosing(now: now) }
    }

    /// Looks at what usrsctp's timers did.
    public mutating func associationTimersRan() {
        channels?.handleTimers()
        recovered?.handleTimers()
    }

    private var isHandshaking: Bool { route != nil && !isDTLSConnected }

    // MARK: - Draining

    /// Moves what is to be sent, and what happened, into `outbox`. Without `includingEvents` events and messages stay.
    public mutating func drain(
        into outbox: inout PeerOutbox, includingEvents: Bool, readsMessages: Bool, now: Timestamp
    ) {
        startDTLS(now: now)
        if let (isNew, roundTrip) = selection.take() {
            recovered?.pathSelected(isNew: isNew, roundTrip: roundTrip, now: now)
        }
        if !plaintext.isEmpty {
            receivePlaintext(now: now)
            plaintext.release()
        }
        if includingEvents {
            takeEvents(into: &outbox, readsMessages: readsMessages)
            swap(&outbox.relayRequests, &relayRequests)
            swap(&outbox.portRequests, &portRequests)
        }
        pumpOutgoing(now: now)
        if closing.isWanted { settleClosing(now: now) }
        takeDatagrams(into: &outbox)
        // Sending may have ended the connection.
        if hasNews { outbox.hasMore = true }
        outbox.deadline = iceDeadline
        if isHandshaking { note(dtls.peek { $0.nextTimeout } ?? nil, in: &outbox.deadline) }
        note(recovered.peek { $0.nextDeadline } ?? nil, in: &outbox.deadline)
        note(closing.deadline, in: &outbox.deadline)
        if !includingEvents {
            outbox.hasMore =
                hasNews || (channels.peek { $0.mayHaveEvents } ?? false)
                || (recovered.peek { $0.mayHaveEvents } ?? false)
        }
    }

    private var hasNews: Bool {
        !events.isEmpty || !relayRequests.isEmpty || !portRequests.isEmpty || !iceDatagrams.isEmpty
    }

    private func note(_ deadline: Timestamp?, in earliest: inout Timestamp?) {
        guard let deadline else { return }
        earliest = earliest.map { min($0, deadline) } ?? deadline
    }

    /// Hands each decrypted record to the layer that it belongs to.
    private mutating func receivePlaintext(now: Timestamp) {
        guard let made = recovered?.receive(batch: plaintext, others: &sctpPackets, now: now) else {
            channels?.receive(batch: plaintext)
            return
        }
        for handle in made { events.append(.associationCreated(handle)) }
        guard !sctpPackets.isEmpty else { return }
        channels?.receive(batch: sctpPackets)
        sctpPackets.release()
    }

    /// Takes events up to the next message, whose bytes are read straight into the outbox.
    private mutating func takeEvents(into outbox: inout PeerOutbox, readsMessages: Bool) {
        while readsMessages, outbox.arrival == nil, let event = channels?.nextEvent(into: &outbox.message) {
            outbox.arrival = handle(event, of: .plain)
        }
        while readsMessages, outbox.arrival == nil,
            let (event, flow) = recovered?.nextEvent(into: &outbox.message)
        {
            outbox.arrival = handle(event, of: .recovered(flow))
        }
        outbox.hasMore = outbox.arrival != nil
        if closing.peerHasClosed, outbox.arrival == nil { settlePeersClosing() }
        for event in events { ledger.note(event, transport) }
        if let arrival = outbox.arrival { ledger.received(on: arrival.channel, outbox.message.byteCount) }
        swap(&outbox.events, &events)
    }

    private mutating func takeDatagrams(into outbox: inout PeerOutbox) {
        swap(&outbox.datagrams, &iceDatagrams)
        outbox.stream = nil
        guard let pair = route, dtls != nil else {
            // The path is lost and a new one looked for: SCTP sends again what matters.
            if isDTLSConnected { dtls?.withOutgoing { $0.removeAll() } }
            return
        }
        outbox.route = pair
        dtls?.withOutgoing { waiting in
            // The outbox comes empty, so nothing is copied.
            swap(&waiting, &outbox.packets)
        }
        takeMedia(into: &outbox.packets)
        if isRelayed, state != .failed, state != .closed, !spend(outbox.packets.byteCount) { outbox.packets.release() }
        if isStreamRoute { sendOverStream(pair, &outbox) } else if usesRelays { sendToRelay(pair, &outbox) }
        transport.packetsSent &+= UInt64(outbox.packets.count)
        transport.bytesSent &+= UInt64(outbox.packets.byteCount)
    }

    // MARK: - Between the layers

    /// Takes what ICE has. Its datagrams wait for the next drain.
    mutating func pumpICE() {
        draining: while let output = ice?.nextOutput() {
            switch output {
            case .transmit(let datagram): iceDatagrams.append(datagram)
            case .event(let event): handle(event)
            case .wait(let deadline):
                iceDeadline = deadline
                break draining
            }
        }
        if !restart.isIdle { pumpRestart() }
    }

    private mutating func handle(_ event: ICEAgent.Event) {
        switch event {
        case .stateChanged(.disconnected):
            if state == .connected { setState(.disconnected) }
        case .stateChanged(.connected), .stateChanged(.completed):
            if state == .disconnected { setState(.connected) }
            restart.hasConcluded = restart.hasConcluded || event == .stateChanged(.completed)
        case .stateChanged(.failed):
            // A peer that has said good-bye answers nothing more, and what it sent before may still be unread.
            guard !closing.peerHasClosed else { return }
            fail(.iceFailed, pathFailure)
        case .stateChanged:
            break
        case .localCandidate(let candidate):
            report(candidate, ufrag: ice.peek { $0.localCredentials.ufrag })
        case .gatheringComplete:
            if side != nil { events.append(.gatheringComplete) }
        case .selectedPair(let pair):
            let isNew = route.map { $0 != (pair.localAddress, pair.remoteAddress) } ?? false
            route = (pair.localAddress, pair.remoteAddress)
            isStreamRoute = pair.local.transport == .tcp
            selection = (isNew, pair.roundTripTime)
            isRelayed = pair.local.kind == .relayed || pair.remote.kind == .relayed
            events.append(.selectedPair(pair))
        case .relay(let request):
            relayRequests.append(request)
        case .ports(let request):
            note(request, of: ice.peek { $0.localCredentials.ufrag })
        case .decision(let decision):
            events.append(.decision(decision))
        }
    }

    /// Begins the handshake once a pair works.
    private mutating func startDTLS(now: Timestamp) {
        guard !isDTLSStarted, route != nil, remote != nil, state == .connecting else { return }
        isDTLSStarted = true
        makeDTLS(now: now)
        dtls?.start(now: now, roundTripTime: ice.peek { $0.selectedPair?.roundTripTime } ?? nil)
        pumpDTLS(now: now)
    }

    private mutating func pumpDTLS(now: Timestamp) {
        while let event = dtls?.nextEvent() {
            switch event {
            case .connected:
                isDTLSConnected = true
                startMedia()
                do {
                    try channels?.connect()
                    try recovered?.connect(roundTrip: ice.peek { $0.selectedPair?.roundTripTime } ?? nil)
                } catch {
                    fail(.sctpFailed, "the SCTP association cannot start: \(error)")
                }
            case .closed:
                closing.peerHasClosed = true
            case .failed(let error):
                fail(.dtlsFailed, "\(error)")
            }
        }
    }

    /// Encrypts what SCTP has to send.
    mutating func pumpOutgoing(now: Timestamp) {
        guard isDTLSConnected else { return }
        sendPlainPackets()
        recovered?.takeOutgoing(into: &sctpPackets, now: now)
        guard !sctpPackets.isEmpty else { return }
        dtls?.send(batch: sctpPackets)
        sctpPackets.release()
    }

    /// Encrypts what the plain association has to send.
    mutating func sendPlainPackets() {
        guard isDTLSConnected else { return }
        channels?.takeOutgoing(into: &sctpPackets)
        guard !sctpPackets.isEmpty else { return }
        dtls?.send(batch: sctpPackets)
        sctpPackets.release()
    }
}
