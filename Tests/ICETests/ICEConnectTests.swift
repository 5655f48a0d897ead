// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

func address(_ text: String) -> SocketAddress { SocketAddress(text) ?? .unspecified }

@Suite("Two agents connect")
struct ICEConnectTests {
    @Test("two hosts connect one round trip after the answer, and both complete on one pair")
    func hosts() throws {
        let net = Simulation(seed: 1)
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")])
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.connect(alice, bob)
        #expect(net.run(for: .seconds(5)) { alice.state == .completed && bob.state == .completed })
        // 20 ms offer, 20 ms answer, 10 ms there and back, 10 ms more to nominate.
        #expect(alice.time(of: .connected) == Timestamp(nanoseconds: 50_000_000))
        #expect(alice.time(of: .completed) == Timestamp(nanoseconds: 60_000_000))
        #expect(bob.time(of: .connected) == Timestamp(nanoseconds: 30_000_000))
        let chosen = try #require(alice.pair)
        #expect(chosen.isNominated)
        #expect(chosen.localAddress == address("192.0.2.1:5000"))
        #expect(chosen.remoteAddress == address("192.0.2.2:6000"))
        #expect(chosen.roundTripTime == .milliseconds(10))
        #expect(bob.pair?.remoteAddress == address("192.0.2.1:5000"))
        #expect(bob.pair?.isNominated == true)
        #expect(alice.mayReceiveData(from: address("192.0.2.2:6000"), to: address("192.0.2.1:5000")))
        #expect(!alice.mayReceiveData(from: address("192.0.2.3:6000"), to: address("192.0.2.1:5000")))
    }

    @Test("on one host a connection takes less than two milliseconds of waiting")
    func localhost() throws {
        let net = Simulation(seed: 2)
        net.link.latency = .microseconds(50)
        let alice = net.addPeer("alice", addresses: [address("127.0.0.1:5000"), address("192.0.2.1:5000")]) {
            $0.allowsLoopback = true
        }
        let bob = net.addPeer("bob", addresses: [address("127.0.0.1:6000"), address("192.0.2.1:6000")]) {
            $0.allowsLoopback = true
        }
        net.connect(alice, bob, signalling: .microseconds(100))
        #expect(net.run(for: .milliseconds(2)) { alice.state == .completed && bob.state == .completed })
    }

    @Test("IPv6 hosts connect, and link-local addresses pair among themselves alone, in their zone")
    func version6() throws {
        let net = Simulation(seed: 3)
        let alice = net.addPeer("alice", addresses: [address("[fe80::1%3]:5000"), address("192.0.2.1:5000")])
        let bob = net.addPeer("bob", addresses: [address("[fe80::2%7]:6000"), address("[2001:db8::2]:6000")])
        net.rewrites = { datagram in
            // Zones differ from host to host.
            let zone: UInt32 = datagram.source.ip.scopeID == 3 ? 7 : 3
            for path in [\Datagram.source, \.destination] where datagram[keyPath: path].ip.isLinkLocal {
                let ip = datagram[keyPath: path].ip
                datagram[keyPath: path].ip = .v6(high: ip.high, low: ip.low, scopeID: zone)
            }
        }
        net.connect(alice, bob)
        #expect(net.run(for: .seconds(5)) { alice.state == .completed && bob.state == .completed })
        #expect(alice.pair?.remoteAddress == address("[fe80::2%3]:6000"))
        #expect(bob.pair?.remoteAddress == address("[fe80::1%7]:5000"))
        #expect(alice.pairs.count == 1)
        #expect(alice.candidates[0].description.contains(" fe80::1 5000 "))
    }

    struct Crossing: CustomTestStringConvertible {
        let a: (SimulatedNAT.Dependence, SimulatedNAT.Dependence)
        let b: (SimulatedNAT.Dependence, SimulatedNAT.Dependence)
        let connects: Bool
        let testDescription: String
    }

    /// (mapping, filtering) of each side. What connects is known from the two behaviours alone: a mapping that depends on
    /// the destination needs a side that lets anyone in.
    static let crossings: [Crossing] = {
        let kinds: [(String, (SimulatedNAT.Dependence, SimulatedNAT.Dependence))] = [
            ("full cone", (.endpointIndependent, .endpointIndependent)),
            ("port restricted", (.endpointIndependent, .addressAndPortDependent)),
            ("symmetric", (.addressAndPortDependent, .addressAndPortDependent)),
        ]
        return kinds.flatMap { a in
            kinds.map { b in
                let blocked = [a.0, b.0].contains("symmetric") && ![a.0, b.0].contains("full cone")
                return Crossing(a: a.1, b: b.1, connects: !blocked, testDescription: "\(a.0) and \(b.0)")
            }
        }
    }()

