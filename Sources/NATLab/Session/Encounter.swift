// SPDX-License-Identifier: Apache-2.0
public import ICE
internal import Wire

//   A ── boxes of A ──┐                     1. both gather, from the STUN server
//                     ├── internet ── server 2. each is told the other's description: time zero
//   B ── boxes of B ──┘                     3. checks; once a pair works, data each way until it has arrived

/// Two ICE agents that try to meet on virtual time, each behind the boxes of a profile, with a server beside them.
///
/// The agents are the ones that ship. The same configuration and profiles give the same packets.
public struct Encounter: Sendable {
    /// What holds for an encounter beside the two profiles.
    public struct Configuration: Sendable {
        /// What all randomness grows from.
        public var seed: UInt64 = 1
        /// The link of each host.
        public var link = AccessLink(LinkConditions(delay: .milliseconds(10)))
        /// The link of the server.
        public var serverLink = AccessLink(LinkConditions(delay: .milliseconds(5)))
        /// How long the descriptions take to the other side, once both are complete.
        public var signallingDelay = Duration.zero
        /// What the agents are told, but for roles, servers and the like.
        public var agent = ICEAgent.Configuration()
        /// When an encounter that came to no end is taken for failed.
        public var limit = Duration.seconds(60)
        /// Whether the result has the packets' steps.
        public var recordsSteps = false

        /// The values above.
        public init() {}
    }

    /// The offerer's boxes.
    public let offerer: NATProfile
    /// The answerer's boxes.
    public let answerer: NATProfile
    /// The rest.
    public let configuration: Configuration

    /// An encounter that has not taken place.
    public init(_ offerer: NATProfile, _ answerer: NATProfile, configuration: Configuration = Configuration()) {
        self.offerer = offerer
        self.answerer = answerer
        self.configuration = configuration
    }

    /// Has it take place. Where it fails it is repeated with every packet looked at, so that the result can say why.
    public func run() -> EncounterResult {
        var result = attempt(isObserving: configuration.recordsSteps).result
        if result.outcome == .failed, !configuration.recordsSteps { result = attempt(isObserving: true).result }
        if !configuration.recordsSteps {
            result.steps = []
            result.places = []
        }
        return result
    }

    /// Every packet at every place, in order, and the network that they were in.
    public func observe() -> (result: EncounterResult, observations: [PacketObservation], network: VirtualNetwork) {
        attempt(isObserving: true)
    }

    /// RFC 8489 §18.6.
    private static let stunPort: UInt16 = 3478

    private func attempt(
        isObserving: Bool
    ) -> (result: EncounterResult, observations: [PacketObservation], network: VirtualNetwork) {
        var network = VirtualNetwork(seed: configuration.seed)
        network.isObserving = isObserving
        let server = network.addHost("server", link: configuration.serverLink)
        let hosts = [("A", offerer), ("B", answerer)].map { name, profile in
            let segment = profile.kind == .open ? .internet : network.addNAT(profile, name: "NAT \(name)")
            return network.addHost(name, on: segment, link: configuration.link)
        }
        let serverAddress = SocketAddress(ip: network.addresses(of: server)[0], port: Self.stunPort)
        var entropy = Entropy(seed: configuration.seed)
        var now = Timestamp.zero
        let agents = zip(["A", "B"], hosts).map { name, host in
            var settings = configuration.agent
            settings.role = name == "A" ? .controlling : .controlled
            settings.stunServers = [serverAddress]
            return LabAgent(name, on: host, in: network, configuration: settings, entropy: entropy.split(), now: now)
        }
        var metAt: Timestamp?
        var signalAt: Timestamp?
        while true {
            for agent in agents { agent.proceed(&network, now: now) }
            if metAt == nil, signalAt == nil, agents.allSatisfy({ $0.gatheredAt != nil }) {
                signalAt = now + configuration.signallingDelay
            }
            if let due = signalAt, due <= now {
                signalAt = nil
                metAt = now
                agents[0].accept(agents[1], now: now)
                agents[1].accept(agents[0], now: now)
                continue
            }
            if agents.allSatisfy({ $0.isSettled }) || now.nanoseconds > configuration.limit.nanoseconds { break }
            let wanted = (agents.compactMap(\.nextDeadline) + [signalAt].compactMap { $0 }).min() ?? .distantFuture
            let limit = max(wanted, now)
            if let arrival = network.nextArrival(until: limit) {
                now = max(now, arrival.time)
                deliver(arrival, agents, server, &network)
            } else if limit == .distantFuture {
                break
            } else {
                now = limit
            }
        }
        let result = judge(agents, server: serverAddress, metAt: metAt, network)
        return (result, network.takeObservations(), network)
    }

