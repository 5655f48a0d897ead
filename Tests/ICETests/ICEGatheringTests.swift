// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Gathering and trickle (RFC 8445 §5.1, RFC 8838)")
struct ICEGatheringTests {
    static let nat = IPAddress.v4(0xCB00_7101)
    let good = address("198.51.100.1:3478")
    let dead = address("198.51.100.2:3478")

    private func gather(
        _ servers: [SocketAddress: Simulation.Server], addresses: [String] = ["10.0.0.1:5000"], behindNAT: Bool = true
    ) -> (net: Simulation, peer: SimulatedPeer) {
        let net = Simulation(seed: 1)
        net.servers = servers
        let nat = SimulatedNAT(Self.nat, mapping: .endpointIndependent, filtering: .endpointIndependent)
        let peer = net.addPeer("alice", addresses: addresses.map(address), behind: behindNAT ? nat : nil) {
            $0.stunServers = servers.keys.sorted { $0.description < $1.description }.reversed()
        }
        peer.agent.gather(now: net.now)
        net.run(for: .seconds(60)) { peer.gatheredAt != nil }
        return (net, peer)
    }

    @Test("without servers gathering is over at once, with host candidates in the given order")
    func noServers() throws {
        let (_, peer) = gather([:], addresses: ["10.0.0.1:5000", "[2001:db8::1]:5000"])
        #expect(peer.gatheredAt == .zero)
        #expect(peer.candidates.map(\.kind) == [.host, .host])
        #expect(peer.candidates[0].priority == 126 << 24 | 65535 << 8 | 255)
        #expect(peer.candidates[0].priority > peer.candidates[1].priority)
        #expect(peer.candidates[0].foundation != peer.candidates[1].foundation)
        #expect(peer.candidates[0].relatedAddress == nil)
        #expect(peer.actions.contains(.gatheringCompleted(.noServers)))
    }

    @Test(
        "a server's answer makes a reflexive candidate, of old servers too",
        arguments: [Simulation.Server.answers, .classic])
    func reflexive(server: Simulation.Server) throws {
        let (_, peer) = gather([good: server])
        #expect(peer.gatheredAt == Timestamp(nanoseconds: 10_000_000))
        let candidate = try #require(peer.candidates.last)
        #expect(candidate.kind == .serverReflexive)
        #expect(candidate.address?.ip == Self.nat)
        #expect(candidate.relatedAddress == address("10.0.0.1:5000"))
        #expect(candidate.priority == 100 << 24 | 65535 << 8 | 255)
    }

    @Test("a dead server delays nobody: one answer for each address is enough")
    func deadServer() {
        let (_, peer) = gather([good: .answers, dead: .silent])
        // The dead one is asked first, the other Ta later.
        #expect(peer.gatheredAt == Timestamp(nanoseconds: 60_000_000))
        #expect(peer.candidates.count == 2)
        #expect(peer.actions.contains(.gatheringCompleted(.answered)))
        #expect(peer.actions.contains(.serverFailed(dead, from: address("10.0.0.1:5000"), .timeout)))
    }

    @Test("servers that refuse or say nothing end with the deadline at the latest")
    func uselessServers() {
        let (_, silent) = gather([dead: .silent])
        #expect(silent.gatheredAt == Timestamp(nanoseconds: 2_000_000_000))
        #expect(silent.actions.contains(.gatheringCompleted(.deadline)))
        #expect(silent.messages.count == 3)
        let (_, refused) = gather([good: .refuses])
        #expect(refused.gatheredAt == Timestamp(nanoseconds: 10_000_000))
        #expect(refused.actions.contains(.serverFailed(good, from: address("10.0.0.1:5000"), .refused(code: 500))))
    }

    @Test("a port that nobody listens on is known at once")
    func unreachable() {
        let net = Simulation(seed: 1)
        let peer = net.addPeer("alice", addresses: [address("10.0.0.1:5000")]) { $0.stunServers = [dead] }
        peer.agent.gather(now: net.now)
        net.run(for: .milliseconds(1))
        peer.agent.receiveUnreachable(dead, from: address("10.0.0.1:5000"), now: net.now)
        net.run(for: .zero)
        #expect(peer.gatheredAt == Timestamp(nanoseconds: 1_000_000))
        #expect(peer.actions.contains(.serverFailed(dead, from: address("10.0.0.1:5000"), .unreachable)))
    }

    @Test("an address that the server sees as it is makes no second candidate")
    func redundant() {
        let (_, peer) = gather([good: .answers], addresses: ["192.0.2.1:5000"], behindNAT: false)
        #expect(peer.candidates.count == 1)
        #expect(peer.actions.contains(.localCandidateDropped(address("192.0.2.1:5000"), .redundant)))
    }

    @Test("foundations are equal exactly for equal kind, base address and server")
    func foundations() {
        let net = Simulation(seed: 1)
        net.servers = [good: .answers, dead: .answers]
        let nat = SimulatedNAT(Self.nat, mapping: .addressAndPortDependent, filtering: .endpointIndependent)
        let peer = net.addPeer(
            "alice", addresses: [address("10.0.0.1:1"), address("10.0.0.1:2"), address("10.0.0.2:1")], behind: nat
        ) {
            $0.stunServers = [good, dead]
            $0.gatheringGrace = .seconds(1)
        }
        peer.agent.gather(now: net.now)
        net.run(for: .seconds(3))
        let hosts = peer.candidates.filter { $0.kind == .host }
        #expect(hosts[0].foundation == hosts[1].foundation)
        #expect(hosts[0].foundation != hosts[2].foundation)
        let reflexive = peer.candidates.filter { $0.kind == .serverReflexive }
        #expect(Set(peer.candidates.map(\.priority)).count == peer.candidates.count)
        #expect(Set(reflexive.map(\.foundation)).isDisjoint(with: hosts.map(\.foundation)))
        for candidate in reflexive where candidate.relatedAddress?.ip == address("10.0.0.2:1").ip {
            #expect(reflexive.filter { $0.foundation == candidate.foundation }.count == 1)
        }
    }

