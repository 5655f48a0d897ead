// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// Agents, NATs and STUN servers on virtual time. One seed and one script give one log.
final class Simulation {
    /// What lies between any two hosts.
    struct Link {
        var latency = Duration.milliseconds(5)
        /// Up to so much more, at random; packets overtake each other then.
        var jitter = Duration.zero
        /// The part of packets that is lost.
        var loss = 0.0
    }

    /// What a STUN server does.
    enum Server {
        case answers
        /// Answers with MAPPED-ADDRESS, as before RFC 5389.
        case classic
        case refuses
        case silent
    }

    private(set) var now = Timestamp.zero
    private(set) var peers: [SimulatedPeer] = []
    private(set) var log: [String] = []
    var link = Link()
    var servers: [SocketAddress: Server] = [:]
    /// TURN servers; all packets to their addresses are theirs.
    var relays: [TURNServerDouble] = []
    /// What bytes of streams are cut into, at random.
    var longestRead = 700
    private var streams: [RelayLink: (peer: SimulatedPeer, server: SocketAddress, reader: TURNStreamReader)] = [:]
    /// Drops what it answers true for, before chance does.
    var drops: (Datagram) -> Bool = { _ in false }
    /// Changes packets on their way.
    var rewrites: (inout Datagram) -> Void = { _ in }
    private var entropy: Entropy
    private var queue: [(time: Timestamp, order: Int, action: () -> Void)] = []
    private var order = 0
    private var nextSocket: UInt16 = 7000

    init(seed: UInt64) {
        entropy = Entropy(seed: seed)
    }

    /// Adds a host with an agent; its addresses are private if it stands behind a NAT.
    func addPeer(
        _ name: String, addresses: [SocketAddress], behind nat: SimulatedNAT? = nil,
        _ configure: (inout ICEAgent.Configuration) -> Void = { _ in }
    ) -> SimulatedPeer {
        var configuration = ICEAgent.Configuration()
        configuration.reportsDecisions = true
        configure(&configuration)
        let peer = SimulatedPeer(
            name: name, nat: nat, addresses: addresses,
            agent: ICEAgent(configuration: configuration, entropy: entropy.split()))
        peers.append(peer)
        for address in addresses { peer.agent.addLocalAddress(address, now: now) }
        return peer
    }