    private func deliver(
        _ arrival: VirtualNetwork.Arrival, _ agents: [LabAgent], _ server: VirtualNetwork.HostID,
        _ network: inout VirtualNetwork
    ) {
        guard case .datagram(let datagram) = arrival.event else { return }
        if arrival.host == server {
            answer(datagram, from: server, &network, arrival.time)
        } else {
            agents.first { $0.host == arrival.host }?.receive(datagram, now: arrival.time)
        }
    }

    /// The server's part: Binding alone.
    private func answer(
        _ datagram: Datagram, from server: VirtualNetwork.HostID, _ network: inout VirtualNetwork, _ now: Timestamp
    ) {
        guard let request = try? STUNMessage(decoding: datagram.payload.span.bytes), request.method == .binding,
            request.messageClass == .request
        else { return }
        var response = STUNMessage(.success, transactionID: request.transactionID)
        response.append(xorAddress: datagram.source)
        network.send(
            Datagram(source: datagram.destination, destination: datagram.source, payload: response.encoded()),
            from: server, now: now)
    }

    private func judge(
        _ agents: [LabAgent], server: SocketAddress, metAt: Timestamp?, _ network: VirtualNetwork
    ) -> EncounterResult {
        let hasMet = agents.allSatisfy { $0.dataArrivedAt != nil }
        let isRelayed = agents.contains { $0.dataSource?.ip == server.ip }
        var result = EncounterResult(!hasMet ? .failed : isRelayed ? .relayed : .direct)
        result.gathering = agents.compactMap { $0.gatheredAt.map { $0 - .zero } }
        result.packets = agents.reduce(0) { $0 + $1.packets }
        result.bytes = agents.reduce(0) { $0 + $1.bytes }
        if hasMet, let metAt {
            result.pair = "\(agents[0].kind)–\(agents[1].kind)"
            result.timeToConnect = agents.compactMap(\.connectedAt).max().map { $0 - metAt }
        }
        guard network.isObserving else { return result }
        if !hasMet { result.causes = Self.causes(in: network) }
        result.steps = Self.steps(in: network)
        result.places = Self.places(agents, in: network)
        return result
    }

    /// What stopped packets, the most frequent first.
    private static func causes(in network: VirtualNetwork) -> [EncounterResult.Cause] {
        DropSummary.all(in: network.observations).prefix(6).map {
            EncounterResult.Cause(text: $0.words(in: network), packets: $0.count)
        }
    }

    /// The packets from place to place: hosts, boxes and the public network.
    private static func steps(in network: VirtualNetwork) -> [EncounterResult.Step] {
        var last: [UInt64: String] = [:]
        var steps: [EncounterResult.Step] = []
        for observation in network.observations {
            let place =
                switch observation.place {
                case .host(let id): network.name(of: .host(id))
                case .inside(let id), .outside(let id): network.name(of: .nat(id))
                case .internet: "internet"
                case .uplink(let element), .downlink(let element): network.name(of: element)
                }
            let from = last.updateValue(place, forKey: observation.packet) ?? place
            guard from != place || observation.drop != nil else { continue }
            steps.append(
                EncounterResult.Step(
                    time: observation.time, from: from, to: place, label: label(observation.payload),
                    dropped: observation.drop?.description))
        }
        return steps
    }

    /// From the offerer outward, through the public network, and inward to the answerer.
    private static func places(_ agents: [LabAgent], in network: VirtualNetwork) -> [String] {
        func way(_ agent: LabAgent) -> [String] {
            let boxes = network.boxes(outwardFrom: network.segment(of: agent.host))
            return [agent.name] + boxes.map { network.name(of: .nat($0)) }
        }
        return way(agents[0]) + ["internet", "server"] + way(agents[1]).reversed()
    }

    private static func label(_ payload: [UInt8]) -> String {
        guard let message = try? STUNMessage(decoding: payload.span.bytes) else { return "data" }
        let purpose = message.hasUseCandidate ? ", USE-CANDIDATE" : ""
        let kind =
            switch message.messageClass {
            case .request: "request"
            case .indication: "indication"
            case .success: "success"
            case .error: "error \(message.errorCode?.code ?? 0)"
            }
        return "\(message.method.name) \(kind)\(purpose)"
    }
}

extension NATMatrix {
    /// Has every profile meet every other on virtual time.
    public static func simulate(
        _ profiles: [NATProfile], title: String, configuration: Encounter.Configuration = .init()
    ) -> NATMatrix {
        var matrix = NATMatrix(title: title, profiles: profiles.map(\.name))
        for row in profiles.indices {
            for column in profiles.indices {
                matrix[row, column] = Encounter(profiles[row], profiles[column], configuration: configuration).run()
            }
        }
        return matrix
    }
}
