// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Paths over TCP")
struct TCPConnectTests {
    /// Two hosts between which no datagram passes.
    private func blocked(
        seed: UInt64 = 3, _ first: ICEAgent.TCPCandidates = .both, _ second: ICEAgent.TCPCandidates = .both
    ) -> (StreamWorld, StreamWorld.Host, StreamWorld.Host) {
        let world = StreamWorld(seed: seed)
        world.blocksUDP = true
        return (
            world, world.add("192.0.2.1") { $0.tcpCandidates = first },
            world.add("192.0.2.2") { $0.tcpCandidates = second }
        )
    }

    @Test(
        "where no datagram passes two agents connect over TCP, whoever connects and however bytes come",
        arguments: [(ICEAgent.TCPCandidates.both, ICEAgent.TCPCandidates.both), (.active, .both), (.both, .active)],
        [1, 700])
    func connects(_ types: (ICEAgent.TCPCandidates, ICEAgent.TCPCandidates), longestRead: Int) throws {
        let (world, first, second) = blocked(types.0, types.1)
        world.longestRead = longestRead
        world.connect(first, second)
        world.run(for: .milliseconds(500))
        #expect(first.state == .connected)
        #expect(second.state == .connected)
        // Datagrams had their chance.
        world.run(for: .seconds(6))
        for host in [first, second] {
            let pair = try #require(host.pair)
            #expect(host.state == .completed)
            #expect(pair.isNominated)
            #expect(pair.local.transport == .tcp && pair.remote.transport == .tcp)
            #expect(pair.local.tcpType != pair.remote.tcpType)
            #expect(host.link != nil)
        }
        let isFirstActive = first.pair?.localAddress.port == ICECandidate.activePort
        #expect(isFirstActive == (second.pair?.localAddress.port == second.listener.port))
        if types.0 == .active { #expect(isFirstActive) }
        if types.1 == .active { #expect(!isFirstActive) }
        // One connection is left.
        #expect(world.ends.count == 2)
        #expect(first.opened.count + second.opened.count == (types == (.both, .both) ? 2 : 1))
        // What is no STUN comes out behind the frames, with the pair's addresses.
        for (one, other) in [(first, second), (second, first)] {
            world.send([22, 1, 2, 3], from: one)
            world.send([UInt8](repeating: 200, count: 5000), from: one)
            world.run(for: .milliseconds(10))
            let packets = other.received()
            #expect(packets.map(\.payload) == [[22, 1, 2, 3], [UInt8](repeating: 200, count: 5000)])
            #expect(packets.allSatisfy { !$0.isRelayed && $0.destination == other.pair?.localAddress })
            #expect(packets.first.map { other.agent.isProven($0.source, to: $0.destination) } ?? false)
            #expect(packets.first.map { other.agent.mayReceiveData(from: $0.source, to: $0.destination) } ?? false)
        }
        // Consent is asked for over the connection.
        world.run(for: .seconds(120))
        #expect(first.state == .completed && second.state == .completed)
    }

    @Test("an active candidate that has connected is known by the port it came from (§7.1, §7.2)")
    func reflexive() throws {
        let (world, first, second) = blocked(.active)
        world.connect(first, second)
        world.run(for: .seconds(3))
        let local = try #require(first.pair?.local)
        #expect(local.kind == .peerReflexive && local.tcpType == .active && local.port > 40_000)
        #expect(local.priority == 80 << 24 | (6 << 13 | 8191) << 8 | 255)
        #expect(second.pair?.remote.address == local.address)
        #expect(second.pair?.remote.tcpType == .active)
    }

    @Test("where datagrams pass they are preferred, and connections are closed three seconds after nomination (§8)")
    func datagrams() {
        let world = StreamWorld(seed: 4)
        let (first, second) = (world.add("192.0.2.1"), world.add("192.0.2.2"))
        world.connect(first, second)
        world.run(for: .seconds(8))
        for host in [first, second] {
            #expect(host.state == .completed)
            #expect(host.pair?.local.transport == .udp)
            #expect(host.opened.allSatisfy { host.closed.contains($0) || world.ends[$0] == nil })
        }
        #expect(world.ends.isEmpty)
    }

    @Test("where the passive side is not there the pair fails at once, and the agent after its patience")
    func refused() {
        let (world, first, second) = blocked(.active)
        world.connect(first, second)
        world.hosts.removeAll { $0 === second }
        world.run(for: .seconds(2))
        #expect(first.pairs.first { $0.remote.transport == .tcp }?.state == .failed)
        world.run(for: .seconds(40))
        #expect(first.state == .failed)
    }

    @Test("a connection that breaks before nomination gives way to another path, and after it is opened again (§11.1)")
    func breaks() throws {
        let (world, first, second) = blocked()
        world.connect(first, second)
        world.run(for: .milliseconds(500))
        world.cut(try #require(first.link))
        world.run(for: .milliseconds(100))
        #expect(first.state == .connected && second.state == .connected)
        #expect(!first.needsRestart)
        world.run(for: .seconds(3))
        #expect(first.state == .completed && second.state == .completed)
        for wait in [Duration.milliseconds(1), .seconds(20)] {
            // Before and after checks of other pairs have had their time.
            world.run(for: wait)
            world.cut(try #require(first.link))
            #expect(first.state == .disconnected && second.state == .disconnected)
            #expect(first.link == nil && second.link == nil)
            world.run(for: .milliseconds(100))
            for (one, other) in [(first, second), (second, first)] {
                #expect(one.state == .completed && !one.needsRestart)
                world.send([22, 9], from: one)
                world.run(for: .milliseconds(10))
                #expect(other.received().map(\.payload) == [[22, 9]])
            }
        }
        world.run(for: .seconds(60))
        #expect(first.state == .completed && second.state == .completed)
        #expect(world.ends.count == 2)
    }

    @Test("one that cannot be opened again needs a restart")
    func gone() throws {
        let (world, first, second) = blocked(.active)
        world.connect(first, second)
        world.run(for: .seconds(8))
        world.hosts.removeAll { $0 === second }
        world.cut(try #require(first.link))
        #expect(first.state == .disconnected && !first.needsRestart)
        world.run(for: .milliseconds(20))
        #expect(first.needsRestart)
        world.run(for: .seconds(31))
        #expect(first.state == .failed)
        #expect(first.opened.count < 10)
    }

    @Test("an agent that ends, and an address that goes, take the connections along")
    func ends() throws {
        let (world, first, second) = blocked()
        world.connect(first, second)
        world.run(for: .seconds(8))
        let link = try #require(first.link)
        first.agent.removeLocalAddress(first.address, now: world.now)
        world.run(for: .milliseconds(10))
        #expect(first.state == .disconnected && first.needsRestart)
        #expect(first.closed.contains(link))
        #expect(second.state == .disconnected)
        let (other, third, fourth) = blocked()
        other.connect(third, fourth)
        other.run(for: .seconds(8))
        third.agent.close()
        other.run(for: .milliseconds(10))
        #expect(other.ends.isEmpty)
    }

    @Test("with the policy relay no connection is opened or taken")
    func relayOnly() {
        let world = StreamWorld(seed: 5)
        let hidden = world.add("192.0.2.1") { $0.transportPolicy = .relay }
        let open = world.add("192.0.2.2")
        world.connect(hidden, open)
        world.run(for: .seconds(1))
        #expect(hidden.opened.isEmpty && hidden.pairs.isEmpty && world.ends.isEmpty)
        let link = hidden.agent.streamAccepted(from: open.address, to: hidden.listener, now: world.now)
        #expect(link == nil)
    }

    @Test("only what the option allows is used: without it a peer's passive candidate is dropped")
    func off() {
        let (world, first, second) = blocked(.none)
        world.connect(first, second)
        world.run(for: .seconds(1))
        #expect(first.opened.isEmpty)
        #expect(first.decisions.contains { if case .remoteCandidateDropped(_, .tcp) = $0 { true } else { false } })
    }
}

@Suite("Strangers that connect")
struct TCPStrangerTests {
    private let peer = ScriptedPeer(role: .controlled) { $0.tcpCandidates = .both }
    private let listener = address("192.0.2.1:6000")
    private let stranger = address("192.0.2.66:7777")

    private func connect(_ port: UInt16 = 7777) -> RelayLink? {
        if peer.localCandidates.count < 3 {
            peer.agent.addLocalListener(listener, now: peer.now)
            peer.start(candidates: [])
        }
        return peer.agent.streamAccepted(
            from: SocketAddress(ip: stranger.ip, port: port), to: listener, now: peer.now)
    }

    private func send(_ bytes: [UInt8], _ link: RelayLink) {
        bytes.withSpan { peer.agent.receive($0, over: link, now: peer.now) }
        peer.drain()
    }

    private var closed: [RelayLink] {
        peer.events.compactMap { if case .relay(.close(let link)) = $0 { link } else { nil } }
    }

    private func isAnswered(_ link: RelayLink) -> Bool {
        peer.events.contains { if case .relay(.send(link, _)) = $0 { true } else { false } }
    }

    @Test(
        "what is no check ends it: other data, a long frame, and silence",
        arguments: [[0, 4, 22, 1, 2, 3], [0xFF, 0xFF], [5, 221, 0, 1]] as [[UInt8]])
    func noise(bytes: [UInt8]) throws {
        let link = try #require(connect())
        send(bytes, link)
        #expect(closed == [link])
        #expect(peer.agent.nextRelayedPacket() == nil)
        #expect(peer.pairs.isEmpty)
        // What comes after is not looked at.
        send(FrameReader.frame(peer.check()), link)
        #expect(!isAnswered(link))
    }

    @Test("null frames and checks with a wrong proof do not keep it open", arguments: [true, false])
    func unproven(isNull: Bool) throws {
        let link = try #require(connect())
        for _ in 0..<9 {
            send(isNull ? [0, 0, 0, 0] : FrameReader.frame(peer.check(password: "not the one that is right")), link)
            peer.advance(.seconds(1))
            #expect(closed.isEmpty)
        }
        peer.advance(.seconds(1))
        #expect(closed == [link])
        #expect(peer.pairs.isEmpty && peer.remoteCandidates.isEmpty)
    }

    @Test("eight without a proof are enough; one with it stays, and its check makes a pair")
    func bounds() throws {
        let link = try #require(connect())
        send(FrameReader.frame(peer.check()), link)
        #expect(isAnswered(link))
        #expect(peer.pairs.map(\.remoteAddress) == [stranger])
        let others = (0..<8).map { connect(8000 + $0) }
        #expect(others.allSatisfy { $0 != nil })
        #expect(connect(9000) == nil)
        #expect(peer.counters.overLimit == 1)
        peer.advance(.seconds(11))
        #expect(Set(closed) == Set(others.compactMap { $0 }))
        #expect(connect(9001) != nil)
    }

    @Test("nobody connects where no listener stands, or after the agent's end")
    func elsewhere() {
        _ = connect()
        #expect(peer.agent.streamAccepted(from: stranger, to: address("192.0.2.1:6001"), now: peer.now) == nil)
        #expect(peer.agent.streamAccepted(from: stranger, to: peer.local, now: peer.now) == nil)
        peer.agent.close()
        #expect(connect() == nil)
    }

    @Test("no bytes trap, whatever they are", arguments: 0..<30)
    func fuzz(seed: UInt64) throws {
        var entropy = Entropy(seed: seed)
        for round in 0..<40 {
            guard let link = connect(7000 + UInt16(round)) else { continue }
            var bytes = FrameReader.frame(peer.check())
            for _ in 0..<Int(entropy.next() % 4) {
                bytes[Int(entropy.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.next())
            }
            for byte in bytes { send([byte], link) }
            peer.agent.relayClosed(link, now: peer.now)
        }
    }
}
