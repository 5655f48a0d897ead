// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// One side of an encounter: an ICE agent on a host of a virtual network, its sockets and streams, and the data that it
/// sends once it may.
final class LabAgent {
    let host: VirtualNetwork.HostID
    /// What stands for it in results: A or B.
    let name: String
    private(set) var agent: ICEAgent
    /// When the agent wants to be called; `nil` for never.
    private(set) var deadline: Timestamp?
    /// The descriptions' candidates so far, and when there were no more.
    private(set) var candidates: [ICECandidate] = []
    private(set) var gatheredAt: Timestamp?
    /// When a pair worked first.
    private(set) var connectedAt: Timestamp?
    /// Where the latest data came from, as the wire has it.
    private(set) var dataSource: SocketAddress?
    /// Whether data came after both sides had made their choice.
    private(set) var hasFinalData = false
    /// Whether the agent has chosen another way since that was last taken note of.
    var hasChosen = false
    /// What the agent decided, where that is reported.
    private(set) var decisions: [ICEDecision] = []
    /// The states that the agent was in, and since when.
    private(set) var states: [(state: ICEAgent.State, since: Timestamp)] = []
    /// When data goes out next; it is repeated, as a first packet may find the other's filter closed.
    private var nextData = Timestamp.distantFuture
    private(set) var packets = 0
    private(set) var bytes = 0
    private let ip: IPAddress
    /// The port of the next socket or stream.
    private var nextPort = LabAgent.firstFurtherPort
    private var streams: [RelayLink: VirtualNetwork.StreamID] = [:]
    private var links: [VirtualNetwork.StreamID: RelayLink] = [:]

    /// RFC 6335 §6: ports that nobody is registered for.
    private static let port: UInt16 = 49_152
    private static let firstFurtherPort: UInt16 = 50_001
    private static let dataInterval = Duration.milliseconds(200)

    /// The payload of data. Its first byte is one of DTLS (RFC 7983 §7), the second tells whether the sender's choice
    /// is made.
    private static func data(isFinal: Bool) -> [UInt8] {
        [22, isFinal ? 1 : 0] + [UInt8](repeating: 22, count: 98)
    }

    init(
        _ name: String, on host: VirtualNetwork.HostID, in network: borrowing VirtualNetwork,
        configuration: ICEAgent.Configuration, entropy: Entropy, now: Timestamp
    ) {
        self.name = name
        self.host = host
        ip = network.addresses(of: host)[0]
        agent = ICEAgent(configuration: configuration, entropy: entropy)
        let addresses = network.addresses(of: host).map { SocketAddress(ip: $0, port: Self.port) }
        for address in ICEAgent.preferenceOrder(of: addresses) { agent.addLocalAddress(address, now: now) }
        agent.gather(now: now)
    }

    var state: ICEAgent.State { agent.state }
    var credentials: ICECredentials { agent.localCredentials }
    /// Whether the encounter is over for this side, well or not.
    var isSettled: Bool { state == .failed || state == .completed && hasFinalData }

    /// When this side is to be called.
    var nextDeadline: Timestamp? { [deadline, nextData == .distantFuture ? nil : nextData].compactMap { $0 }.min() }

    /// The kind of the selected pair's candidate of this side.
    var kind: String { agent.selectedPair.map { $0.local.kind.rawValue } ?? "" }

    /// Whether this side sends its data to a relay.
    var sendsToRelay: Bool { agent.selectedPair.map { agent.relayRoute(from: $0.localAddress) != nil } ?? false }

    /// Takes the peer's description.
    func accept(_ peer: LabAgent, knowing nat: NATBehavior?, renominates: Bool, now: Timestamp) {
        if let nat { agent.setRemoteNAT(nat) }
        if renominates { agent.allowRenomination() }
        // Credentials are fresh, and set once.
        try? agent.setRemote(
            credentials: peer.credentials, pacing: peer.agent.configuration.checkInterval, now: now)
        for candidate in peer.candidates { agent.addRemoteCandidate(candidate, now: now) }
        agent.endOfRemoteCandidates(now: now)
    }

    // MARK: - What arrives

    func receive(_ event: VirtualNetwork.Event, now: Timestamp) {
        switch event {
        case .datagram(let datagram): receive(datagram, now)
        case .unreachable(let source, let destination):
            agent.receiveUnreachable(destination, from: source, now: now)
        case .stream(let stream, let event):
            guard let link = links[stream] else { return }
            receive(event, of: stream, link, now)
        }
    }

    private func receive(_ datagram: Datagram, _ now: Timestamp) {
        let bytes = datagram.payload.span.bytes
        var (source, destination) = (datagram.source, datagram.destination)
        var range = 0..<datagram.payload.count
        if agent.usesRelays {
            switch agent.unwrap(bytes, from: source, to: destination, now: now) {
            case .direct: break
            case .consumed: return
            case .relayed(let peer, let relayed, let inner): (source, destination, range) = (peer, relayed, inner)
            }
        }
        let message = bytes.extracting(range)
        if STUNMessage.isSTUN(message) {
            agent.receive(message, from: source, to: destination, now: now)
        } else {
            take(Array(datagram.payload[range]), from: datagram.source)
        }
    }

