// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Probing for ports that nobody can tell")
struct BirthdayProbingTests {
    static let stun = address("198.51.100.1:3478")
    static let peerAddress = address("203.0.113.2:50000")
    static let random = NATBehavior(
        mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random)
    static let restricted = NATBehavior(mapping: .endpointIndependent, filtering: .addressAndPortDependent)

    /// An agent that knows both NATs, its own reflexive address and the peer's.
    private static func agent(
        own: NATBehavior?, other: NATBehavior?, role: ICEAgent.Role = .controlling, budget: ICEAgent.BirthdayBudget?,
        hopLimit: UInt8? = nil
    ) throws -> ScriptedPeer {
        let peer = ScriptedPeer(role: role) {
            $0.stunServers = [stun]
            $0.localNAT = own
            $0.birthdayBudget = budget
            $0.openingHopLimit = hopLimit
        }
        if let other { peer.agent.setRemoteNAT(other) }
        peer.agent.gather(now: peer.now)
        peer.drain()
        let request = try #require(peer.takeRequests().first)
        var answer = STUNMessage(.success, transactionID: request.transactionID)
        answer.append(xorAddress: address("203.0.113.1:40000"))
        peer.receive(answer.encoded(), from: stun)
        peer.start(candidates: [peer.candidate("203.0.113.2:50000", kind: .serverReflexive, priority: 1_694_498_815)])
        return peer
    }

    private static func budget(ports: Int = 384, probes: Int = 1500) -> ICEAgent.BirthdayBudget {
        var budget = ICEAgent.BirthdayBudget()
        (budget.ports, budget.probes) = (ports, probes)
        return budget
    }

    private static func requests(_ peer: ScriptedPeer) -> [PortRequest] {
        peer.events.compactMap { if case .ports(let request) = $0 { request } else { nil } }
    }

    private static func sockets(_ count: Int) -> [SocketAddress] {
        (0..<count).map { SocketAddress(ip: address("192.0.2.1:1").ip, port: UInt16(20_000 + $0)) }
    }