    /// Does something later.
    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        order += 1
        let time = now + delay
        let index = queue.lastIndex { $0.time <= time }.map { $0 + 1 } ?? 0
        queue.insert((time, order, action), at: index)
    }

    /// Full offer and answer: each side is told once gathering is complete, `signalling` later.
    func connect(_ offerer: SimulatedPeer, _ answerer: SimulatedPeer, signalling: Duration = .milliseconds(20)) {
        answerer.agent.setRole(.controlled)
        offerer.whenGathered = { [unowned self, unowned offerer, unowned answerer] in
            after(signalling) {
                answerer.take(descriptionOf: offerer, now: self.now)
                answerer.whenGathered = {
                    self.after(signalling) { offerer.take(descriptionOf: answerer, now: self.now) }
                }
                answerer.agent.gather(now: self.now)
            }
        }
        offerer.agent.gather(now: now)
        run(for: .zero)
    }

    /// Offer and answer at once, candidates as they are found.
    func trickle(_ offerer: SimulatedPeer, _ answerer: SimulatedPeer, signalling: Duration = .milliseconds(20)) {
        answerer.agent.setRole(.controlled)
        for (peer, other) in [(offerer, answerer), (answerer, offerer)] {
            peer.onCandidate = { [unowned self, unowned other] candidate in
                after(signalling) { other.agent.addRemoteCandidate(candidate, now: self.now) }
            }
            peer.whenGathered = { [unowned self, unowned other] in
                after(signalling) { other.agent.endOfRemoteCandidates(now: self.now) }
            }
        }
        after(signalling) {
            try? answerer.agent.setRemote(credentials: offerer.agent.localCredentials, now: self.now)
            answerer.agent.gather(now: self.now)
            self.after(signalling) {
                try? offerer.agent.setRemote(credentials: answerer.agent.localCredentials, now: self.now)
            }
        }
        offerer.agent.gather(now: now)
        run(for: .zero)
    }

    /// Lets time pass.
    func run(for duration: Duration) { run(until: now + duration) { false } }

    /// Lets time pass until `isDone`, or the limit; answers whether it was done.
    @discardableResult
    func run(for duration: Duration, until isDone: () -> Bool) -> Bool { run(until: now + duration, isDone) }

    @discardableResult
    private func run(until limit: Timestamp, _ isDone: () -> Bool) -> Bool {
        while true {
            for peer in peers { drain(peer) }
            if isDone() { return true }
            let deadline = peers.compactMap(\.deadline).min()
            let next = min(queue.first?.time ?? .distantFuture, deadline ?? .distantFuture)
            guard next <= limit else {
                now = max(now, limit)
                return isDone()
            }
            precondition(deadline.map { $0 > now } ?? true, "an agent waits for a time that has passed")
            now = max(now, next)
            while let first = queue.first, first.time <= now {
                queue.removeFirst()
                first.action()
            }
            for peer in peers {
                if let deadline = peer.deadline, deadline <= now { peer.agent.handleTimeout(now: now) }
            }
        }
    }

    private func drain(_ peer: SimulatedPeer) {
        while true {
            switch peer.agent.nextOutput() {
            case .transmit(let datagram): send(datagram, from: peer)
            case .event(.relay(let request)): serve(request, of: peer)
            case .event(let event): peer.take(event, now: now)
            case .wait(let deadline):
                peer.deadline = deadline
                return
            }
        }
    }

    // MARK: The network

    private func send(_ original: Datagram, from peer: SimulatedPeer) {
        peer.sent.append((now, original))
        var datagram = original
        rewrites(&datagram)
        log.append("\(now) \(datagram.source) > \(datagram.destination) \(datagram.payload)")
        guard !drops(datagram) else { return }
        guard Double(entropy.next() >> 11) / 0x1p53 >= link.loss else { return }
        let jitter = link.jitter.nanoseconds
        let delay = jitter == 0 ? 0 : Int64(entropy.next() % UInt64(jitter))
        let isLocal = peers.contains { $0.nat === peer.nat && $0.addresses.contains(datagram.destination) }
        if let nat = peer.nat, !isLocal { datagram.source = nat.outbound(datagram) }
        // It ends on its way, behind the NAT of whoever sent it.
        guard datagram.hopLimit == nil || isLocal else { return }
        after(link.latency + .nanoseconds(delay)) { [unowned self] in
            arrive(datagram, at: isLocal ? peer.nat : nil)
        }
    }

    /// A datagram is at its destination's network: a site, or the public one.
    private func arrive(_ datagram: Datagram, at site: SimulatedNAT?) {
        if let relay = relays.first(where: { $0.owns(datagram.destination.ip) }), site == nil {
            let isServer = datagram.destination.port == 3478
            act(
                isServer
                    ? relay.receive(
                        datagram.payload, from: "\(datagram.source)", mapped: datagram.source, now: now)
                    : relay.receive(datagram, now: now), of: relay)
        } else if let server = servers[datagram.destination], site == nil {
            serve(datagram, server)
        } else if let nat = peers.compactMap(\.nat).first(where: { $0.ip == datagram.destination.ip }), site == nil {
            guard let inside = nat.inbound(datagram) else { return }
            let translated = Datagram(source: datagram.source, destination: inside, payload: datagram.payload)
            deliver(translated, to: peers.first { $0.nat === nat && $0.addresses.contains(inside) })
        } else {
            deliver(datagram, to: peers.first { $0.nat === site && $0.addresses.contains(datagram.destination) })
        }
    }

    private func deliver(_ datagram: Datagram, to peer: SimulatedPeer?) {
        guard let peer else { return }
        peer.receive(datagram, now: now)
    }

    // MARK: TURN servers

    /// Sends what a TURN server wants sent.
    private func act(_ actions: [TURNServerDouble.Action], of relay: TURNServerDouble) {
        for action in actions {
            switch action {
            case .toClient(let client, let bytes):
                if let link = streams.keys.first(where: { "\($0)" == client }) {
                    after(link: link, bytes)
                } else if let destination = SocketAddress(client) {
                    let source = SocketAddress(ip: relay.ip, port: 3478)
                    travel(Datagram(source: source, destination: destination, payload: bytes))
                }
            case .toPeer(let datagram): travel(datagram)
            }
        }
    }

    /// A packet of a server's, which may be lost as any.
    private func travel(_ datagram: Datagram) {
        log.append("\(now) \(datagram.source) > \(datagram.destination) \(datagram.payload)")
        guard !drops(datagram), Double(entropy.next() >> 11) / 0x1p53 >= link.loss else { return }
        after(link.latency) { [unowned self] in arrive(datagram, at: nil) }
    }

    /// Bytes of a stream toward a client, in pieces; none is lost.
    private func after(link: RelayLink, _ bytes: [UInt8]) {
        after(self.link.latency) { [unowned self] in
            var rest = bytes[...]
            while !rest.isEmpty, let stream = streams[link] {
                let piece = Array(rest.prefix(1 + Int(entropy.next() % UInt64(longestRead))))
                rest = rest.dropFirst(piece.count)
                stream.peer.receive(piece, over: link, now: now)
            }
        }
    }

    /// Does what an agent wants of its driver.
    private func serve(_ request: RelayRequest, of peer: SimulatedPeer) {
        switch request {
        case .open(let link, .udp, _, _, let ip):
            nextSocket += 1
            let local = SocketAddress(ip: ip ?? .anyV4, port: nextSocket)
            peer.addresses.append(local)
            after(.zero) { [unowned self] in peer.agent.relayOpened(link, local: local, now: self.now) }
        case .open(let link, _, let server, _, _):
            guard let relay = relays.first(where: { $0.owns(server.ip) }), !relay.isSilent else { return }
            streams[link] = (peer, server, TURNStreamReader())
            peer.streamsOpened += 1
            // A handshake takes one round trip.
            after(link: 2) { [unowned self] in
                let local = SocketAddress(ip: peer.addresses[0].ip, port: 9)
                peer.agent.relayOpened(link, local: local, now: self.now)
            }
        case .send(let link, let bytes):
            guard let stream = streams[link], let relay = relays.first(where: { $0.owns(stream.server.ip) }) else {
                return
            }
            peer.streamed.append(bytes)
            after(link: 1) { [unowned self] in
                guard streams[link] != nil else { return }
                streams[link]?.reader.append(bytes.span.bytes)
                while let range = streams[link]?.reader.next() {
                    let message = Array((streams[link]?.reader.buffer ?? [])[range])
                    let outside = SocketAddress(ip: peer.nat?.ip ?? peer.addresses[0].ip, port: 1)
                    act(relay.receive(message, from: "\(link)", mapped: outside, now: now), of: relay)
                }
            }
        case .close(let link):
            peer.streamsClosed += streams[link] == nil ? 0 : 1
            after(link: 1) { [unowned self] in streams[link] = nil }
        }
    }

    /// Does something some trips later.
    private func after(link trips: Int, _ action: @escaping () -> Void) {
        after(link.latency * trips, action)
    }

    /// Sends what a stack above an agent would.
    func inject(_ datagram: Datagram, from peer: SimulatedPeer) { send(datagram, from: peer) }

    /// Sends what a stack above an agent would over a stream.
    func inject(_ request: RelayRequest, from peer: SimulatedPeer) { serve(request, of: peer) }

    /// The server cuts a stream.
    func cutStreams(of peer: SimulatedPeer) {
        for link in streams.keys where streams[link]?.peer === peer {
            streams[link] = nil
            peer.agent.relayClosed(link, now: now)
        }
    }

    private func serve(_ datagram: Datagram, _ server: Server) {
        guard let request = try? decode(datagram.payload) else { return }
        var response = STUNMessage(server == .refuses ? .error : .success, transactionID: request.transactionID)
        switch server {
        case .silent: return
        case .refuses: response.append(STUNErrorCode(500, "Server Error"))
        case .answers: response.append(xorAddress: datagram.source)
        case .classic:
            let port = datagram.source.port
            response.attributes.append(
                STUNAttribute(
                    .mappedAddress, [0, 1, UInt8(port >> 8), UInt8(port & 0xFF)] + datagram.source.ip.bytes))
        }
        let reply = Datagram(
            source: datagram.destination, destination: datagram.source, payload: response.encoded(fingerprint: false))
        after(link.latency) { [unowned self] in arrive(reply, at: nil) }
    }
}

