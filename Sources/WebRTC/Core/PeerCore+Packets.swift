// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import SCTP
public import Wire

extension PeerCore {
    /// Datagrams of DTLS kept until the peer's description is there: two flights of a handshake.
    private static let earlyLimit = 8

    /// Takes a datagram that came from `source` to our socket at `destination`.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        transport.packetsReceived &+= 1
        transport.bytesReceived &+= UInt64(bytes.byteCount)
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
            // Only candidates of the peer may speak DTLS to us; what they say is for DTLS to check.
            if dtls == nil {
                if early.count < Self.earlyLimit { early.append([UInt8](copying: bytes)) }
            } else if ice.peek({ $0.mayReceiveData(from: source, to: destination) }) ?? false
                || restart.previous.peek({ $0.mayReceiveData(from: source, to: destination) }) ?? false
            {
                receiveDTLS(bytes, now: now)
            } else {
                transport.packetsDropped &+= 1
            }
        default:
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
    }

    /// Looks at what usrsctp's timers did.
    public mutating func associationTimersRan() {
        channels?.handleTimers()
    }

    private var isHandshaking: Bool { route != nil && !isDTLSConnected }

    // MARK: - Draining

    /// Moves what is to be sent, and what happened, into `outbox`. Without `includingEvents` events and messages stay.
    public mutating func drain(
        into outbox: inout PeerOutbox, includingEvents: Bool, readsMessages: Bool, now: Timestamp
    ) {
        startDTLS(now: now)
        if !plaintext.isEmpty {
            channels?.receive(batch: plaintext)
            plaintext.removeAll()
        }
        if includingEvents { takeEvents(into: &outbox, readsMessages: readsMessages) }
        pumpOutgoing()
        takeDatagrams(into: &outbox)
        outbox.deadline = [iceDeadline, isHandshaking ? dtls.peek { $0.nextTimeout } ?? nil : nil].compactMap { $0 }
            .min()
        if !includingEvents { outbox.hasMore = !events.isEmpty || (channels.peek { $0.mayHaveEvents } ?? false) }
    }

    /// Takes events up to the next message, whose bytes are read straight into the outbox.
    private mutating func takeEvents(into outbox: inout PeerOutbox, readsMessages: Bool) {
        while readsMessages, outbox.arrival == nil, let event = channels?.nextEvent(into: &outbox.message) {
            outbox.arrival = handle(event)
        }
        outbox.hasMore = outbox.arrival != nil
        for event in events { ledger.note(event, transport) }
        if let arrival = outbox.arrival { ledger.received(on: arrival.channel, outbox.message.byteCount) }
        swap(&outbox.events, &events)
    }

    private mutating func takeDatagrams(into outbox: inout PeerOutbox) {
        swap(&outbox.datagrams, &iceDatagrams)
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
            fail(
                .iceFailed,
                isDTLSConnected
                    ? "the peer stopped answering (no consent for 30 s)"
                    : "no path to the peer works (see the trace of ICE's decisions)")
        case .stateChanged:
            break
        case .localCandidate(let candidate):
            report(candidate, ufrag: ice.peek { $0.localCredentials.ufrag })
        case .gatheringComplete:
            events.append(.gatheringComplete)
        case .selectedPair(let pair):
            route = (pair.localAddress, pair.remoteAddress)
            events.append(.selectedPair(pair))
        case .decision(let decision):
            events.append(.decision(decision))
        }
    }

    /// Begins the handshake once a pair works.
    private mutating func startDTLS(now: Timestamp) {
        guard !isDTLSStarted, route != nil, dtls != nil, state == .connecting else { return }
        isDTLSStarted = true
        dtls?.start(now: now, roundTripTime: ice.peek { $0.selectedPair?.roundTripTime } ?? nil)
        pumpDTLS(now: now)
    }

    private mutating func pumpDTLS(now: Timestamp) {
        while let event = dtls?.nextEvent() {
            switch event {
            case .connected:
                isDTLSConnected = true
                do {
                    try channels?.connect()
                } catch {
                    fail(.sctpFailed, "the SCTP association cannot start: \(error)")
                }
            case .closed:
                close(now: now)
            case .failed(let error):
                fail(.dtlsFailed, "\(error)")
            }
        }
    }

    /// Encrypts what SCTP has to send.
    mutating func pumpOutgoing() {
        guard isDTLSConnected else { return }
        channels?.takeOutgoing(into: &sctpPackets)
        guard !sctpPackets.isEmpty else { return }
        dtls?.send(batch: sctpPackets)
        sctpPackets.removeAll()
    }
}
