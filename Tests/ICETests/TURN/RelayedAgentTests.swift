import Testing
import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

@Suite("Agents with relayed candidates (RFC 8445 §5.1.1.2, §7.2.1)")
struct RelayedAgentTests {
    static let relay = address("198.51.100.9:3478")
    static let other = address("198.51.100.8:3478")
    static let credentials = LongTermCredentials(username: "user", password: "pass")

    static func server(_ at: SocketAddress = relay, _ transport: TURNServer.Transport = .udp) -> TURNServer {
        TURNServer(address: at, transport: transport, credentials: credentials)
    }

    static let stun = address("198.51.100.1:3478")

    /// Two sites behind NATs that depend on the destination in both respects, and a relay. Where only one side has a
    /// relay, it has to learn the other's address from STUN to let it through.
    private func hardSites(
        seed: UInt64 = 1, stun: Bool = false, relays: [TURNServerDouble] = [TURNServerDouble(relay.ip)],
        servers: (a: [TURNServer], b: [TURNServer]) = ([server()], [server()]),
        _ configure: @escaping (inout ICEAgent.Configuration) -> Void = { _ in }
    ) -> (net: Simulation, alice: SimulatedPeer, bob: SimulatedPeer) {
        let net = Simulation(seed: seed)
        net.relays = relays
        net.servers = [Self.stun: .answers]
        let nats = [IPAddress.v4(0xCB00_7101), .v4(0xCB00_7102)].map {
            SimulatedNAT($0, mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
        }
        let alice = net.addPeer("alice", addresses: [address("10.0.0.1:5000")], behind: nats[0]) {
            $0.turnServers = servers.a
            if stun { $0.stunServers = [Self.stun] }
            configure(&$0)
        }
        let bob = net.addPeer("bob", addresses: [address("10.1.0.1:6000")], behind: nats[1]) {
            $0.turnServers = servers.b
            if stun { $0.stunServers = [Self.stun] }
            configure(&$0)
        }
        return (net, alice, bob)
    }

    private func connect(
        _ sites: (net: Simulation, alice: SimulatedPeer, bob: SimulatedPeer), within limit: Duration = .seconds(20)
    ) -> Bool {
        sites.net.connect(sites.alice, sites.bob)
        return sites.net.run(for: limit) { sites.alice.state == .completed && sites.bob.state == .completed }
    }

    /// Sends a packet on the selected pair as a whole stack would.
    private func send(_ payload: [UInt8], from peer: SimulatedPeer, _ net: Simulation) {
        guard let pair = peer.pair else { return }
        var packets = PacketBuffer()
        packets.append(payload.span.bytes)
        guard let route = peer.agent.relayRoute(from: pair.localAddress) else {
            net.inject(
                Datagram(source: pair.localAddress, destination: pair.remoteAddress, payload: payload), from: peer)
            return
        }
        var out = PacketBuffer()
        peer.agent.wrap(packets, from: pair.localAddress, to: pair.remoteAddress, into: &out)
        for index in 0..<out.count {
            let bytes = [UInt8](copying: out[index])
            if let stream = route.stream {
                net.inject(.send(stream, bytes), from: peer)
            } else {
                net.inject(Datagram(source: route.source, destination: route.server, payload: bytes), from: peer)
            }
        }
    }

    @Test("a relayed candidate has its address as base, its mapped address beside it, and the lowest priority")
    func candidate() throws {
        let sites = hardSites()
        sites.alice.agent.gather(now: .zero)
        sites.net.run(for: .seconds(1))
        let relayed = try #require(sites.alice.candidates.last { $0.kind == .relayed })
        #expect(relayed.address?.ip == Self.relay.ip)
        #expect(relayed.priority >> 24 == 0)
        #expect(relayed.relatedAddress?.ip == address("203.0.113.1:1").ip)
        // RFC 8656 §7.3: the same answer tells the reflexive address.
        let reflexive = try #require(sites.alice.candidates.first { $0.kind == .serverReflexive })
        #expect(reflexive.address == relayed.relatedAddress)
        #expect(Set(sites.alice.candidates.map(\.foundation)).count == 3)
        #expect(Set(sites.alice.candidates.map(\.priority)).count == 3)
        // 10 ms for the challenge, 10 ms for the allocation.
        #expect(sites.alice.gatheredAt == Timestamp(nanoseconds: 20_000_000))
        #expect(sites.alice.actions.contains(.gatheringCompleted(.allDone)))
    }

    @Test(
        "two symmetric NATs connect over a relay, data takes it on a channel, and both ways",
        arguments: [
            TURNServer.Transport.udp, .tcp, .tls,
        ])
    func symmetric(transport: TURNServer.Transport) throws {
        let servers = [Self.server(Self.relay, transport)]
        let sites = hardSites(servers: (servers, servers))
        #expect(connect(sites))
        let pair = try #require(sites.alice.pair)
        #expect(pair.local.kind == .relayed || pair.remote.kind == .relayed)
        sites.net.run(for: .seconds(1))
        for number in UInt8(0)..<20 {
            send([20, number], from: sites.alice, sites.net)
            send([21, number], from: sites.bob, sites.net)
        }
        sites.net.run(for: .seconds(1))
        #expect(sites.bob.data.map(\.payload) == (UInt8(0)..<20).map { [20, $0] })
        #expect(sites.alice.data.map(\.payload) == (UInt8(0)..<20).map { [21, $0] })
        #expect(sites.bob.data.allSatisfy { $0.destination == sites.bob.pair?.localAddress })
        let relay = try #require(sites.net.relays.first)
        #expect(relay.faults.isEmpty, "\(relay.faults)")
        #expect(relay.allocations.values.contains { !$0.channels.isEmpty })
        // The connection is there well before a pair is nominated: data does not wait.
        let connected = try #require(sites.alice.time(of: .connected))
        #expect(connected.nanoseconds < 500_000_000)
    }

    @Test("a relay on one side alone is enough, whichever it is", arguments: [false, true])
    func oneSide(isOfferer: Bool) {
        let sites = hardSites(stun: true, servers: isOfferer ? ([Self.server()], []) : ([], [Self.server()]))
        #expect(connect(sites))
        #expect((sites.alice.pair?.local.kind == .relayed) == isOfferer)
        #expect((sites.bob.pair?.local.kind == .relayed) == !isOfferer)
    }

    @Test("where a direct way works it is taken, and the relay is given back")
    func direct() throws {
        let net = Simulation(seed: 4)
        net.relays = [TURNServerDouble(Self.relay.ip)]
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) { $0.turnServers = [Self.server()] }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")]) { $0.turnServers = [Self.server()] }
        #expect(connect((net, alice, bob)))
        #expect(alice.pair?.local.kind == .host)
        #expect(alice.pair?.remote.kind == .host)
        #expect(net.relays[0].allocations.count == 2)
        net.run(for: .seconds(4))
        #expect(net.relays[0].allocations.isEmpty)
        #expect(alice.actions.contains(.relayReleased(Self.relay)))
        #expect(alice.state == .completed)
    }

