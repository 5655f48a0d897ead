// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Names a socket or stream toward a TURN server, or a connection to or from the peer, that a driver keeps for an
/// agent.
public struct RelayLink: Hashable, Sendable {
    /// The fragment of the agent.
    public let ufrag: String
    /// Counts up within the agent.
    public let number: Int
}

/// What an agent wants of its driver for the sake of a relay, or of a pair over TCP.
///
/// A driver answers ``open(_:transport:to:name:from:)`` with ``ICEAgent/relayOpened(_:local:now:)`` or, at once or at
/// any time later, ``ICEAgent/relayClosed(_:_:now:)``. Datagrams from an opened socket come as all others do, with the
/// address that was told; bytes of a stream go to ``ICEAgent/receive(_:over:now:)`` as they come.
public enum RelayRequest: Hashable, Sendable {
    /// Open a way to a server: a fresh UDP socket, or a stream, under TLS with this name checked against the
    /// certificate (the server's address where there is none); for a pair over TCP a stream to the peer. `from` is the
    /// local address to bind, with any port.
    case open(RelayLink, transport: TURNServer.Transport, to: SocketAddress, name: String?, from: IPAddress?)
    /// Send bytes over a stream, after all that were sent before.
    case send(RelayLink, [UInt8])
    /// Close it once what was sent has left.
    case close(RelayLink)
}

/// How packets with a relayed address as their source leave this host: see ``ICEAgent/relayRoute(from:)``.
public struct RelayRoute: Hashable, Sendable {
    /// The stream that carries them; `nil` for datagrams.
    public let stream: RelayLink?
    /// The socket that datagrams leave from.
    public let source: SocketAddress
    /// The server.
    public let server: SocketAddress
}

extension ICEAgent {
    /// What became of a packet that may have come from a TURN server.
    public enum Unwrapped: Hashable, Sendable {
        /// It came straight from where it says.
        case direct
        /// It was for the agent itself.
        case consumed
        /// It holds a peer's packet, which came to the relayed address `to`.
        case relayed(from: SocketAddress, to: SocketAddress, Range<Int>)
    }

    /// A peer's packet that came over a stream.
    public struct RelayedPacket: Hashable, Sendable {
        /// The peer.
        public let source: SocketAddress
        /// The relayed address, or that of the base.
        public let destination: SocketAddress
        /// The packet.
        public let payload: [UInt8]
        /// Whether it came over a relay of ours, not over a connection with the peer.
        public let isRelayed: Bool
    }
}

/// One way to one TURN server, and what it gave.
struct Relay: Sendable {
    var client: TURNClient
    /// The link in use; `nil` where the socket is one of the agent's own.
    var link: RelayLink?
    /// Where datagrams to the server leave from, once that is known.
    var local: SocketAddress?
    /// The local address that the socket is bound to; `nil` for any.
    let socket: SocketAddress?
    /// The bases with its relayed addresses.
    var bases: [Int] = []
    /// What cuts the stream.
    var reader = TURNStreamReader()
    /// The driver does not have a socket or stream of it any more, or never had one.
    var isClosed = false

    var isStream: Bool { client.server.transport.isStream }
}
