// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Relay
internal import Wire

/// The STUN and TURN server of an encounter: the core that ships, on a host of a virtual network.
final class LabServer {
    /// RFC 8489 §18.6.
    static let port: UInt16 = 3478
    /// Whom the relay serves.
    static let credentials = LongTermCredentials(username: "lab", password: "on virtual time")

    let host: VirtualNetwork.HostID
    let address: SocketAddress
    private var relay: RelayHost
    private var clients: [VirtualNetwork.StreamID: RelayClient] = [:]
    private var streams: [RelayClient: VirtualNetwork.StreamID] = [:]
    private var connections: UInt32 = 0
    /// When it wants to be called.
    private(set) var deadline: Timestamp?

    /// A server on a host; without `relays` it answers Binding requests alone.
    init(on host: VirtualNetwork.HostID, in network: inout VirtualNetwork, relays: Bool, entropy: Entropy) {
        self.host = host
        address = SocketAddress(ip: network.addresses(of: host)[0], port: Self.port)
        var configuration = RelayConfiguration(
            users: RelayUsers(realm: "lab.invalid", users: relays ? [Self.credentials] : []))
        configuration.relayedV4 = .init(address.ip)
        // The laboratory's public addresses are those of examples.
        configuration.peers = .everything
        relay = RelayHost(configuration: configuration, entropy: entropy)
        if relays { network.listen(on: Self.port, at: host) }
    }

    /// Takes what arrived.
    func receive(_ event: VirtualNetwork.Event, _ wire: inout LabWire, now: Timestamp) {
        switch event {
        case .datagram(let datagram):
            relay.receive(
                datagram.payload.span.bytes, from: datagram.source, to: datagram.destination, now: now)
        case .stream(let stream, let event):
            receive(event, on: stream, &wire, now)
        case .unreachable:
            break
        }
    }

    private func receive(
        _ event: VirtualNetwork.StreamEvent, on stream: VirtualNetwork.StreamID, _ wire: inout LabWire, _ now: Timestamp
    ) {
        switch event {
        case .accepted(let local, let remote):
            connections += 1
            let client = RelayClient(transport: .tcp, address: remote, server: local, connection: connections)
            clients[stream] = client
            streams[client] = stream
        case .received(let bytes):
            guard let client = clients[stream] else { return }
            let isSound = relay.receive(bytes.span.bytes, onStreamOf: client, now: now)
            guard !isSound else { return }
            wire.network.close(stream, from: host, now: now)
            forget(stream, now)
        case .closed:
            forget(stream, now)
        case .connected, .failed:
            break
        }
    }

    private func forget(_ stream: VirtualNetwork.StreamID, _ now: Timestamp) {
        guard let client = clients.removeValue(forKey: stream) else { return }
        streams[client] = nil
        relay.streamClosed(client, now: now)
    }

    /// Lets it go on, and sends what it wants sent.
    func proceed(_ wire: inout LabWire, now: Timestamp) {
        if let deadline, deadline <= now { relay.handleTimeout(now: now) }
        while true {
            switch relay.nextOutput() {
            case .transmit(let datagram):
                wire.send(datagram, from: host, now: now)
            case .event(.write(let client, let bytes)):
                if let stream = streams[client] { wire.send(bytes, on: stream, from: host, now: now) }
            case .wait(let until):
                deadline = until
                return
            }
        }
    }
}