    @Test("one side sends a check to each of so many ports, in time, and then no more")
    func guessing() throws {
        let peer = try Self.agent(own: Self.restricted, other: Self.random, budget: Self.budget(probes: 200))
        peer.advance(.seconds(1))
        #expect(peer.counters.probesSent == 0, "not without leave")
        #expect(
            Self.requests(peer) == [.open(count: 0, at: peer.local.ip, toward: Self.peerAddress.ip, packets: 200)])
        peer.agent.portsOpened([], now: peer.now)
        peer.drain()
        let began = peer.now
        peer.advance(.seconds(3))
        let probes = peer.sent.filter { $0.datagram.destination.ip == Self.peerAddress.ip }
            .filter { $0.datagram.destination != Self.peerAddress }
        #expect(probes.count == 200)
        #expect(Set(probes.map(\.datagram.destination.port)).count == 200)
        #expect(probes.allSatisfy { $0.datagram.destination.port >= 1024 && $0.datagram.source == peer.local })
        #expect(zip(probes, probes.dropFirst()).allSatisfy { $1.time - $0.time >= .milliseconds(5) })
        #expect(probes.last.map { $0.time - began < .milliseconds(1100) } == true)
        let key = Array(peer.credentials.password.utf8)
        for probe in probes {
            let message = try STUNMessage(decoding: probe.datagram.payload.span.bytes)
            #expect(message.messageClass == .request && message.fingerprint == .valid)
            let isAuthentic = message.isAuthentic(probe.datagram.payload.span.bytes, key: key, algorithm: .sha1)
            #expect(isAuthentic)
        }
        #expect(peer.counters.probesSent == 200 && Self.requests(peer).count == 1)
        peer.advance(.seconds(20))
        #expect(peer.counters.probesSent == 200)
        #expect(Self.requests(peer).last == .close([]))
        #expect(peer.actions.contains(.probingEnded(packets: 200, reached: false)))
    }

    @Test("the other side sends one check from each port that the driver opens, and gives all back at the end")
    func opening() throws {
        let peer = try Self.agent(own: Self.random, other: Self.restricted, budget: Self.budget(ports: 50), hopLimit: 4)
        #expect(Self.requests(peer) == [.open(count: 50, at: peer.local.ip, toward: Self.peerAddress.ip, packets: 50)])
        let sockets = Self.sockets(40)
        peer.agent.portsOpened(sockets, now: peer.now)
        peer.drain()
        peer.advance(.seconds(9))
        let probes = peer.sent.filter { sockets.contains($0.datagram.source) }
        #expect(probes.map(\.datagram.source) == sockets)
        #expect(probes.allSatisfy { $0.datagram.destination == Self.peerAddress && $0.datagram.hopLimit == 4 })
        #expect(Self.requests(peer).count == 1)
        peer.advance(.seconds(1))
        #expect(Self.requests(peer).last == .close(sockets))
        #expect(peer.localCandidates.count == 2)
    }

    @Test(
        "a check that comes to an opened port is answered and followed by one from there; the others are closed",
        arguments: [ICEAgent.Role.controlling, .controlled])
    func hit(role: ICEAgent.Role) throws {
        let peer = try Self.agent(own: Self.random, other: Self.restricted, role: role, budget: Self.budget(ports: 20))
        let sockets = Self.sockets(20)
        peer.agent.portsOpened(sockets, now: peer.now)
        peer.drain()
        peer.advance(.milliseconds(200))
        peer.sent.removeAll { _ in true }
        // Whoever has no password opens nothing.
        peer.receive(peer.check(password: "wrong"), from: Self.peerAddress, to: sockets[7])
        peer.receive([0, 1, 2], from: Self.peerAddress, to: sockets[7])
        #expect(peer.sent.isEmpty && peer.localCandidates.count == 2)
        peer.receive(
            peer.check { if role == .controlled { $0.append(.useCandidate) } }, from: Self.peerAddress, to: sockets[7])
        peer.advance(.milliseconds(100))
        let fromThere = peer.sent.filter { $0.datagram.source == sockets[7] }.compactMap {
            try? decode($0.datagram.payload)
        }
        #expect(fromThere.map(\.messageClass) == [.success, .request])
        peer.sent.removeAll { _ in true }
        let request = try #require(fromThere.last)
        peer.receive(
            peer.response(to: request, mapped: address("203.0.113.1:51234")), from: Self.peerAddress, to: sockets[7])
        peer.drain()
        if role == .controlling {
            let nomination = try #require(
                peer.sent.compactMap { try? decode($0.datagram.payload) }.first { $0.hasUseCandidate })
            peer.receive(
                peer.response(to: nomination, mapped: address("203.0.113.1:51234")), from: Self.peerAddress,
                to: sockets[7])
        }
        #expect(peer.state == .completed)
        #expect(peer.pair?.localAddress == sockets[7] && peer.pair?.remoteAddress == Self.peerAddress)
        let mayReceive = [7, 8].map { peer.agent.mayReceiveData(from: Self.peerAddress, to: sockets[$0]) }
        #expect(mayReceive == [true, false])
        #expect(Self.requests(peer).last == .close(sockets.filter { $0 != sockets[7] }))
        // Nobody was told of the port.
        #expect(peer.events.count { if case .localCandidate = $0 { true } else { false } } == 2)
    }

    @Test("a driver that opens ports too late closes them again")
    func late() throws {
        let peer = try Self.agent(own: Self.random, other: Self.restricted, budget: Self.budget(ports: 5))
        peer.advance(.seconds(11))
        peer.agent.portsOpened(Self.sockets(5), now: peer.now)
        peer.drain()
        #expect(Self.requests(peer).last == .close(Self.sockets(5)))
        #expect(peer.counters.probesSent == 0)
        let closed = try Self.agent(own: Self.random, other: Self.restricted, budget: Self.budget(ports: 5))
        closed.agent.portsOpened(Self.sockets(5), now: closed.now)
        closed.agent.close()
        closed.drain()
        #expect(Self.requests(closed).last == .close(Self.sockets(5)))
    }

    @Test("whoever is refused sends nothing, and a relayed pair is not kept waiting", arguments: [true, false])
    func refused(opens: Bool) throws {
        let (own, other) = opens ? (Self.random, Self.restricted) : (Self.restricted, Self.random)
        let peer = try Self.agent(own: own, other: other, budget: Self.budget())
        #expect(Self.requests(peer).count == 1)
        peer.agent.portsRefused(now: peer.now)
        peer.drain()
        #expect(peer.actions.contains(.probingRefused(Self.peerAddress)))
        peer.advance(.seconds(11))
        #expect(peer.counters.probesSent == 0 && Self.requests(peer).count == 1)
    }

    @Test("nothing is probed without a budget, or where it is not needed or cannot work")
    func notProbed() throws {
        let sequential = NATBehavior(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential)
        let addressOnly = NATBehavior(mapping: .endpointIndependent, filtering: .addressDependent)
        let cases: [(own: NATBehavior?, other: NATBehavior?, budget: ICEAgent.BirthdayBudget?)] = [
            (Self.restricted, Self.random, nil), (Self.random, Self.restricted, nil),
            (nil, Self.random, Self.budget()), (Self.restricted, nil, Self.budget()),
            (Self.random, Self.random, Self.budget()), (Self.restricted, Self.restricted, Self.budget()),
            (Self.restricted, sequential, Self.budget()), (addressOnly, Self.random, Self.budget()),
        ]
        for (own, other, budget) in cases {
            let peer = try Self.agent(own: own, other: other, budget: budget)
            peer.advance(.seconds(2))
            #expect(peer.counters.probesSent == 0 && Self.requests(peer).isEmpty)
        }
    }
}
