// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Where packets leave.
public enum RelayExit: Hashable, Sendable {
    /// From the server's own address to a client, on a datagram socket or a stream.
    case client(RelayClient)
    /// From a relayed address to a peer.
    case relayed(RelaySocketID)
}

/// Packets of one way, in order: what a driver hands to the kernel with one call. On a stream the bytes follow each
/// other as they are.
public final class RelayTrain {
    /// Where they leave.
    public fileprivate(set) var route: RelayExit
    /// Where they go.
    public fileprivate(set) var destination: SocketAddress
    /// Whether they must not be fragmented (RFC 8656 §14).
    public fileprivate(set) var dontFragment: Bool
    /// The packets.
    public internal(set) var packets = PacketBuffer()
    /// Datagrams without any payload, which have no place among ``packets``; they follow these.
    public internal(set) var emptyPackets = 0

    fileprivate init(_ route: RelayExit, _ destination: SocketAddress, _ dontFragment: Bool) {
        self.route = route
        self.destination = destination
        self.dontFragment = dontFragment
    }

    /// Appends a packet as it is.
    @inline(__always)
    func append(_ packet: RawSpan) {
        if packet.byteCount == 0 { emptyPackets += 1 } else { packets.append(packet) }
    }
}

/// What a core has to send, gathered while it takes a batch of packets in. It keeps its memory from one batch to the
/// next, so that relaying allocates nothing.
public final class RelayOutbox {
    /// Trains that keep their memory while nothing is to be sent.
    private static let kept = 16

    private var trains: [RelayTrain] = []
    /// How many trains wait.
    public private(set) var count = 0

    /// An empty outbox.
    public init() {}

    /// Passes each train to `body`, and forgets it.
    public func drain(_ body: (RelayTrain) -> Void) {
        for index in 0..<count {
            let train = trains[index]
            body(train)
            if index < Self.kept { train.packets.removeAll() } else { train.packets.release() }
            train.emptyPackets = 0
        }
        count = 0
    }

    /// The train of a way: one that waits, or a new one.
    func train(_ route: RelayExit, to destination: SocketAddress, dontFragment: Bool = false) -> RelayTrain {
        // The newest first: packets of one way mostly come together.
        for train in trains[..<count].reversed()
        where train.destination == destination && train.route == route && train.dontFragment == dontFragment {
            return train
        }
        if count == trains.count {
            trains.append(RelayTrain(route, destination, dontFragment))
        } else {
            trains[count].route = route
            trains[count].destination = destination
            trains[count].dontFragment = dontFragment
        }
        count += 1
        return trains[count - 1]
    }
}