    private func receive(
        _ event: VirtualNetwork.StreamEvent, of stream: VirtualNetwork.StreamID, _ link: RelayLink, _ now: Timestamp
    ) {
        switch event {
        case .connected(let local, _):
            agent.relayOpened(link, local: local, now: now)
        case .failed:
            forget(stream)
            agent.relayClosed(link, .unreachable, now: now)
        case .closed:
            forget(stream)
            agent.relayClosed(link, now: now)
        case .received(let bytes):
            agent.receive(bytes.span.bytes, over: link, now: now)
            while let packet = agent.nextRelayedPacket() {
                take(packet.payload, from: agent.relayRoute(from: packet.destination)?.server ?? packet.source)
            }
        case .accepted:
            break
        }
    }

    /// Takes data; `source` is where the wire has it from.
    private func take(_ payload: [UInt8], from source: SocketAddress) {
        guard payload.count > 1, payload[0] == 22 else { return }
        dataSource = source
        if payload[1] == 1 { hasFinalData = true }
    }

    // MARK: - What leaves

    /// Lets the agent and the data go on, and sends what they want sent.
    func proceed(_ wire: inout LabWire, now: Timestamp) {
        if let deadline, deadline <= now { agent.handleTimeout(now: now) }
        drain: while true {
            switch agent.nextOutput() {
            case .transmit(let datagram): send(datagram, &wire, now)
            case .event(let event): handle(event, &wire, now)
            case .wait(let until):
                deadline = until
                break drain
            }
        }
        guard nextData <= now, let pair = agent.selectedPair else { return }
        nextData = now + Self.dataInterval
        sendData(Self.data(isFinal: state == .completed), pair, &wire, now)
    }

    /// Has data flow until the other side has what was sent last.
    func restartData(now: Timestamp) {
        hasFinalData = false
        if connectedAt != nil { nextData = now }
    }

    /// Nothing more needs to be sent.
    func stopData() { nextData = .distantFuture }

    private func sendData(
        _ payload: [UInt8], _ pair: ICECandidatePair, _ wire: inout LabWire, _ now: Timestamp
    ) {
        guard let route = agent.relayRoute(from: pair.localAddress) else {
            send(Datagram(source: pair.localAddress, destination: pair.remoteAddress, payload: payload), &wire, now)
            return
        }
        var packets = PacketBuffer()
        var wrapped = PacketBuffer()
        packets.append(payload.span.bytes)
        agent.wrap(packets, from: pair.localAddress, to: pair.remoteAddress, into: &wrapped)
        for index in 0..<wrapped.count {
            let packet = [UInt8](copying: wrapped[index])
            if let link = route.stream {
                send(packet, over: link, &wire, now)
            } else {
                send(Datagram(source: route.source, destination: route.server, payload: packet), &wire, now)
            }
        }
    }

    private func send(_ datagram: Datagram, _ wire: inout LabWire, _ now: Timestamp) {
        packets += 1
        bytes += datagram.payload.count
        wire.send(datagram, from: host, now: now)
    }

    private func send(_ payload: [UInt8], over link: RelayLink, _ wire: inout LabWire, _ now: Timestamp) {
        guard let stream = streams[link] else { return }
        packets += 1
        bytes += payload.count
        wire.send(payload, on: stream, from: host, now: now)
    }

    private func handle(_ event: ICEAgent.Event, _ wire: inout LabWire, _ now: Timestamp) {
        switch event {
        case .localCandidate(let candidate): candidates.append(candidate)
        case .gatheringComplete: gatheredAt = now
        case .stateChanged(let state):
            states.append((state, now))
            if state == .connected || state == .completed {
                if connectedAt == nil { connectedAt = now }
                nextData = now
            }
        case .selectedPair: hasChosen = true
        case .decision(let decision): decisions.append(decision)
        case .relay(let request): serve(request, &wire, now)
        case .ports(.open(let count, let address, _, _)):
            let room = Int(UInt16.max - nextPort)
            let sockets = (0..<min(count, room)).map { SocketAddress(ip: address, port: nextPort + UInt16($0)) }
            nextPort += UInt16(sockets.count)
            agent.portsOpened(sockets, now: now)
        case .ports(.close):
            break
        }
    }

    private func serve(_ request: RelayRequest, _ wire: inout LabWire, _ now: Timestamp) {
        switch request {
        case .open(let link, let transport, let server, _, let address):
            let local = SocketAddress(ip: address ?? ip, port: nextPort)
            nextPort += 1
            guard transport.isStream else { return agent.relayOpened(link, local: local, now: now) }
            let stream = wire.network.connect(from: local, of: host, to: server, now: now)
            streams[link] = stream
            links[stream] = link
        case .send(let link, let payload):
            send(payload, over: link, &wire, now)
        case .close(let link):
            guard let stream = streams[link] else { return }
            wire.network.close(stream, from: host, now: now)
            forget(stream)
        }
    }

    private func forget(_ stream: VirtualNetwork.StreamID) {
        if let link = links.removeValue(forKey: stream) { streams[link] = nil }
    }
}
