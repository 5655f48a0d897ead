// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

/// A STUN and TURN server as one of the machines of a simulated network: the core that ships, with every socket that it
/// asks for. It costs an array a packet, which a driver with real sockets does not.
public struct RelayHost: ~Copyable, SansIO {
    /// What happens besides datagrams.
    public enum Event: Hashable, Sendable {
        /// Write these bytes to a client's stream.
        case write(RelayClient, [UInt8])
    }

    private var core: RelayCore
    private let outbox = RelayOutbox()
    private var ends: [RelaySocketID: SocketAddress] = [:]
    private var sockets: [SocketAddress: RelaySocketID] = [:]
    /// What cuts each client's stream.
    private var readers: [RelayClient: TURNStreamReader] = [:]
    private var outputs: [Output<Event>] = []
    private var nextIndex = 0

    /// A server that behaves so.
    public init(configuration: RelayConfiguration, entropy: Entropy) {
        core = RelayCore(configuration: configuration, entropy: entropy)
    }

    /// What the server has done and holds.
    public var metrics: RelayMetrics { core.metrics }

    /// Takes a datagram: from a peer where it came to a relayed address, else from a client.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        if let socket = sockets[destination] {
            core.receiveFromPeer(
                bytes, segment: bytes.byteCount, at: socket, from: source, now: now, into: outbox)
        } else {
            let client = RelayClient(transport: .udp, address: source, server: destination)
            core.receive(bytes, segment: bytes.byteCount, from: client, now: now, into: outbox)
        }
        settle(now)
    }

    /// Takes bytes of a client's stream; false where they are no messages, after which the stream is to be closed.
    public mutating func receive(_ bytes: RawSpan, onStreamOf client: RelayClient, now: Timestamp) -> Bool {
        var reader = readers.removeValue(forKey: client) ?? TURNStreamReader(channelBytes: core.channelBytes)
        reader.append(bytes)
        while let range = reader.next() {
            let message = reader.buffer.span.bytes.extracting(range)
            core.receive(message, segment: range.count, from: client, now: now, into: outbox)
        }
        readers[client] = reader
        settle(now)
        return !reader.isBroken
    }

    /// A client's stream is gone.
    public mutating func streamClosed(_ client: RelayClient, now: Timestamp) {
        readers[client] = nil
        core.streamClosed(client)
        settle(now)
    }

    /// Tells that time has passed.
    public mutating func handleTimeout(now: Timestamp) {
        core.handleTimeout(now: now)
        settle(now)
    }

    /// The next thing to do.
    public mutating func nextOutput() -> Output<Event> {
        if nextIndex < outputs.count {
            nextIndex += 1
            return outputs[nextIndex - 1]
        }
        outputs.removeAll(keepingCapacity: true)
        nextIndex = 0
        return .wait(until: core.nextDeadline)
    }

    private mutating func settle(_ now: Timestamp) {
        while let command = core.nextCommand() {
            switch command {
            case .open(let socket, let address):
                guard sockets[address] == nil else {
                    core.socketFailed(socket, now: now, into: outbox)
                    continue
                }
                sockets[address] = socket
                ends[socket] = address
                core.socketOpened(socket, now: now, into: outbox)
            case .close(let socket):
                if let address = ends.removeValue(forKey: socket) { sockets[address] = nil }
            }
        }
        var made: [Output<Event>] = []
        outbox.drain { train in
            let source: SocketAddress
            switch train.route {
            case .client(let client) where client.isStream:
                let bytes = train.packets.withUnsafeBytes { [UInt8]($0) }
                made.append(.event(.write(client, bytes)))
                return
            case .client(let client): source = client.server
            case .relayed(let socket):
                guard let end = ends[socket] else { return }
                source = end
            }
            for index in 0..<train.packets.count {
                let payload = [UInt8](copying: train.packets[index])
                made.append(
                    .transmit(Datagram(source: source, destination: train.destination, payload: payload)))
            }
            for _ in 0..<train.emptyPackets {
                made.append(.transmit(Datagram(source: source, destination: train.destination, payload: [])))
            }
        }
        outputs += made
    }
}
