// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

// Over a relay everything has one more envelope:
//
//     server ──▶ ICEAgent.unwrap ──▶ receivePacket, as if it had come to the relayed address
//     DTLS's packets ──▶ ICEAgent.wrap ──▶ outbox.packets, for the server
extension PeerCore {
    /// Tells that a socket or stream that ``PeerOutbox/relayRequests`` asked for is open.
    public mutating func relayOpened(_ link: RelayLink, local: SocketAddress, now: Timestamp) {
        if ice.peek({ $0.localCredentials.ufrag == link.ufrag }) ?? false {
            ice?.relayOpened(link, local: local, now: now)
        } else {
            restart.offered?.relayOpened(link, local: local, now: now)
            restart.previous?.relayOpened(link, local: local, now: now)
        }
        pumpICE()
    }

    /// Tells that such a socket or stream is closed, or could not be opened.
    public mutating func relayClosed(_ link: RelayLink, _ reason: TURNFailure = .streamClosed, now: Timestamp) {
        ice?.relayClosed(link, reason, now: now)
        restart.offered?.relayClosed(link, reason, now: now)
        restart.previous?.relayClosed(link, reason, now: now)
        pumpICE()
    }

    /// Takes bytes of a stream from a relay or from the peer, as they came.
    public mutating func receive(_ bytes: RawSpan, over link: RelayLink, now: Timestamp) {
        transport.packetsReceived &+= 1
        transport.bytesReceived &+= UInt64(bytes.byteCount)
        ice?.receive(bytes, over: link, now: now)
        restart.offered?.receive(bytes, over: link, now: now)
        restart.previous?.receive(bytes, over: link, now: now)
        while let packet = ice?.nextRelayedPacket() ?? restart.previous?.nextRelayedPacket()
            ?? restart.offered?.nextRelayedPacket()
        {
            // Where only the peer's end is a relay's, what comes from there does so over it.
            let isRelayed = packet.isRelayed || isRelayed && route.map { $0.destination == packet.source } ?? false
            receivePacket(
                packet.payload.span.bytes, from: packet.source, to: packet.destination, isRelayed: isRelayed, now: now)
        }
        pumpICE()
    }

    /// Leaves the peer's relayed candidates alone from now on.
    public mutating func refuseRelays() { refusesRelays = true }

    /// Counts what goes over a relay. Where it would be more than may be the connection ends: `false`.
    mutating func spend(_ byteCount: Int) -> Bool {
        let (total, isHuge) = transport.bytesRelayed.addingReportingOverflow(UInt64(byteCount))
        guard !isHuge, total <= relayAllowance else {
            fail(.relayBudgetSpent, "\(transport.bytesRelayed) bytes went over relays, as many as may for a peer")
            return false
        }
        transport.bytesRelayed = total
        return true
    }

    /// The largest datagram of ours, so that what a relay puts around it fits as well.
    var datagramSize: Int { configuration.maxDatagramSize - (usesRelays ? TURNClient.channelOverhead : 0) }

    /// Takes what a TURN server sent; `false` for any other packet.
    mutating func receiveFromRelay(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) -> Bool {
        var result = ice?.unwrap(bytes, from: source, to: destination, now: now) ?? .direct
        if result == .direct {
            result = restart.previous?.unwrap(bytes, from: source, to: destination, now: now) ?? .direct
        }
        if result == .direct {
            result = restart.offered?.unwrap(bytes, from: source, to: destination, now: now) ?? .direct
        }
        switch result {
        case .direct:
            return false
        case .consumed:
            pumpICE()
        case .relayed(let peer, let address, let range):
            receivePacket(bytes.extracting(range), from: peer, to: address, isRelayed: true, now: now)
        }
        return true
    }

    /// Wraps what is to be sent, where the selected path starts at a relayed address.
    mutating func sendToRelay(_ pair: (source: SocketAddress, destination: SocketAddress), _ outbox: inout PeerOutbox) {
        let current = ice.peek { $0.relayRoute(from: pair.source) } ?? nil
        let previous = current == nil ? restart.previous.peek { $0.relayRoute(from: pair.source) } ?? nil : nil
        guard let route = current ?? previous else { return }
        var packets = PacketBuffer()
        swap(&packets, &outbox.packets)
        if current != nil {
            ice?.wrap(packets, from: pair.source, to: pair.destination, into: &outbox.packets)
        } else {
            restart.previous?.wrap(packets, from: pair.source, to: pair.destination, into: &outbox.packets)
        }
        outbox.route = (route.source, route.server)
        outbox.stream = route.stream
    }

    /// Ends an agent, whose last words are to its relays.
    mutating func closeAgent(_ leaving: consuming ICEAgent?) {
        var agent = leaving
        agent?.close()
        let ufrag = agent.peek { $0.localCredentials.ufrag }
        while let output = agent?.nextOutput() {
            switch output {
            case .transmit(let datagram): iceDatagrams.append(datagram)
            case .event(.relay(let request)): relayRequests.append(request)
            case .event(.ports(let request)): note(request, of: ufrag)
            case .event: break
            case .wait: return
            }
        }
    }
}