/// A host with an agent and what it reported.
final class SimulatedPeer {
    let name: String
    let nat: SimulatedNAT?
    var addresses: [SocketAddress]
    var agent: ICEAgent
    var deadline: Timestamp?
    var states: [(time: Timestamp, state: ICEAgent.State)] = []
    var decisions: [ICEDecision] = []
    var selections: [ICECandidatePair] = []
    var candidates: [ICECandidate] = []
    var sent: [(time: Timestamp, datagram: Datagram)] = []
    /// What left over streams, and how many there were.
    var streamed: [[UInt8]] = []
    var streamsOpened = 0
    var streamsClosed = 0
    /// Packets that are no STUN, with source and destination.
    var data: [Datagram] = []
    var gatheredAt: Timestamp?
    var onCandidate: (ICECandidate) -> Void = { _ in }
    var whenGathered: () -> Void = {}

    init(name: String, nat: SimulatedNAT?, addresses: [SocketAddress], agent: consuming ICEAgent) {
        self.name = name
        self.nat = nat
        self.addresses = addresses
        self.agent = agent
    }

    // The macros of Testing cannot look into what is not copyable.
    var state: ICEAgent.State { agent.state }
    var role: ICEAgent.Role { agent.role }
    var pair: ICECandidatePair? { agent.selectedPair }
    var pairs: [ICECandidatePair] { agent.candidatePairs }
    var counters: ICEAgent.Counters { agent.counters }
    var remoteCandidates: [ICECandidate] { agent.remoteCandidates }
    func mayReceiveData(from source: SocketAddress, to destination: SocketAddress) -> Bool {
        agent.mayReceiveData(from: source, to: destination)
    }