    @Test("the way moves from the relay to a direct one that works a little later, before anything is nominated")
    func relayFirst() throws {
        let net = Simulation(seed: 5)
        net.relays = [TURNServerDouble(Self.relay.ip)]
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) { $0.turnServers = [Self.server()] }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        let pair: Set = [alice.addresses[0], bob.addresses[0]]
        net.drops = { [unowned net] datagram in
            net.now < Timestamp(nanoseconds: 1_200_000_000) && pair == [datagram.source, datagram.destination]
        }
        #expect(connect((net, alice, bob)))
        #expect(alice.selections.first?.local.kind == .relayed)
        #expect(alice.pair?.local.kind == .host)
        #expect(bob.pair?.remoteAddress == address("192.0.2.1:5000"))
        #expect(alice.time(of: .connected).map { $0.nanoseconds < 500_000_000 } == true)
    }

    @Test(
        "a direct way that comes after nomination is taken where both sides know of it, and else not",
        arguments: [true, false])
    func renomination(isKnown: Bool) throws {
        let net = Simulation(seed: 5)
        net.relays = [TURNServerDouble(Self.relay.ip)]
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) { $0.turnServers = [Self.server()] }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        if isKnown {
            alice.agent.allowRenomination()
            bob.agent.allowRenomination()
        }
        let pair: Set = [alice.addresses[0], bob.addresses[0]]
        net.drops = { [unowned net] datagram in
            net.now < Timestamp(nanoseconds: 5_000_000_000) && pair == [datagram.source, datagram.destination]
        }
        #expect(connect((net, alice, bob)))
        #expect(alice.pair?.local.kind == .relayed)
        #expect(alice.time(of: .completed).map { $0.nanoseconds < 3_000_000_000 } == true)
        net.run(for: .seconds(36))
        #expect(alice.pair?.local.kind == (isKnown ? .host : .relayed))
        #expect(bob.pair?.remoteAddress == alice.pair?.localAddress)
        #expect(alice.state == .completed)
        #expect(bob.state == .completed)
        #expect(net.relays[0].allocations.isEmpty == isKnown)
        let nominations = alice.actions.filter { if case .nominationStarted = $0 { true } else { false } }
        #expect(nominations.count == (isKnown ? 2 : 1))
    }

    @Test("a dead relay delays nothing that does not need it", arguments: [TURNServer.Transport.udp, .tcp])
    func deadRelay(transport: TURNServer.Transport) throws {
        let net = Simulation(seed: 6)
        let stun = address("198.51.100.1:3478")
        net.servers = [stun: .answers]
        let dead = TURNServerDouble(Self.other.ip)
        dead.isSilent = true
        net.relays = [dead, TURNServerDouble(Self.relay.ip)]
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) {
            $0.stunServers = [stun]
            $0.turnServers = [Self.server(Self.other, transport), Self.server()]
        }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.trickle(alice, bob)
        #expect(net.run(for: .seconds(1)) { alice.state == .completed && bob.state == .completed })
        // Trickled candidates wait for nothing; a full description for the grace alone.
        let second = Simulation(seed: 7)
        second.servers = net.servers
        second.relays = [dead, TURNServerDouble(Self.relay.ip)]
        let carol = second.addPeer("carol", addresses: [address("192.0.2.1:5000")]) {
            $0.stunServers = [stun]
            $0.turnServers = [Self.server(Self.other, transport), Self.server()]
        }
        carol.agent.gather(now: .zero)
        second.run(for: .seconds(60)) { carol.gatheredAt != nil }
        #expect(carol.candidates.contains { $0.kind == .relayed })
        #expect(carol.gatheredAt.map { $0 <= Timestamp(nanoseconds: 250_000_000) } == true)
        #expect(carol.actions.contains(.relayFailed(Self.other, .timeout)))
    }

    @Test("a relay that refuses is told with its reason, and the rest goes on")
    func refused() {
        let relay = TURNServerDouble(Self.relay.ip, credentials: LongTermCredentials(username: "x", password: "y"))
        let sites = hardSites(relays: [relay])
        sites.alice.agent.gather(now: .zero)
        sites.net.run(for: .seconds(3))
        #expect(sites.alice.actions.contains(.relayFailed(Self.relay, .unauthorized)))
        #expect(sites.alice.candidates.map(\.kind) == [.host])
        #expect(sites.alice.gatheredAt == Timestamp(nanoseconds: 20_000_000))
    }

    @Test("nothing leaves a relay for a peer that it does not let through, and the pair fails at once")
    func denied() {
        let relay = TURNServerDouble(Self.relay.ip)
        relay.denies = { $0.isPrivate }
        let sites = hardSites(relays: [relay])
        #expect(connect(sites))
        #expect(sites.alice.actions.contains(.relayRefused(Self.relay, address("10.1.0.1:1").ip, .forbidden)))
        #expect(relay.faults.isEmpty, "\(relay.faults)")
    }

    @Test("each relay gets a socket of its own where agents share sockets, and another where that is taken")
    func ownSockets() throws {
        let relay = TURNServerDouble(Self.relay.ip)
        var count = 0
        relay.refuses = { method, isAuthenticated in
            guard method == .allocate, isAuthenticated else { return nil }
            count += 1
            return count == 1 ? .allocationMismatch : nil
        }
        let sites = hardSites(stun: true, relays: [relay], servers: ([Self.server()], [])) {
            $0.opensRelaySockets = true
        }
        #expect(connect(sites))
        #expect(sites.alice.addresses.count == 3)
        let sources = Set(
            sites.alice.sent.filter { $0.datagram.destination == Self.relay }.map(\.datagram.source))
        #expect(sources == Set(sites.alice.addresses.dropFirst()))
        // A socket that is no base makes no reflexive candidate.
        #expect(sites.alice.candidates.map(\.kind) == [.host, .serverReflexive, .relayed])
        sites.alice.agent.close()
        sites.net.run(for: .seconds(1))
        #expect(relay.allocations.isEmpty)
    }

    @Test("losses are survived, with any seed", arguments: 1...8 as ClosedRange<UInt64>)
    func loss(seed: UInt64) {
        print("losses: seed \(seed)")
        let sites = hardSites(seed: seed, stun: true) {
            // Who expects losses gives servers the time for another copy.
            $0.gatheringGrace = .seconds(4)
            $0.gatheringTimeout = .seconds(20)
        }
        sites.net.link.loss = 0.2
        sites.net.link.jitter = .milliseconds(20)
        #expect(connect(sites, within: .seconds(60)))
        sites.net.link.loss = 0.02
        let relay = sites.net.relays[0]
        #expect(
            relay.faults.filter { !$0.hasPrefix("ChannelData") && !$0.hasPrefix("Send") }.isEmpty, "\(relay.faults)")
        sites.net.run(for: .seconds(320))
        // A lost answer or two make nobody fail.
        for peer in [sites.alice, sites.bob] { #expect([.completed, .disconnected].contains(peer.state)) }
    }

    @Test("one seed gives one log")
    func repeatable() {
        func log() -> [String] {
            let sites = hardSites(seed: 77)
            sites.net.link.loss = 0.1
            _ = connect(sites)
            sites.net.run(for: .seconds(30))
            return sites.net.log
        }
        #expect(log() == log())
    }

    @Test("closing gives everything back", arguments: [TURNServer.Transport.udp, .tcp])
    func close(transport: TURNServer.Transport) {
        let servers = [Self.server(Self.relay, transport)]
        let sites = hardSites(stun: true, servers: (servers, []))
        #expect(connect(sites))
        #expect(sites.net.relays[0].allocations.count == 1)
        sites.alice.agent.close()
        sites.net.run(for: .seconds(1))
        #expect(sites.net.relays[0].allocations.isEmpty)
        #expect(sites.alice.streamsOpened == sites.alice.streamsClosed)
        let count = sites.alice.sent.count
        sites.net.run(for: .seconds(100))
        #expect(sites.alice.sent.count == count)
    }

    @Test("a chosen way whose relay is gone has failed at once")
    func relayLost() {
        let servers = [Self.server(Self.relay, .tcp)]
        let sites = hardSites(stun: true, servers: (servers, []))
        #expect(connect(sites))
        sites.net.cutStreams(of: sites.alice)
        sites.net.run(for: .milliseconds(1))
        #expect(sites.alice.state == .failed)
        #expect(sites.alice.actions.contains(.failed(.relayLost)))
    }

    @Test("a stream that cannot be opened is known at once, and one with noise is closed")
    func streamFailures() {
        let peer = ScriptedPeer {
            $0.turnServers = [Self.server(Self.relay, .tls), Self.server(Self.other, .tcp)]
        }
        peer.agent.gather(now: peer.now)
        peer.drain()
        let opened = peer.events.compactMap { event -> RelayLink? in
            if case .relay(.open(let link, _, _, _, _)) = event { link } else { nil }
        }
        #expect(opened.count == 2)
        peer.agent.relayClosed(opened[0], .unreachable, now: peer.now)
        peer.agent.relayOpened(opened[1], local: address("192.0.2.1:9"), now: peer.now)
        [UInt8](repeating: 0xAA, count: 64).withSpan { peer.agent.receive($0, over: opened[1], now: peer.now) }
        peer.drain()
        #expect(peer.actions.contains(.relayFailed(Self.relay, .unreachable)))
        #expect(peer.actions.contains(.relayFailed(Self.other, .streamBroken)))
        #expect(peer.actions.contains(.gatheringCompleted(.allDone)))
        #expect(peer.events.contains(.relay(.close(opened[1]))))
        #expect(!peer.events.contains(.relay(.close(opened[0]))))
    }

    // MARK: - Policy relay

    /// Every form in which an address can stand in a message.
    private func forms(of ip: IPAddress) -> [[UInt8]] {
        let cookie: [UInt8] = [0x21, 0x12, 0xA4, 0x42]
        return [ip.bytes, zip(ip.bytes, cookie).map { $0 ^ $1 }, Array(ip.description.utf8)]
    }

    private func contains(_ bytes: [UInt8], _ part: [UInt8]) -> Bool {
        bytes.count >= part.count && (0...bytes.count - part.count).contains { bytes[$0...].starts(with: part) }
    }

    @Test(
        "with the policy relay nothing goes to the peer's own address and no own address goes out",
        arguments: [
            TURNServer.Transport.udp, .tcp,
        ])
    func privacy(transport: TURNServer.Transport) throws {
        let net = Simulation(seed: 8)
        let stun = address("198.51.100.1:3478")
        net.servers = [stun: .answers]
        net.relays = [TURNServerDouble(Self.relay.ip)]
        let nat = SimulatedNAT(.v4(0xCB00_7101), mapping: .endpointIndependent, filtering: .endpointIndependent)
        let alice = net.addPeer("alice", addresses: [address("10.0.0.1:5000")], behind: nat) {
            $0.transportPolicy = .relay
            $0.stunServers = [stun]
            $0.turnServers = [Self.server(Self.relay, transport)]
        }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        #expect(connect((net, alice, bob)))
        #expect(alice.candidates.map(\.kind) == [.relayed])
        #expect(alice.pair?.local.kind == .relayed)
        #expect(alice.sent.allSatisfy { $0.datagram.destination == Self.relay })
        // A check that comes the direct way is not answered, and nothing of it is taken for data.
        let outside = SocketAddress(ip: nat.ip, port: 50_000)
        let before = alice.sent.count + alice.streamed.count
        var check = STUNMessage(.request, transactionID: STUNTransactionID(high: 1, low: 2))
        check.append(.username, "\(alice.agent.localCredentials.ufrag):\(bob.agent.localCredentials.ufrag)")
        check.append(.priority, UInt32(1))
        let bytes = check.encoded(integrity: STUNIntegrity(key: Array(alice.agent.localCredentials.password.utf8)))
        net.inject(Datagram(source: bob.addresses[0], destination: outside, payload: bytes), from: bob)
        alice.receive(
            Datagram(source: bob.addresses[0], destination: alice.addresses[0], payload: bytes), now: net.now)
        alice.receive(
            Datagram(source: bob.addresses[0], destination: alice.addresses[0], payload: [22, 1]), now: net.now)
        net.run(for: .milliseconds(50))
        #expect(alice.sent.count + alice.streamed.count == before)
        #expect(alice.data.isEmpty)
        net.run(for: .seconds(40))
        // What the peer gets to see: candidates, and what came out of the relay toward it.
        let own = forms(of: address("10.0.0.1:1").ip) + forms(of: nat.ip)
        for candidate in alice.candidates + (alice.pair.map { [$0.local] } ?? []) {
            for form in own { #expect(!contains(Array(candidate.description.utf8), form)) }
        }
        for bytes in alice.sent.map(\.datagram.payload) + alice.streamed {
            // Header and PEER of an indication are for the relay; no part of them may be ours either.
            for form in own { #expect(!contains(bytes, form)) }
        }
        let seen = bob.remoteCandidates.compactMap(\.address?.ip)
        #expect(Set(seen) == [Self.relay.ip])
    }

    @Test("the policy relay without a relay has no candidates, and sends nothing")
    func privacyAlone() {
        let net = Simulation(seed: 9)
        let alice = net.addPeer("alice", addresses: [address("192.0.2.1:5000")]) { $0.transportPolicy = .relay }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.connect(alice, bob)
        net.run(for: .seconds(60))
        #expect(alice.candidates.isEmpty)
        #expect(alice.sent.isEmpty)
        #expect(alice.state == .failed)
    }

    @Test("two relays on both sides under the policy meet between the servers")
    func bothPrivate() {
        let relays = [TURNServerDouble(Self.relay.ip), TURNServerDouble(Self.other.ip)]
        let sites = hardSites(relays: relays, servers: ([Self.server()], [Self.server(Self.other)])) {
            $0.transportPolicy = .relay
        }
        #expect(connect(sites))
        #expect(sites.alice.pair?.local.kind == .relayed)
        #expect(sites.alice.pair?.remote.kind == .relayed)
        #expect(sites.alice.sent.allSatisfy { $0.datagram.destination == Self.relay })
        #expect(sites.bob.sent.allSatisfy { $0.datagram.destination == Self.other })
    }
}
