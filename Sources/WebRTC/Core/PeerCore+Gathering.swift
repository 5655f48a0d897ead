// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

// The first agent of a connection gathers when an offer is made or taken, or before, where candidates are to be there
// by then:
//
//     prepare ──▶ gathering, told to nobody ──start──▶ what was found is told
//                                           └─abort──▶ sockets and relays are given back
extension PeerCore {
    /// Begins to gather on these sockets before it is known who makes the offer (W3C's `iceCandidatePoolSize`). Answers
    /// whether that was possible: not on a connection that has begun or ended.
    public mutating func prepare(
        localAddresses: [SocketAddress], servers: [SocketAddress], turnServers: [TURNServer] = [], now: Timestamp
    ) -> Bool {
        guard side == nil, state == .new, !hasAgent else { return false }
        gather(as: .controlling, localAddresses, servers: servers, turnServers: turnServers, now: now)
        pumpICE()
        return true
    }

    /// Whether ``prepare(localAddresses:servers:turnServers:now:)`` was called, and no offer made or taken since.
    public var isPrepared: Bool { side == nil && state == .new && hasAgent }

    var hasAgent: Bool { ice.peek { _ in true } ?? false }

    /// How many ports after the one that a server saw are checked, where the peer's NAT takes the next for each
    /// destination: the checks of the pairs before, and what else is open behind that NAT meanwhile, take some.
    private static let predictedPorts = 8

    /// How far packets go that open our NAT: past a home router and an operator's NAT, which stand within the first
    /// hops, and not as far as the peer's.
    private static let openingHopLimit: UInt8 = 4

    /// Makes the first agent.
    mutating func gather(
        as role: ICEAgent.Role, _ localAddresses: [SocketAddress], servers: [SocketAddress], turnServers: [TURNServer],
        now: Timestamp
    ) {
        var settings = ICEAgent.Configuration()
        settings.role = role
        settings.allowsLoopback = configuration.includesLoopback
        settings.checkInterval = configuration.checkInterval
        settings.hidesHostAddresses = configuration.hidesHostAddresses
        settings.gatheringTimeout = configuration.gatheringTimeout
        settings.pacTimeout = configuration.patience
        settings.stunServers = servers
        settings.turnServers = turnServers
        usesRelays = !turnServers.isEmpty
        settings.transportPolicy = configuration.transportPolicy
        settings.localNAT = configuration.localNAT
        settings.birthdayBudget = configuration.birthdayBudget
        settings.tcpCandidates = configuration.tcpCandidates
        settings.predictedPorts = Self.predictedPorts
        // Who knows of a NAT has looked into it; others check at once.
        if configuration.localNAT != nil { settings.openingHopLimit = Self.openingHopLimit }
        // Sockets are shared with other connections.
        settings.opensRelaySockets = true
        settings.reportsDecisions = configuration.reportsDecisions
        iceSettings = settings
        restart.addresses = localAddresses
        ice = makeAgent(settings, localAddresses, now: now)
    }

    /// Goes on with the agent that gathered ahead, and tells what it has found.
    mutating func takePool(as role: ICEAgent.Role) {
        ice?.setRole(role)
        iceSettings?.role = role
        for candidate in ice.peek({ $0.localCandidates }) ?? [] {
            report(candidate, ufrag: ice.peek { $0.localCredentials.ufrag })
        }
        if isGatheringComplete { events.append(.gatheringComplete) }
    }

    /// An agent that gathers.
    mutating func makeAgent(
        _ settings: ICEAgent.Configuration, _ localAddresses: [SocketAddress], now: Timestamp
    ) -> ICEAgent {
        var settings = settings
        settings.hostNames = knownHostNames
        var agent = ICEAgent(configuration: settings, entropy: entropy.split())
        for address in localAddresses { agent.addLocalAddress(address, now: now) }
        for address in listeners { agent.addLocalListener(address, now: now) }
        agent.gather(now: now)
        return agent
    }
}
