// SPDX-License-Identifier: Apache-2.0
public import ICE
public import SCTP
public import Wire

/// What a ``PeerCore`` has for its driver after a call. The driver keeps one and hands it in again, so that nothing is
/// allocated a packet.
public struct PeerOutbox: ~Copyable, Sendable {
    /// Datagrams of ICE, each with its own path.
    public var datagrams: [Datagram] = []
    /// DTLS datagrams, all for ``route``, or messages for ``stream``.
    public var packets = PacketBuffer()
    /// The selected path as the next hop sees it, `nil` before there is one: over a relay it leads to the server.
    public var route: (source: SocketAddress, destination: SocketAddress)?
    /// The stream to a relay that the packets go over, where there is one; ``route`` does not count then.
    public var stream: RelayLink?
    /// Sockets and streams toward relays that are to be opened, and bytes for them.
    public var relayRequests: [RelayRequest] = []
    /// Sockets for guessing ports that are to be opened and closed.
    public var portRequests: [PeerPortRequest] = []
    /// What happened, in order.
    public var events: [PeerCore.Event] = []
    /// The channel and kind of a message that arrived after those events; its bytes are in ``message``.
    public var arrival: (channel: PeerCore.ChannelKey, isText: Bool)?
    /// The bytes of that message.
    public var message = MessageBuffer()
    /// When the core wants to be told the time next.
    public var deadline: Timestamp?
    /// Whether more events or messages wait.
    public var hasMore = false

    /// An empty outbox.
    public init() {}

    /// Shows the message's bytes.
    public func withMessage(_ body: (RawSpan) -> Void) {
        body(message.bytes)
    }

    /// Forgets what was sent and told. The packets' memory is given back for other connections to use.
    public mutating func removeAll() {
        datagrams.removeAll(keepingCapacity: true)
        relayRequests.removeAll(keepingCapacity: true)
        portRequests.removeAll(keepingCapacity: true)
        packets.release()
        events.removeAll(keepingCapacity: true)
        arrival = nil
        hasMore = false
    }
}
