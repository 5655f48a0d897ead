// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

// A pair over TCP: packets in frames of RFC 4571, over a connection that the agents know by its link.
extension PeerCore {
    /// Tells that somebody has connected to one of ``listeners`` and names a fragment of ours in its first check.
    /// Answers the connection's name; `nil` where it is to be closed.
    public mutating func streamAccepted(
        for ufrag: String, from source: SocketAddress, to local: SocketAddress, now: Timestamp
    ) -> RelayLink? {
        func isFor(_ agent: borrowing ICEAgent) -> Bool { agent.localCredentials.ufrag == ufrag }
        defer { pumpICE() }
        if ice.peek(isFor) ?? false { return ice?.streamAccepted(from: source, to: local, now: now) }
        if restart.offered.peek(isFor) ?? false {
            return restart.offered?.streamAccepted(from: source, to: local, now: now)
        }
        // A path that is about to be left needs no other.
        return nil
    }

    /// Whether the path to the peer has lost its address, or its connection for good, so that only a restart helps.
    public var needsRestart: Bool {
        // See ``localDescription``.
        mutating get {
            guard !closing.peerHasClosed, state == .connected || state == .disconnected else { return false }
            return ice.peek { $0.needsRestart } ?? false
        }
    }

    /// Frames what is to be sent, where the selected path is a connection.
    mutating func sendOverStream(
        _ pair: (source: SocketAddress, destination: SocketAddress), _ outbox: inout PeerOutbox
    ) {
        let current = ice.peek { $0.stream(from: pair.source, to: pair.destination) } ?? nil
        let previous = restart.previous.peek { $0.stream(from: pair.source, to: pair.destination) } ?? nil
        var packets = PacketBuffer()
        swap(&packets, &outbox.packets)
        outbox.stream = current ?? previous
        if outbox.stream != nil {
            lastStream = outbox.stream
        } else if state == .closed || state == .failed {
            // The agent has let go of it, and the driver closes it behind what is sent now: the good-bye.
            outbox.stream = lastStream.take()
        }
        if outbox.stream != nil { FrameReader.frame(packets, into: &outbox.packets) }
    }
}