    @Test("NATs are crossed where it can be done, and given up after the PAC timer where not", arguments: crossings)
    func nats(_ crossing: Crossing) throws {
        let net = Simulation(seed: 4)
        let server = address("198.51.100.1:3478")
        net.servers[server] = .answers
        let natA = SimulatedNAT(.v4(0xCB00_7101), mapping: crossing.a.0, filtering: crossing.a.1)
        let natB = SimulatedNAT(.v4(0xCB00_7102), mapping: crossing.b.0, filtering: crossing.b.1)
        let alice = net.addPeer("alice", addresses: [address("10.0.0.1:5000")], behind: natA) {
            $0.stunServers = [server]
        }
        let bob = net.addPeer("bob", addresses: [address("10.0.0.1:5000")], behind: natB) {
            $0.stunServers = [server]
        }
        net.connect(alice, bob)
        let done = net.run(for: .seconds(60)) {
            [.completed, .failed].contains(alice.state) && [.completed, .failed].contains(bob.state)
        }
        #expect(done)
        #expect((alice.state == .completed) == crossing.connects)
        #expect((bob.state == .completed) == crossing.connects)
        if crossing.connects {
            // Hole punching costs no retransmission but where both filter and the first checks cross.
            #expect(try #require(alice.time(of: .completed)) < Timestamp(nanoseconds: 1_000_000_000))
            #expect(alice.pair?.local.kind != .host)
        } else {
            #expect(try #require(alice.time(of: .failed)) > Timestamp(nanoseconds: 39_500_000_000))
            #expect(alice.actions.contains(.failed(.allPairsFailed)))
        }
    }

    @Test("loss, delay and reordering do not keep agents apart", arguments: 0..<30)
    func loss(seed: UInt64) throws {
        let net = Simulation(seed: seed)
        net.link = Simulation.Link(
            latency: .milliseconds(Int64(seed % 7) * 20), jitter: .milliseconds(Int64(seed % 4) * 60),
            loss: Double(seed % 5) * 0.1)
        let server = address("198.51.100.1:3478")
        net.servers[server] = .answers
        let natA = SimulatedNAT(
            .v4(0xCB00_7101), mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        let alice = net.addPeer(
            "alice", addresses: [address("10.0.0.1:5000"), address("10.0.0.2:5000")], behind: natA
        ) { $0.stunServers = [server] }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000"), address("192.0.2.3:6000")])
        if seed % 2 == 0 { net.connect(alice, bob) } else { net.trickle(alice, bob) }
        let done = net.run(for: .seconds(60)) {
            alice.state == .completed && bob.state == .completed
        }
        #expect(done, "seed \(seed)")
        let pair = try #require(alice.pair)
        let other = try #require(bob.pair)
        #expect(other.localAddress == pair.remoteAddress, "seed \(seed)")
    }

    @Test("a link that is dead at first is found once it lives")
    func lateLink() throws {
        let net = Simulation(seed: 5)
        net.link.loss = 1
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")])
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.connect(alice, bob)
        net.run(for: .seconds(20))
        #expect(alice.state == .checking)
        net.link.loss = 0
        #expect(net.run(for: .seconds(15)) { alice.state == .completed && bob.state == .completed })
    }

    @Test("the same seed gives the same packets, another seed others", arguments: [1, 7])
    func determinism(seed: UInt64) {
        func log(_ seed: UInt64) -> [String] {
            let net = Simulation(seed: seed)
            net.link = Simulation.Link(latency: .milliseconds(30), jitter: .milliseconds(40), loss: 0.2)
            let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000"), address("192.0.2.4:5000")])
            let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000"), address("192.0.2.3:6000")])
            net.trickle(alice, bob)
            net.run(for: .seconds(40))
            return net.log
        }
        let first = log(seed)
        #expect(first.count > 20)
        #expect(first == log(seed))
        #expect(first != log(seed + 1))
    }

    @Test("two agents with one role settle it by tie-breaker", arguments: [ICEAgent.Role.controlling, .controlled], 0..<6)
    func glare(role: ICEAgent.Role, seed: UInt64) throws {
        let net = Simulation(seed: seed)
        net.link.jitter = .milliseconds(Int64(seed) * 10)
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000"), address("192.0.2.3:5000")])
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000"), address("192.0.2.4:6000")])
        alice.agent.setRole(role)
        bob.agent.setRole(role)
        alice.agent.gather(now: net.now)
        bob.agent.gather(now: net.now)
        // Candidates are told in the first drain.
        net.run(for: .zero)
        alice.take(descriptionOf: bob, now: net.now)
        bob.take(descriptionOf: alice, now: net.now)
        #expect(net.run(for: .seconds(10)) { alice.state == .completed && bob.state == .completed })
        #expect(alice.role != bob.role)
        #expect(alice.pair?.remoteAddress == bob.pair?.localAddress)
        let switches = (alice.actions + bob.actions).filter { if case .roleSwitched = $0 { true } else { false } }
        #expect(switches.count == 1, "seed \(seed)")
    }
}
