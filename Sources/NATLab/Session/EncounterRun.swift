// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// An encounter while it takes place.
final class EncounterRun {
    let configuration: Encounter.Configuration
    private let profiles: [NATProfile]
    var wire: LabWire
    let agents: [LabAgent]
    let server: LabServer
    private(set) var now = Timestamp.zero
    /// When both sides knew both descriptions.
    private(set) var metAt: Timestamp?
    private var signalAt: Timestamp?
    /// When both sides had settled on what they have.
    private var settledAt: Timestamp?

    init(_ encounter: Encounter, isObserving: Bool) {
        let configuration = encounter.configuration
        let profiles = [encounter.offerer, encounter.answerer]
        self.configuration = configuration
        self.profiles = profiles
        var network = VirtualNetwork(seed: configuration.seed)
        network.isObserving = isObserving
        let place = network.addHost("server", link: configuration.serverLink)
        let hosts = zip(["A", "B"], profiles).map { name, profile in
            let segment = profile.kind == .open ? .internet : network.addNAT(profile, name: "NAT \(name)")
            return network.addHost(name, on: segment, link: configuration.link)
        }
        var entropy = Entropy(seed: configuration.seed)
        let streams = [entropy.split(), entropy.split()]
        let server = LabServer(
            on: place, in: &network, relays: !configuration.relays.isEmpty, entropy: entropy.split())
        agents = hosts.indices.map { index in
            var settings = configuration.agent
            settings.role = index == 0 ? .controlling : .controlled
            settings.stunServers = [server.address]
            settings.turnServers = configuration.relays.map {
                TURNServer(address: server.address, transport: $0, credentials: LabServer.credentials)
            }
            if configuration.knowsNATs {
                settings.localNAT = profiles[index].overallBehavior
                settings.predictedPorts = max(settings.predictedPorts, Encounter.predictedPorts)
                settings.openingHopLimit = settings.openingHopLimit ?? Encounter.openingHopLimit
            }
            return LabAgent(
                index == 0 ? "A" : "B", on: hosts[index], in: network, configuration: settings,
                entropy: streams[index], now: .zero)
        }
        self.server = server
        wire = LabWire(network)
    }

    /// Lets time pass until both sides have what they came for, or one has failed.
    func run() {
        proceed(until: Timestamp(nanoseconds: configuration.limit.nanoseconds)) { $0.isOver }
    }

    /// Lets time pass until a time, or until `isOver`.
    func proceed(until limit: Timestamp, isOver: (EncounterRun) -> Bool = { _ in false }) {
        while true {
            for agent in agents { agent.proceed(&wire, now: now) }
            server.proceed(&wire, now: now)
            if signal() { continue }
            noteChoices()
            if isOver(self) { return }
            let wanted = [agents[0].nextDeadline, agents[1].nextDeadline, server.deadline, signalAt, nextLook]
            let deadline = min(wanted.compactMap { $0 }.min() ?? .distantFuture, limit)
            if let arrival = wire.nextArrival(until: max(deadline, now)) {
                now = max(now, arrival.time)
                if arrival.host == server.host {
                    server.receive(arrival.event, &wire, now: now)
                } else {
                    agents.first { $0.host == arrival.host }?.receive(arrival.event, now: now)
                }
            } else if deadline >= limit {
                now = max(now, limit)
                return
            } else {
                now = max(now, deadline)
            }
        }
    }

    /// Brings the descriptions over, once both are complete and their time has come. Answers whether it did.
    private func signal() -> Bool {
        guard metAt == nil else { return false }
        if signalAt == nil, agents.allSatisfy({ $0.gatheredAt != nil }) {
            signalAt = now + configuration.signallingDelay
        }
        guard let due = signalAt, due <= now else { return false }
        signalAt = nil
        metAt = now
        for index in agents.indices {
            agents[index].accept(
                agents[1 - index], knowing: configuration.knowsNATs ? profiles[1 - index].overallBehavior : nil,
                renominates: configuration.renominates, now: now)
        }
        return true
    }

    /// Where a side has chosen another way, both sides' data has to arrive anew.
    private func noteChoices() {
        if agents.contains(where: \.hasChosen) {
            for agent in agents {
                agent.hasChosen = false
                agent.restartData(now: now)
            }
            settledAt = nil
        } else if settledAt == nil, agents.allSatisfy({ $0.isSettled }) {
            settledAt = now
            for agent in agents { agent.stopData() }
        }
    }

    /// Whether data takes a way with a relay in it.
    var isRelayed: Bool { agents.contains { $0.sendsToRelay || $0.dataSource?.ip == server.address.ip } }

    /// Whether nothing more is to come: a direct way, or a relayed one that had time to be replaced.
    private var isOver: Bool {
        if agents.contains(where: { $0.state == .failed }) { return true }
        guard let settledAt else { return false }
        return !isRelayed || !configuration.renominates || now >= settledAt + relaySettling
    }

    /// When it may be over though nothing happens.
    private var nextLook: Timestamp? { settledAt.map { $0 + relaySettling }.flatMap { $0 > now ? $0 : nil } }

    private var relaySettling: Duration {
        max(Encounter.relaySettling, configuration.agent.birthdayBudget?.duration ?? .zero)
    }

    /// What came of it.
    var result: EncounterResult {
        let hasMet = agents.allSatisfy { $0.dataSource != nil && $0.state != .failed }
        var result = EncounterResult(!hasMet ? .failed : isRelayed ? .relayed : .direct)
        result.gathering = agents.compactMap { $0.gatheredAt.map { $0 - .zero } }
        result.packets = agents.reduce(0) { $0 + $1.packets }
        result.bytes = agents.reduce(0) { $0 + $1.bytes }
        result.probes = agents.reduce(0) { $0 + $1.agent.counters.probesSent }
        result.digest = wire.digest
        if hasMet, let metAt {
            result.pair = "\(agents[0].kind)–\(agents[1].kind)"
            result.timeToConnect = agents.compactMap(\.connectedAt).max().map { $0 - metAt }
        }
        return result
    }
}

extension NATProfile {
    /// What the boxes do together, as the agents tell each other: on each count the least friendly one. `nil` where no
    /// UDP passes.
    var overallBehavior: NATBehavior? {
        var overall = NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent)
        for box in [self] + outer {
            switch box.kind {
            case .udpBlocked:
                return nil
            case .open:
                continue
            case .firewall:
                overall.filtering = overall.filtering.or(box.behavior.filtering)
            case .nat:
                overall.filtering = overall.filtering.or(box.behavior.filtering)
                // Where mappings depend on the destination, it is the last such box that chooses the port.
                if box.behavior.mapping != .endpointIndependent || overall.mapping == .endpointIndependent {
                    overall.allocation = box.behavior.allocation
                }
                overall.mapping = overall.mapping.or(box.behavior.mapping)
            }
        }
        return overall
    }
}

extension NATBehavior.Dependence {
    /// That of the two which depends on more.
    fileprivate func or(_ other: Self) -> Self {
        let all = Self.allCases
        return (all.firstIndex(of: self) ?? 0) < (all.firstIndex(of: other) ?? 0) ? other : self
    }
}
