// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import ICE
internal import NetIO
public import Wire

//   answerer ◀── offerer's description          time zero: the offer is with the answerer
//   answerer ──"accepted"──▶ offerer ◀── answerer's description
//   both ── checks, then data every 10 ms ──▶ both have the other's data: connected
//   counters of the public segment set back, 100 ms of data: which way they take

/// Two agents, programs of their own in namespaces of the kernel, that try to meet.
public struct KernelEncounter {
    /// A side of it.
    public struct Side {
        /// Where it is.
        public let host: KernelNetwork.Host
        /// The box before it.
        public let profile: NATProfile
        /// What runs there.
        public let program: AgentProgram

        /// A side from its parts.
        public init(_ host: KernelNetwork.Host, _ profile: NATProfile, _ program: AgentProgram) {
            self.host = host
            self.profile = profile
            self.program = program
        }
    }

    /// What holds for an encounter beside its sides.
    public struct Configuration: Sendable {
        /// The server that tells agents their addresses.
        public var stunServer: SocketAddress
        /// What agents may relay through.
        public var relays: [AgentRelay] = []
        /// Whether agents are told what their NAT does, as a probe before would have.
        public var tellsBehaviors = true
        /// How long agents may gather.
        public var gatheringLimit: Duration = .seconds(12)
        /// How long agents may try.
        public var limit: Duration = .seconds(5)

        /// Without relays.
        public init(stunServer: SocketAddress) { self.stunServer = stunServer }
    }

    private let network: KernelNetwork
    private let offerer: Side
    private let answerer: Side
    private let configuration: Configuration

    /// How long the way of data is watched: agents send 1200 bytes every 10 ms, of which checks that still go on are
    /// few.
    private static let watch = Duration.milliseconds(100)

    /// An encounter that has not taken place.
    public init(_ network: KernelNetwork, _ offerer: Side, _ answerer: Side, _ configuration: Configuration) {
        self.network = network
        self.offerer = offerer
        self.answerer = answerer
        self.configuration = configuration
    }

    /// Has it take place.
    public func run() throws -> EncounterResult {
        let boxes = network.boxes(before: offerer.host) + network.boxes(before: answerer.host)
        try network.resetTraffic(boxes: boxes)
        let offering = try start(offerer, .controlling)
        let answering = try start(answerer, .controlled)
        let gatheringEnd = MonotonicClock.now + configuration.gatheringLimit
        guard let offer = offering.wait(for: "description", until: gatheringEnd),
            let answer = answering.wait(for: "description", until: gatheringEnd)
        else {
            var result = EncounterResult(.failed)
            result.causes = [.init(text: "an agent did not tell its candidates in time", packets: 0)]
            return result
        }
        let start = MonotonicClock.systemNanoseconds
        let deadline = MonotonicClock.now + configuration.limit
        answering.program.send(offer.serialized())
        _ = answering.wait(for: "accepted", until: deadline)
        offering.program.send(answer.serialized())
        let agents = [offering, answering]
        let arrivals = agents.map { agent in
            agent.wait(for: "data", until: deadline).flatMap { _ in agent.time(of: "data") }
        }
        var result = EncounterResult(.failed)
        result.gathering = [offer, answer].compactMap { $0["gathering"]?.integer.map { .nanoseconds($0) } }
        for flow in try network.publicTraffic() {
            result.packets += flow.packets
            result.bytes += flow.bytes
        }
        guard let first = arrivals[0], let second = arrivals[1] else {
            result.causes = try causes(boxes)
            return result
        }
        result.timeToConnect = .nanoseconds(max(first, second) - start)
        for agent in agents { _ = agent.wait(for: "connected", until: deadline) }
        result.pair = agents.map { $0.events["connected"]?["local"]?.string ?? "" }.joined(separator: "–")
        result.outcome = try path(boxes)
        return result
    }

    private func start(_ side: Side, _ role: ICEAgent.Role) throws -> AgentProcess {
        var arguments = side.program.arguments + ["--role", role.rawValue]
        if let address = side.host.addresses.first { arguments += ["--address", "\(address)"] }
        arguments += ["--stun", "\(configuration.stunServer)"]
        for relay in relays(for: side) { arguments += ["--turn", relay.text] }
        if let credentials = configuration.relays.first?.credentials {
            arguments += ["--user", credentials.username, "--password", credentials.password]
        }
        if configuration.tellsBehaviors, side.program.knowsBehaviors, let behavior = side.profile.effectiveBehavior {
            arguments += ["--nat", "\(behavior)"]
        }
        return AgentProcess(
            try network.run(side.program.program, arguments, standardError: .inherited, at: side.host))
    }

    private func relays(for side: Side) -> [AgentRelay] {
        guard !side.program.takesSeveralRelays else { return configuration.relays }
        let blocksUDP = ([side.profile] + side.profile.outer).contains { $0.kind == .udpBlocked }
        let one = configuration.relays.first { $0.transport.isStream == blocksUDP }
        return (one ?? configuration.relays.first).map { [$0] } ?? []
    }

    /// Which way data takes now.
    private func path(_ boxes: [String]) throws -> EncounterResult.Outcome {
        try network.resetTraffic(boxes: boxes)
        poll(nil, 0, Int32(Self.watch.nanoseconds / 1_000_000))
        let paths = try network.paths(between: offerer.host, and: answerer.host)
        return paths.throughServer > paths.direct + paths.inside ? .relayed : .direct
    }

    /// What boxes did not let through, most of it first.
    private func causes(_ boxes: [String]) throws -> [EncounterResult.Cause] {
        var causes: [EncounterResult.Cause] = []
        for box in boxes {
            let report = try network.report(ofBox: box)
            for flow in report.dropped {
                let own = report.mappings.filter {
                    $0.outer.ip == flow.destination.ip && $0.remote.ip == flow.source.ip
                }
                var text = "\(box) dropped \(flow.packets) packets from \(flow.source) to \(flow.destination)"
                if let mapping = own.first { text += "; its mapping toward \(mapping.remote) is \(mapping.outer)" }
                causes.append(.init(text: text, packets: flow.packets))
            }
        }
        return Array(causes.sorted { $0.packets > $1.packets }.prefix(6))
    }
}

extension NATProfile {
    /// What several boxes in a row do together, for a host behind them; `nil` where UDP is blocked.
    var effectiveBehavior: NATBehavior? {
        let boxes = ([self] + outer).filter { $0.kind != .open }
        guard !boxes.contains(where: { $0.kind == .udpBlocked }) else { return nil }
        func hardest(_ part: (NATBehavior) -> NATBehavior.Dependence, of boxes: [NATProfile]) -> NATBehavior.Dependence
        {
            NATBehavior.Dependence.allCases.last { one in boxes.contains { part($0.behavior) == one } }
                ?? .endpointIndependent
        }
        let translating = boxes.filter { $0.kind == .nat }
        let allocation =
            translating.contains { $0.behavior.allocation == .random }
            ? NATBehavior.Allocation.random
            : translating.contains { $0.behavior.allocation == .sequential } ? .sequential : .preserving
        return NATBehavior(
            mapping: hardest(\.mapping, of: translating), filtering: hardest(\.filtering, of: boxes),
            allocation: allocation)
    }
}
