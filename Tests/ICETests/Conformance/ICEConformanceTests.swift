// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

/// Requirements that the other suites do not show by the way, each with its section.
@Suite("What RFC 8445, 8838 and 8863 require of an agent")
struct ICEConformanceTests {
    @Test(
        "priorities are unique, of 31 bits, and made as §5.1.2.1 recommends, peer-reflexive ones higher"
    )
    func priorities() throws {
        let net = Simulation(seed: 1)
        let servers = [address("198.51.100.1:3478"), address("198.51.100.2:3478")]
        net.servers = [servers[0]: .answers, servers[1]: .answers]
        let nat = SimulatedNAT(.v4(0xCB00_7101), mapping: .addressAndPortDependent, filtering: .endpointIndependent)
        let addresses = (1...6).map { address("10.0.0.\($0):5000") }
        let peer = net.addPeer("alice", addresses: addresses, behind: nat) { $0.stunServers = servers }
        peer.agent.gather(now: .zero)
        net.run(for: .seconds(5))
        #expect(peer.candidates.count > addresses.count)
        #expect(Set(peer.candidates.map(\.priority)).count == peer.candidates.count)
        for candidate in peer.candidates {
            #expect((1...0x7FFF_FFFF).contains(candidate.priority))
            #expect(candidate.priority >> 24 == (candidate.kind == .host ? 126 : 100))
            #expect(candidate.priority & 0xFF == 255)
        }
        // §7.1.1: what a check tells, with the type preference of a peer-reflexive candidate.
        let script = ScriptedPeer()
        script.start()
        let check = try #require(script.takeRequests().first)
        #expect(check.priority.map { $0 >> 24 } == 110)
        #expect(check.priority.map { $0 & 0xFF_FFFF } == script.localCandidates.first.map { $0.priority & 0xFF_FFFF })
    }

    @Test("a reflexive candidate is checked from its base, where the host candidate stands already (§6.1.2.4)")
    func reflexiveBase() {
        let net = Simulation(seed: 2)
        let server = address("198.51.100.1:3478")
        net.servers = [server: .answers]
        let nat = SimulatedNAT(.v4(0xCB00_7101), mapping: .endpointIndependent, filtering: .endpointIndependent)
        let alice = net.addPeer("alice", addresses: [address("10.0.0.1:5000")], behind: nat) {
            $0.stunServers = [server]
        }
        let bob = net.addPeer("bob", addresses: [address("192.0.2.2:6000"), address("192.0.2.3:6000")])
        net.drops = { bob.addresses.contains($0.destination) }
        net.connect(alice, bob)
        net.run(for: .seconds(20))
        #expect(alice.candidates.map(\.kind) == [.host, .serverReflexive])
        #expect(alice.pairs.count == 2)
        #expect(Set(alice.pairs.map(\.remoteAddress)).count == 2)
    }