    var actions: [ICEDecision.Action] { decisions.map(\.action) }

    func take(_ event: ICEAgent.Event, now: Timestamp) {
        switch event {
        case .stateChanged(let state): states.append((now, state))
        case .localCandidate(let candidate):
            candidates.append(candidate)
            onCandidate(candidate)
        case .gatheringComplete:
            gatheredAt = now
            whenGathered()
        case .selectedPair(let pair): selections.append(pair)
        case .relay, .ports: break
        case .decision(let decision): decisions.append(decision)
        }
    }

    /// Takes a datagram as a whole stack would: what is no STUN is data.
    func receive(_ datagram: Datagram, now: Timestamp) {
        datagram.payload.withSpan { bytes in
            switch agent.unwrap(bytes, from: datagram.source, to: datagram.destination, now: now) {
            case .consumed:
                break
            case .direct:
                take(bytes, from: datagram.source, to: datagram.destination, now: now)
            case .relayed(let source, let destination, let range):
                take(bytes.extracting(range), from: source, to: destination, now: now)
            }
        }
    }

    func receive(_ bytes: [UInt8], over link: RelayLink, now: Timestamp) {
        bytes.withSpan { agent.receive($0, over: link, now: now) }
        while let packet = agent.nextRelayedPacket() {
            data.append(Datagram(source: packet.source, destination: packet.destination, payload: packet.payload))
        }
    }

    private func take(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp) {
        if STUNMessage.isSTUN(bytes) {
            agent.receive(bytes, from: source, to: destination, now: now)
        } else if agent.mayReceiveData(from: source, to: destination) {
            data.append(Datagram(source: source, destination: destination, payload: [UInt8](copying: bytes)))
        }
    }

    /// Takes all that a full description would carry.
    func take(descriptionOf other: SimulatedPeer, now: Timestamp) {
        try? agent.setRemote(credentials: other.agent.localCredentials, now: now)
        for candidate in other.candidates { agent.addRemoteCandidate(candidate, now: now) }
        agent.endOfRemoteCandidates(now: now)
    }

    /// When a state was first reported.
    func time(of state: ICEAgent.State) -> Timestamp? { states.first { $0.state == state }?.time }

    /// The messages sent, read.
    var messages: [(time: Timestamp, message: STUNMessage, to: SocketAddress)] {
        sent.compactMap { entry in
            (try? decode(entry.datagram.payload)).map { (entry.time, $0, entry.datagram.destination) }
        }
    }
}

/// A NAT with the two behaviours that decide hole punching (RFC 4787 §4.1, §5).
final class SimulatedNAT {
    enum Dependence { case endpointIndependent, addressAndPortDependent }
    let ip: IPAddress
    let mapping: Dependence
    let filtering: Dependence
    private var mappings: [(inside: SocketAddress, remote: SocketAddress?, port: UInt16)] = []
    private var permitted: Set<[SocketAddress]> = []
    private var nextPort: UInt16 = 50_000
    /// Whether a stranger's packet to a port is taken for its owner, as Linux does without a firewall: our own host
    /// gets another port toward that stranger then.
    private let isLeaky: Bool
    private var leaks: Set<[SocketAddress]> = []

    init(_ ip: IPAddress, mapping: Dependence, filtering: Dependence, isLeaky: Bool = false) {
        self.ip = ip
        self.mapping = mapping
        self.filtering = filtering
        self.isLeaky = isLeaky
    }

    func outbound(_ datagram: Datagram) -> SocketAddress {
        let usual = mappings.first { $0.inside == datagram.source && $0.remote == nil }
        let isTaken =
            usual.map { leaks.contains([SocketAddress(ip: ip, port: $0.port), datagram.destination]) } ?? false
        let remote = mapping == .endpointIndependent && !isTaken ? nil : datagram.destination
        let port: UInt16
        if let known = mappings.first(where: { $0.inside == datagram.source && $0.remote == remote }) {
            port = known.port
        } else {
            port = nextPort
            nextPort += 1
            mappings.append((datagram.source, remote, port))
        }
        let outside = SocketAddress(ip: ip, port: port)
        permitted.insert([outside, datagram.destination])
        return outside
    }

    func inbound(_ datagram: Datagram) -> SocketAddress? {
        guard let entry = mappings.first(where: { $0.port == datagram.destination.port }) else { return nil }
        guard filtering == .endpointIndependent || permitted.contains([datagram.destination, datagram.source]) else {
            if isLeaky { leaks.insert([datagram.destination, datagram.source]) }
            return nil
        }
        return entry.inside
    }
}
