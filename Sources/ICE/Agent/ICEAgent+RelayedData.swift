// SPDX-License-Identifier: Apache-2.0
public import Wire

// Peers' packets on their way over relays:
//
//     datagram of a server ─unwrap─▶ STUN: receive · else: the owner's, without a copy
//     bytes of a stream ─receive(over:)─▶ STUN: here · else: nextRelayedPacket
//     packets of the owner ─wrap─▶ relayRoute
extension ICEAgent {
    // MARK: - Datagrams

    /// Whether packets may come from TURN servers at all; where not, ``unwrap(_:from:to:now:)`` need not be called.
    public var usesRelays: Bool { !relays.isEmpty }

    /// Looks whether a datagram came from a TURN server, and takes a peer's packet out of it. A packet with STUN in it
    /// is to be given to ``receive(_:from:to:now:)``, with the addresses told; that takes datagrams that were not
    /// unwrapped as well.
    public mutating func unwrap(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) -> Unwrapped {
        clock = max(clock, now)
        guard
            let index = relays.firstIndex(where: {
                !$0.isStream && !$0.isClosed && $0.local == destination && $0.client.address == source
            })
        else { return .direct }
        return unwrap(bytes, at: index)
    }

    private mutating func unwrap(_ bytes: RawSpan, at index: Int) -> Unwrapped {
        switch relays[index].client.receive(bytes, now: clock) {
        case .foreign:
            return .direct
        case .handled, .dropped:
            pumpRelay(index)
            return .consumed
        case .data(let peer, let range):
            guard let base = relays[index].bases.first(where: { bases[$0].address.ip.family == peer.ip.family }) else {
                counters.ignored += 1
                return .consumed
            }
            return .relayed(from: peer, to: bases[base].address, range)
        }
    }

    /// How packets from a relayed address leave; `nil` for an address of this host. With
    /// ``ICECandidatePair/localAddress`` of the selected pair it tells where data goes.
    public func relayRoute(from address: SocketAddress) -> RelayRoute? {
        guard let relay = relay(of: address) else { return nil }
        return RelayRoute(
            stream: relays[relay].isStream ? relays[relay].link : nil, source: relays[relay].local ?? .unspecified,
            server: relays[relay].client.address)
    }

    /// Writes packets from a relayed address to a peer as the server wants them; they are then for
    /// ``relayRoute(from:)``. Each grows by ``TURNClient/channelOverhead`` at most once the channel of the selected
    /// pair is bound.
    public mutating func wrap(
        _ packets: borrowing PacketBuffer, from address: SocketAddress, to peer: SocketAddress,
        into out: inout PacketBuffer
    ) {
        guard let relay = relay(of: address) else { return }
        relays[relay].client.wrap(
            packets, to: SocketAddress(ip: peer.ip.withoutScope, port: peer.port), into: &out)
    }

    private func relay(of address: SocketAddress) -> Int? {
        baseIndex(of: address).flatMap { bases[$0].relay }
    }

    // MARK: - Streams

    /// Takes bytes of a stream. Peers' packets that are no STUN wait in ``nextRelayedPacket()``, which must be asked
    /// before more is taken.
    public mutating func receive(_ bytes: RawSpan, over link: RelayLink, now: Timestamp) {
        clock = max(clock, now)
        guard let index = relays.firstIndex(where: { $0.link == link && !$0.isClosed }) else {
            return receiveFrames(bytes, over: link)
        }
        // What stays behind would be copied with the relay.
        var reader = TURNStreamReader()
        swap(&reader, &relays[index].reader)
        reader.append(bytes)
        while relays[index].link == link, let range = reader.next() {
            let message = reader.buffer.span.bytes.extracting(range)
            guard case .relayed(let peer, let address, let inner) = unwrap(message, at: index) else { continue }
            let payload = message.extracting(inner)
            if let first = payload.byte(at: 0), first > 3 {
                queue(
                    RelayedPacket(
                        source: peer, destination: address, payload: [UInt8](copying: payload), isRelayed: true))
            } else if let base = baseIndex(of: address) {
                receiveMessage(payload, from: peer, base: base)
            }
        }
        // Another server may have been turned to meanwhile.
        guard relays[index].link == link else { return }
        let isBroken = reader.isBroken
        swap(&reader, &relays[index].reader)
        guard isBroken else { return }
        relays[index].client.disconnected(.streamBroken, now: clock)
        pumpRelay(index)
    }

    /// Most packets that wait to be asked for: what one read of a socket can hold.
    private static let maximumRelayedPackets = 4096

    mutating func queue(_ packet: RelayedPacket) {
        if relayedPackets.count < Self.maximumRelayedPackets { relayedPackets.append(packet) }
    }

    /// The next packet that came over a stream and is no STUN.
    public mutating func nextRelayedPacket() -> RelayedPacket? {
        guard !relayedPackets.isEmpty else { return nil }
        defer {
            relayedHead += 1
            if relayedHead == relayedPackets.count {
                relayedPackets.removeAll(keepingCapacity: true)
                relayedHead = 0
            }
        }
        return relayedPackets[relayedHead]
    }
}