    @Test("a lone controlled agent never sends USE-CANDIDATE (§7.1.2), and all checks bear one tie-breaker (§16.1)")
    func attributes() {
        for role in [ICEAgent.Role.controlling, .controlled] {
            let peer = ScriptedPeer(role: role)
            peer.start(candidates: (1...5).map { peer.candidate("192.0.2.\($0 + 1):6000", foundation: "\($0)") })
            var requests = peer.takeRequests()
            peer.receive(peer.check())
            for _ in 0..<60 {
                peer.advance(.milliseconds(100))
                requests += peer.takeRequests()
            }
            #expect(requests.count > 10)
            #expect(Set(requests.compactMap { $0.iceControlling ?? $0.iceControlled }).count == 1)
            #expect(requests.allSatisfy { ($0.iceControlling != nil) != ($0.iceControlled != nil) })
            if role == .controlled { #expect(!requests.contains { $0.hasUseCandidate }) }
        }
    }

    @Test("checks are 50 ms apart unless both sides say otherwise (§14.2)")
    func pacing() {
        func gaps(_ own: Duration, _ announced: Duration?) -> [Int64] {
            let peer = ScriptedPeer { $0.checkInterval = own }
            peer.agent.gather(now: peer.now)
            try? peer.agent.setRemote(credentials: peer.credentials, pacing: announced, now: peer.now)
            for number in 1...8 {
                peer.agent.addRemoteCandidate(
                    peer.candidate("192.0.2.\(number + 1):6000", foundation: "\(number)"), now: peer.now)
            }
            peer.drain()
            peer.advance(.milliseconds(450))
            let times = peer.sent.map(\.time)
            return zip(times.dropFirst(), times).map { ($0 - $1).nanoseconds / 1_000_000 }
        }
        #expect(gaps(.milliseconds(50), nil) == Array(repeating: 50, count: 7))
        #expect(gaps(.milliseconds(5), nil) == Array(repeating: 50, count: 7))
        #expect(gaps(.milliseconds(5), .milliseconds(5)) == Array(repeating: 5, count: 7))
        // Never below 5 ms, whatever is asked for.
        #expect(gaps(.milliseconds(1), .milliseconds(1)) == Array(repeating: 5, count: 7))
        #expect(gaps(.milliseconds(5), .milliseconds(20)) == Array(repeating: 20, count: 7))
    }

    @Test("no request is sent again before 500 ms, to servers either (§14.3)")
    func retransmissions() {
        let peer = ScriptedPeer {
            $0.initialRTO = .milliseconds(10)
            $0.stunServers = [address("198.51.100.1:3478")]
        }
        peer.start()
        peer.advance(.milliseconds(499))
        let first = peer.takeMessages()
        #expect(Set(first.map(\.transactionID)).count == first.count)
        peer.advance(.milliseconds(60))
        let second = peer.takeMessages()
        #expect(second.count == first.count)
        #expect(Set(second.map(\.transactionID)) == Set(first.map(\.transactionID)))
    }

    /// Where a pair stands when a check for it comes.
    enum Standing: CaseIterable { case frozen, waiting, inProgress, failed }

    @Test("a check has its pair checked next, wherever it stands (§7.3.1.4)", arguments: Standing.allCases)
    func triggered(standing: Standing) throws {
        let peer = ScriptedPeer(role: .controlled)
        let low = address("192.0.2.99:1")
        // Twenty better pairs; one of the same foundation freezes the worst.
        var candidates = (1...20).map {
            peer.candidate("192.0.2.\($0 + 1):6000", priority: 2_000_000_000 - UInt32($0), foundation: "\($0)")
        }
        candidates.append(
            peer.candidate("192.0.2.99:1", priority: 1, foundation: standing == .frozen ? "20" : "99"))
        peer.start(candidates: standing == .failed || standing == .inProgress ? [candidates[20]] : candidates)
        switch standing {
        case .frozen: #expect(peer.pairs.last?.state == .frozen)
        case .waiting:
            peer.advance(.milliseconds(120))
            #expect(peer.pairs.last?.state == .waiting)
        case .inProgress: #expect(peer.pairs.last?.state == .inProgress)
        case .failed:
            let check = try #require(peer.takeRequests().first)
            peer.receive(peer.response(to: check, error: STUNErrorCode(500, "no")), from: low)
            #expect(peer.pairs.last?.state == .failed)
        }
        peer.sent.isEmpty ? () : (_ = peer.takeMessages())
        peer.receive(peer.check(), from: low)
        peer.advance(.milliseconds(51))
        let next = peer.sent.first { (try? decode($0.datagram.payload))?.messageClass == .request }
        #expect(next?.datagram.destination == low)
    }

    @Test(
        "after nomination other candidates answer as well, and change nothing (§8.1.2, §8.3.1)",
        arguments: [1, 2500, 9000])
    func answersAfterNomination(milliseconds: Int) throws {
        let peer = ScriptedPeer()
        peer.complete()
        let selected = peer.pair?.name
        peer.advance(.milliseconds(milliseconds))
        _ = peer.takeMessages()
        peer.receive(peer.check(), from: address("192.0.2.77:1"))
        let answers = peer.takeMessages()
        #expect(answers.map(\.messageClass) == [.success])
        #expect(peer.pair?.name == selected)
        #expect(peer.state == .completed)
    }

    @Test("what a stranger says in an answer makes no second nomination (§8.1.1)")
    func oneNomination() {
        let peer = ScriptedPeer()
        peer.start(candidates: [
            peer.candidate("192.0.2.2:6000", priority: 1, foundation: "1"),
            peer.candidate("192.0.2.3:6000", priority: 2_000_000_000, foundation: "2"),
        ])
        // The worse pair is nominated first; the better one's answer comes afterwards.
        peer.advance(.milliseconds(100))
        let checks = peer.sent.compactMap { entry in
            (try? decode(entry.datagram.payload)).map { ($0, entry.datagram.destination) }
        }
        for (check, destination) in checks where destination == address("192.0.2.2:6000") {
            peer.receive(peer.response(to: check), from: destination)
        }
        peer.answerAll()
        #expect(peer.state == .completed)
        let chosen = peer.pair?.remoteAddress
        for (check, destination) in checks { peer.receive(peer.response(to: check), from: destination) }
        peer.advance(.seconds(20))
        #expect(!peer.takeRequests().contains { $0.hasUseCandidate })
        #expect(peer.pair?.remoteAddress == chosen)
    }

    // MARK: - RFC 8838

    @Test("an agent does not fail while either side may still bring candidates (RFC 8838 §8)")
    func noEarlyFailure() {
        let peer = ScriptedPeer()
        peer.start(ended: false)
        peer.advance(.seconds(200))
        #expect(peer.state == .checking)
        peer.agent.endOfRemoteCandidates(now: peer.now)
        peer.drain()
        peer.advance(.milliseconds(1))
        #expect(peer.state == .failed)
    }

    @Test("no candidate is told after nomination, however late a server answers (RFC 8838 §13)")
    func nothingAfterNomination() throws {
        let server = address("198.51.100.1:3478")
        let peer = ScriptedPeer { $0.stunServers = [server] }
        peer.start()
        let toServer = try #require(peer.sent.first { $0.datagram.destination == server })
        let request = try decode(toServer.datagram.payload)
        peer.answerAllButServers(server)
        #expect(peer.state == .completed)
        var response = STUNMessage(.success, transactionID: request.transactionID)
        response.append(xorAddress: address("203.0.113.5:7000"))
        peer.receive(response.encoded(), from: server)
        #expect(!peer.localCandidates.contains { $0.kind == .serverReflexive })
    }

    // MARK: - RFC 8863

    @Test(
        "a check before the PAC timer ends connects, though all pairs had failed or there were none (RFC 8863 §4, §5)",
        arguments: [true, false])
    func patience(hasCandidate: Bool) throws {
        let peer = ScriptedPeer(role: .controlled)
        peer.start(candidates: hasCandidate ? [peer.candidate("192.0.2.2:6000")] : [])
        if hasCandidate {
            let check = try #require(peer.takeRequests().first)
            peer.receive(peer.response(to: check, error: STUNErrorCode(500, "no")))
        }
        peer.advance(.seconds(30))
        #expect(peer.state == .checking)
        _ = peer.takeMessages()
        let source = address("203.0.113.9:4000")
        peer.receive(peer.check { $0.append(.useCandidate) }, from: source)
        peer.advance(.milliseconds(60))
        let requests = peer.takeRequests()
        let check = try #require(requests.first)
        peer.receive(peer.response(to: check), from: source)
        #expect(peer.state == .completed)
        #expect(peer.pair?.remoteAddress == source)
    }
}

extension ScriptedPeer {
    /// Answers all checks, and nothing that is for a server.
    func answerAllButServers(_ server: SocketAddress) {
        while true {
            let open = sent.compactMap { entry in
                (try? decode(entry.datagram.payload)).map { ($0, entry.datagram.destination) }
            }.filter { $0.0.messageClass == .request && $0.1 != server }
            _ = takeMessages()
            guard !open.isEmpty else { return }
            for (request, destination) in open { receive(response(to: request), from: destination) }
        }
    }
}
