// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("NATs that are hard to pass")
struct HardNATTests {
    static let stun = address("198.51.100.1:3478")
    static let sequential = NATBehavior(
        mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential)
    static let restricted = NATBehavior(mapping: .endpointIndependent, filtering: .addressAndPortDependent)

    /// A site whose ports depend on the destination, one after the other, and one that filters by port.
    private func sites(
        seed: UInt64, easyOffers: Bool, predicted: Int, latency: Duration = .milliseconds(5)
    ) -> (net: Simulation, offerer: SimulatedPeer, answerer: SimulatedPeer, easy: SimulatedPeer) {
        let net = Simulation(seed: seed)
        net.servers = [Self.stun: .answers]
        net.link.latency = latency
        let easyNAT = SimulatedNAT(
            .v4(0xCB00_7101), mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        let hardNAT = SimulatedNAT(
            .v4(0xCB00_7102), mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
        let easy = net.addPeer("easy", addresses: [address("10.0.0.1:5000")], behind: easyNAT) {
            $0.stunServers = [Self.stun]
            $0.localNAT = Self.restricted
            $0.predictedPorts = predicted
        }
        let hard = net.addPeer("hard", addresses: [address("10.1.0.1:6000")], behind: hardNAT) {
            $0.stunServers = [Self.stun]
            $0.localNAT = Self.sequential
            $0.predictedPorts = predicted
        }
        easy.agent.setRemoteNAT(Self.sequential)
        hard.agent.setRemoteNAT(Self.restricted)
        return easyOffers ? (net, easy, hard, easy) : (net, hard, easy, easy)
    }

    @Test(
        "ports that follow each other are met, whoever offers, and without prediction they are not",
        arguments: [(true, 8), (false, 8), (true, 0), (false, 0)])
    func sequential(easyOffers: Bool, predicted: Int) {
        let (net, offerer, answerer, easy) = sites(seed: 1, easyOffers: easyOffers, predicted: predicted)
        net.connect(offerer, answerer)
        let connects = net.run(for: .seconds(30)) { offerer.state == .completed && answerer.state == .completed }
        #expect(connects == (predicted > 0))
        let guesses = easy.actions.count { if case .remoteCandidateFound(_, .predicted) = $0 { true } else { false } }
        #expect(guesses == predicted)
        #expect(easy.remoteCandidates.count <= 2 + predicted)
        if predicted > 0 {
            #expect(easy.pair?.remoteAddress.ip == .v4(0xCB00_7102))
            #expect(easy.time(of: .connected).map { $0.nanoseconds < 1_500_000_000 } == true)
        }
    }

    @Test("nothing is predicted where it is not needed or cannot work")
    func notPredicted() {
        let behaviors: [(own: NATBehavior, other: NATBehavior)] = [
            // Its mapping does not depend on us.
            (Self.restricted, Self.restricted),
            // Nobody knows the next port.
            (
                Self.restricted,
                NATBehavior(
                    mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random)
            ),
            // Our filter lets all ports in.
            (NATBehavior(mapping: .endpointIndependent, filtering: .addressDependent), Self.sequential),
            // Our own port is as unknown to the peer.
            (Self.sequential, Self.sequential),
        ]
        for (own, other) in behaviors {
            let peer = ScriptedPeer {
                $0.localNAT = own
                $0.predictedPorts = 8
            }
            peer.agent.setRemoteNAT(other)
            peer.start(candidates: [peer.candidate("203.0.113.2:50000", kind: .serverReflexive)])
            #expect(peer.remoteCandidates.count == 1)
        }
    }

    @Test("ports wrap around and stay within bounds")
    func bounds() {
        let peer = ScriptedPeer { $0.predictedPorts = 1000 }
        peer.agent.setRemoteNAT(Self.sequential)
        peer.start(candidates: [peer.candidate("203.0.113.2:65534", kind: .serverReflexive, priority: 3)])
        #expect(peer.remoteCandidates.count == 100)
        #expect(peer.remoteCandidates.allSatisfy { $0.port != 0 && $0.priority > 0 })
        #expect(peer.remoteCandidates.prefix(3).map(\.port) == [65534, 65535, 1])
        #expect(peer.pairs.count <= 100)
    }

    @Test(
        "two NATs that take a stranger's packet for a port's owner are passed by opening packets",
        arguments: [true, false])
    func leaky(opens: Bool) {
        let net = Simulation(seed: 2)
        net.servers = [Self.stun: .answers]
        let nats = [IPAddress.v4(0xCB00_7101), .v4(0xCB00_7102)].map {
            SimulatedNAT($0, mapping: .endpointIndependent, filtering: .addressAndPortDependent, isLeaky: true)
        }
        let peers = zip(nats, ["10.0.0.1:5000", "10.1.0.1:6000"]).map { nat, text in
            net.addPeer(text, addresses: [address(text)], behind: nat) {
                $0.stunServers = [Self.stun]
                if opens { $0.openingHopLimit = 4 }
            }
        }
        net.connect(peers[0], peers[1])
        let connects = net.run(for: .seconds(45)) { peers.allSatisfy { $0.state == .completed } }
        #expect(connects == opens)
        let openings = peers.map { $0.sent.filter { $0.datagram.hopLimit == 4 } }
        #expect(openings[0].isEmpty)
        #expect(openings[1].count == (opens ? 1 : 0))
        if opens { #expect(peers[1].time(of: .connected).map { $0.nanoseconds < 500_000_000 } == true) }
    }

    @Test("the first copies follow sooner where the first check is lost as a rule, and only there")
    func hastened() {
        let target = "203.0.113.2:50000"
        func copies(own: NATBehavior?, other: NATBehavior?, within limit: Duration) -> Int {
            let peer = ScriptedPeer(role: .controlled) { $0.localNAT = own }
            if let other { peer.agent.setRemoteNAT(other) }
            peer.start(candidates: [peer.candidate(target, kind: .serverReflexive)])
            for _ in 0..<Int(limit.nanoseconds / 10_000_000) { peer.advance(.milliseconds(10)) }
            return peer.sent.count { $0.datagram.destination == address(target) }
        }
        let byAddress = NATBehavior(mapping: .endpointIndependent, filtering: .addressDependent)
        let open = NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent)
        // After 0, 50 and 150 ms, Ta being 50 ms.
        #expect(copies(own: Self.sequential, other: byAddress, within: .milliseconds(300)) == 3)
        #expect(copies(own: Self.sequential, other: byAddress, within: .seconds(39)) == 10)
        for (own, other) in [(Self.sequential, open), (byAddress, byAddress), (Self.sequential, nil), (nil, byAddress)]
        {
            #expect(copies(own: own, other: other, within: .milliseconds(300)) == 1)
        }
    }

    @Test("an answerer that waits for checks checks itself when none come")
    func hold() throws {
        let peer = ScriptedPeer(role: .controlled) {
            $0.openingHopLimit = 4
            $0.openingHold = .milliseconds(300)
        }
        peer.start(candidates: [
            peer.candidate("10.0.0.2:6000", foundation: "2"), peer.candidate("192.0.2.2:6000"),
            peer.candidate("203.0.113.2:50000", kind: .serverReflexive),
        ])
        #expect(peer.sent.map(\.datagram.hopLimit) == [4, 4])
        #expect(peer.sent.map(\.datagram.destination) == [address("192.0.2.2:6000"), address("203.0.113.2:50000")])
        peer.advance(.milliseconds(299))
        #expect(peer.sent.count == 2)
        peer.advance(.milliseconds(1))
        #expect(peer.takeRequests().count == 1)
        // Where the peer cannot tell the port that would let it in, nobody waits for it.
        let unknown = ScriptedPeer(role: .controlled) {
            $0.openingHopLimit = 4
            $0.localNAT = NATBehavior(
                mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random)
        }
        unknown.agent.setRemoteNAT(Self.restricted)
        unknown.start()
        #expect(unknown.sent.map(\.datagram.hopLimit) == [4, nil])
        // A peer whose filter lets everybody in needs no waiting.
        let open = ScriptedPeer(role: .controlled) { $0.openingHopLimit = 4 }
        open.agent.setRemoteNAT(NATBehavior(mapping: .endpointIndependent, filtering: .endpointIndependent))
        open.start()
        #expect(open.takeRequests().count == 1)
    }
}
