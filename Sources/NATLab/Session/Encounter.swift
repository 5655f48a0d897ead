// SPDX-License-Identifier: Apache-2.0
public import ICE
internal import Wire

//   A ── boxes of A ──┐                     1. both gather, from the server and, where it is one, the relay
//                     ├── internet ── server 2. each is told the other's description and NAT: time zero
//   B ── boxes of B ──┘                     3. checks; once a pair works, data each way until it has arrived; a relayed
//                                              way is watched a while for a direct one in its place

/// Two ICE agents that try to meet on virtual time, each behind the boxes of a profile, with a server beside them.
///
/// The agents and the server, which is a relay where that is wanted, are those that ship. The same configuration and
/// profiles give the same packets.
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
        /// How the agents reach the server as a relay; not at all where empty.
        public var relays: [TURNServer.Transport] = []
        /// Whether each agent knows what its own NAT does and the other's, and helps itself with predicted ports and
        /// opening packets.
        public var knowsNATs = true
        /// Whether both agents let a direct pair take the place of a relayed one.
        public var renominates = true
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

    /// Has it take place. Where it fails, or takes a relay, it is repeated with every packet looked at, so that the
    /// result can say why.
    public func run() -> EncounterResult {
        var result = attempt(isObserving: configuration.recordsSteps).result
        if result.outcome != .direct, !configuration.recordsSteps { result = attempt(isObserving: true).result }
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

    /// How many ports are predicted where they follow each other: as many as a STUN server, a relay, candidates of the
    /// host and a neighbour may take in between.
    static let predictedPorts = 8
    /// Past two boxes of one's own, and not through the public network.
    static let openingHopLimit: UInt8 = 4
    /// How long a relayed way is watched for a direct one.
    static let relaySettling = Duration.seconds(3)

    private func attempt(
        isObserving: Bool
    ) -> (result: EncounterResult, observations: [PacketObservation], network: VirtualNetwork) {
        let run = EncounterRun(self, isObserving: isObserving)
        run.run()
        var result = run.result
        result.trace = run.agents.flatMap { agent in
            agent.decisions.map { EncounterResult.Decision(agent: agent.name, decision: $0) }
        }.sorted { $0.decision.time < $1.decision.time }
        var network = run.wire.network
        if network.isObserving {
            if result.outcome != .direct { result.causes = Self.causes(in: network) }
            result.steps = Self.steps(in: network)
            result.places = Self.places(run.agents, in: network)
        }
        return (result, network.takeObservations(), network)
    }

    /// What stopped packets, the most frequent first; but before those for addresses that nobody outside can reach,
    /// which say the least, come all others.
    private static func causes(in network: VirtualNetwork) -> [EncounterResult.Cause] {
        let all = DropSummary.all(in: network.observations)
        let telling = all.filter { $0.cause.kind != .noRoute } + all.filter { $0.cause.kind == .noRoute }
        return telling.prefix(6).map { EncounterResult.Cause(text: $0.words(in: network), packets: $0.count) }
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