    @Test("gathering transactions are at least Ta apart, and bindings are refreshed until a pair is nominated")
    func pacingAndRefresh() {
        let (net, peer) = gather(
            [good: .answers, dead: .silent], addresses: ["10.0.0.1:5000", "10.0.0.2:5000", "10.0.0.3:5000"])
        let starts = Dictionary(grouping: peer.messages, by: \.message.transactionID).values
            .compactMap { $0.map(\.time).min() }.sorted()
        let gaps = zip(starts, starts.dropFirst()).map { $1 - $0 }
        #expect(gaps.allSatisfy { $0 >= .milliseconds(50) })
        let before = peer.sent.count
        net.run(for: .seconds(40))
        #expect(peer.sent.count >= before + 6)
        #expect(peer.messages.suffix(6).allSatisfy { $0.to == good })
        peer.agent.close()
        let after = peer.sent.count
        net.run(for: .seconds(40))
        #expect(peer.sent.count == after)
    }

    @Test(
        "addresses that no one can reach are no candidates",
        arguments: [
            "0.0.0.0:5000", "127.0.0.1:5000", "224.0.0.1:5000", "10.0.0.1:0", "[::]:1", "[::1]:1", "[fec0::1]:1",
            "[::10.0.0.1]:1", "[::ffff:10.0.0.1]:1",
        ])
    func unusable(text: String) {
        let (_, peer) = gather([:], addresses: [text])
        #expect(peer.candidates.isEmpty)
    }

    @Test("trickled candidates connect, and no check leaves from a candidate before it is told")
    func trickle() {
        let net = Simulation(seed: 3)
        net.servers = [good: .answers]
        let natA = SimulatedNAT(Self.nat, mapping: .endpointIndependent, filtering: .addressAndPortDependent)
        let alice = net.addPeer("alice", addresses: [address("10.0.0.1:5000")], behind: natA) {
            $0.stunServers = [good]
        }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000")])
        net.trickle(alice, bob)
        #expect(net.run(for: .seconds(5)) { alice.state == .completed && bob.state == .completed })
        #expect(bob.pair?.remoteAddress.ip == Self.nat)
        #expect(alice.pair?.local.kind == .serverReflexive)
    }

    @Test("a candidate that comes after twenty seconds still connects")
    func lateCandidate() {
        let peer = ScriptedPeer()
        peer.start(candidates: [], ended: false)
        peer.advance(.seconds(20))
        #expect(peer.sent.isEmpty)
        peer.agent.addRemoteCandidate(peer.candidate("192.0.2.2:6000"), now: peer.now)
        peer.drain()
        #expect(peer.sent.count == 1)
        peer.answerAll()
        #expect(peer.state == .completed)
    }

    @Test("what must be ignored of trickled candidates is, and says why")
    func ignored() throws {
        let peer = ScriptedPeer()
        peer.start(candidates: [], ended: false)
        var tcp = peer.candidate("192.0.2.3:9")
        tcp.transport = .tcp
        var second = peer.candidate("192.0.2.4:9")
        second.component = 2
        let lines = [
            "candidate:1 1 udp 5 abc.local 9 typ host", "candidate:1 1 udp 5 192.0.2.5 9 typ host ufrag other",
        ]
        let wrong = [tcp, second] + lines.compactMap { ICECandidate(sdp: $0) }
        for candidate in wrong { peer.agent.addRemoteCandidate(candidate, now: peer.now) }
        let right = peer.candidate("192.0.2.2:6000")
        for _ in 0..<2 { peer.agent.addRemoteCandidate(right, now: peer.now) }
        peer.agent.endOfRemoteCandidates(now: peer.now)
        peer.agent.addRemoteCandidate(peer.candidate("192.0.2.8:8"), now: peer.now)
        peer.drain()
        let reasons = peer.actions.compactMap {
            if case .remoteCandidateDropped(_, let reason) = $0 { reason } else { nil }
        }
        #expect(
            reasons == [.tcp, .otherComponent, .unresolvedName, .otherUfrag, .duplicate, .afterEndOfCandidates])
        #expect(peer.remoteCandidates.count == 1)
    }

    @Test("decisions cost nothing to those who do not want them")
    func quiet() {
        let peer = ScriptedPeer { $0.reportsDecisions = false }
        peer.complete()
        #expect(peer.actions.isEmpty)
        #expect(!peer.events.isEmpty)
    }

    @Test("other credentials are refused without a restart, the same ones again are not")
    func credentials() throws {
        let peer = ScriptedPeer()
        peer.start()
        try peer.agent.setRemote(credentials: peer.credentials, now: peer.now)
        var entropy = Entropy(seed: 77)
        let other = ICECredentials(using: &entropy)
        #expect(throws: ICEError.remoteCredentialsAlreadySet) {
            try peer.agent.setRemote(credentials: other, now: peer.now)
        }
    }
}
