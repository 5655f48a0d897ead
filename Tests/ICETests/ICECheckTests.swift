// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("What an agent asks, and makes of answers (RFC 8445 §6.1.4, §7.2, §8)")
struct ICECheckTests {
    @Test("a check carries what RFC 8445 §7.1 and §7.2 want", arguments: [ICEAgent.Role.controlling, .controlled])
    func form(role: ICEAgent.Role) throws {
        let peer = ScriptedPeer(role: role)
        peer.start()
        let payload = try #require(peer.sent.last?.datagram.payload)
        let check = try decode(payload)
        #expect(check.messageClass == .request)
        #expect(check.username == "\(peer.credentials.ufrag):\(peer.agent.localCredentials.ufrag)")
        #expect(isAuthentic(check, payload, Array(peer.credentials.password.utf8)))
        #expect(check.fingerprint == .valid)
        // Type preference 110, local preference 65535, component 1.
        #expect(check.priority == UInt32(110 << 24 | 65535 << 8 | 255))
        #expect((check.iceControlling != nil) == (role == .controlling))
        #expect((check.iceControlled != nil) == (role == .controlled))
        #expect(!check.hasUseCandidate)
    }

    @Test("silence is answered with seven copies, doubling, and failure after the PAC timer")
    func retransmission() {
        let peer = ScriptedPeer()
        peer.start()
        peer.advance(.seconds(39))
        let times = peer.sent.map { ($0.time - .zero).nanoseconds / 1_000_000 }
        #expect(times == [0, 500, 1500, 3500, 7500, 15500, 31500])
        #expect(Set(peer.takeRequests().map(\.transactionID)).count == 1)
        #expect(peer.state == .checking)
        peer.advance(.seconds(1))
        #expect(peer.state == .failed)
        #expect(peer.actions.contains(.failed(.allPairsFailed)))
        peer.advance(.seconds(100))
        peer.receive(peer.check())
        #expect(peer.sent.isEmpty)
    }

    @Test("checks are paced by Ta, the best pair first, and both sides' larger Ta holds")
    func pacing() throws {
        let peer = ScriptedPeer { $0.checkInterval = .milliseconds(5) }
        peer.agent.gather(now: peer.now)
        let candidates = (1...5).map {
            peer.candidate("192.0.2.\($0 + 10):6000", priority: UInt32(1000 * $0), foundation: "\($0)")
        }
        try peer.agent.setRemote(credentials: peer.credentials, pacing: .milliseconds(20), now: peer.now)
        for candidate in candidates { peer.agent.addRemoteCandidate(candidate, now: peer.now) }
        peer.drain()
        peer.advance(.milliseconds(200))
        #expect(peer.sent.map { ($0.time - .zero).nanoseconds / 1_000_000 } == [0, 20, 40, 60, 80])
        #expect(peer.sent.map(\.datagram.destination) == candidates.reversed().map(\.address))
    }

    @Test("pairs of one foundation are frozen until the first succeeds, or all that runs is through")
    func freezing() throws {
        func start() -> ScriptedPeer {
            let peer = ScriptedPeer(role: .controlled)
            peer.start(candidates: [
                peer.candidate("192.0.2.11:1", priority: 3000, foundation: "a"),
                peer.candidate("192.0.2.12:1", priority: 2000, foundation: "a"),
                peer.candidate("192.0.2.13:1", priority: 1000, foundation: "b"),
            ])
            #expect(peer.pairs.map(\.state) == [.inProgress, .frozen, .waiting])
            peer.advance(.milliseconds(50))
            #expect(peer.pairs.map(\.state) == [.inProgress, .frozen, .inProgress])
            // Nothing waits, but the foundation is busy: the frozen one stays.
            peer.advance(.milliseconds(50))
            #expect(peer.pairs.map(\.state) == [.inProgress, .frozen, .inProgress])
            return peer
        }
        let answered = start()
        answered.receive(answered.response(to: answered.takeRequests()[1]), from: address("192.0.2.13:1"))
        #expect(answered.pairs.map(\.state) == [.inProgress, .frozen, .succeeded])
        let second = start()
        second.receive(second.response(to: second.takeRequests()[0]), from: address("192.0.2.11:1"))
        #expect(second.pairs.map(\.state) == [.succeeded, .inProgress, .inProgress])
        let silent = start()
        silent.advance(.seconds(41))
        #expect(silent.pairs.map(\.state) == [.failed, .inProgress, .failed])
        #expect(silent.state == .checking)
        silent.advance(.seconds(41))
        #expect(silent.state == .failed)
    }

    @Test("regular nomination: a check succeeds first, then USE-CANDIDATE goes out once, then nothing else is checked")
    func nomination() throws {
        let peer = ScriptedPeer()
        peer.start(candidates: [
            peer.candidate("192.0.2.2:6000", priority: 3000, foundation: "a"),
            peer.candidate("192.0.2.12:1", priority: 2000, foundation: "b"),
        ])
        let first = try #require(peer.takeRequests().first)
        #expect(!first.hasUseCandidate)
        peer.receive(peer.response(to: first))
        #expect(peer.state == .connected)
        let second = try #require(peer.takeRequests().first)
        #expect(second.hasUseCandidate)
        peer.receive(peer.response(to: second))
        #expect(peer.state == .completed)
        #expect(peer.pair?.isNominated == true)
        #expect(peer.pairs.count == 1)
        peer.advance(.seconds(3))
        #expect(peer.takeRequests().isEmpty)
        #expect(peer.actions.contains { if case .nominationStarted(_, .best) = $0 { true } else { false } })
        let selections = peer.events.compactMap { if case .selectedPair(let pair) = $0 { pair.isNominated } else { nil } }
        #expect(selections == [false, true])
    }

    @Test("a worse kind of pair is used at once but nominated only after a wait for better ones")
    func deferredNomination() throws {
        let peer = ScriptedPeer()
        peer.start(candidates: [
            peer.candidate("10.9.9.9:6000", priority: 3000, foundation: "a"),
            peer.candidate("203.0.113.2:6000", kind: .serverReflexive, priority: 2000, foundation: "b"),
        ])
        peer.advance(.milliseconds(50))
        let requests = peer.takeRequests()
        #expect(requests.count == 2)
        peer.receive(peer.response(to: requests[1]), from: address("203.0.113.2:6000"))
        #expect(peer.state == .connected)
        #expect(peer.takeRequests().isEmpty)
        peer.advance(.milliseconds(99))
        #expect(peer.takeRequests().isEmpty)
        peer.advance(.milliseconds(1))
        #expect(peer.takeRequests().map(\.hasUseCandidate) == [true])
        #expect(peer.actions.contains { if case .nominationStarted(_, .waitedLongEnough) = $0 { true } else { false } })
    }

    @Test("a better pair that works within the wait is the one nominated")
    func betterPair() throws {
        let peer = ScriptedPeer()
        peer.start(candidates: [
            peer.candidate("192.0.2.2:6000", priority: 3000, foundation: "a"),
            peer.candidate("203.0.113.2:6000", kind: .serverReflexive, priority: 2000, foundation: "b"),
        ])
        peer.advance(.milliseconds(50))
        let requests = peer.takeRequests()
        peer.receive(peer.response(to: requests[1]), from: address("203.0.113.2:6000"))
        #expect(peer.pair?.remoteAddress == address("203.0.113.2:6000"))
        peer.receive(peer.response(to: requests[0]))
        #expect(peer.pair?.remoteAddress == peer.remote)
        #expect(peer.sent.last?.datagram.destination == peer.remote)
        #expect(peer.takeRequests().map(\.hasUseCandidate) == [true])
    }

    @Test("a nomination that is refused leaves the pair and tries the next")
    func refusedNomination() throws {
        let peer = ScriptedPeer()
        peer.start(candidates: [
            peer.candidate("192.0.2.2:6000", priority: 3000, foundation: "a"),
            peer.candidate("203.0.113.2:6000", kind: .serverReflexive, priority: 2000, foundation: "b"),
        ])
        peer.advance(.milliseconds(50))
        let requests = peer.takeRequests()
        peer.receive(peer.response(to: requests[1]), from: address("203.0.113.2:6000"))
        peer.receive(peer.response(to: requests[0]))
        let nomination = try #require(peer.takeRequests().first)
        peer.receive(peer.response(to: nomination, error: .badRequest))
        #expect(peer.pair?.remoteAddress == address("203.0.113.2:6000"))
        peer.advance(.milliseconds(200))
        let second = try #require(peer.takeRequests().first)
        #expect(second.hasUseCandidate)
        peer.receive(peer.response(to: second), from: address("203.0.113.2:6000"))
        #expect(peer.state == .completed)
    }

    @Test("a controlled agent takes the nominated pair when both directions work, and the better of two")
    func controlled() throws {
        let peer = ScriptedPeer(role: .controlled)
        let other = address("192.0.2.12:1")
        peer.start(candidates: [
            peer.candidate("192.0.2.12:1", priority: 3000, foundation: "a"),
            peer.candidate("192.0.2.2:6000", priority: 2000, foundation: "b"),
        ])
        peer.receive(peer.check { $0.append(.useCandidate) })
        #expect(peer.state == .checking)
        peer.advance(.milliseconds(50))
        let requests = peer.takeRequests()
        #expect(requests.count == 2)
        peer.receive(peer.response(to: requests[1]))
        #expect(peer.state == .completed)
        #expect(peer.pair?.remoteAddress == peer.remote)
        // An aggressive peer nominates another within three seconds: the higher priority wins.
        peer.receive(peer.check { $0.append(.useCandidate) }, from: other)
        peer.advance(.milliseconds(60))
        let follow = try #require(peer.takeRequests().last)
        peer.receive(peer.response(to: follow), from: other)
        #expect(peer.pair?.remoteAddress == other)
    }

    @Test("487 switches the role once and checks the pair again, with a new tie-breaker")
    func roleConflict() throws {
        let peer = ScriptedPeer()
        peer.start()
        let first = try #require(peer.takeRequests().first)
        peer.receive(peer.response(to: first, error: .roleConflict))
        #expect(peer.role == .controlled)
        peer.advance(.milliseconds(50))
        let second = try #require(peer.takeRequests().first)
        #expect(second.iceControlled != nil)
        #expect(second.iceControlled != first.iceControlling)
        // A late copy of the same refusal changes nothing.
        peer.receive(peer.response(to: first, error: .roleConflict))
        #expect(peer.role == .controlled)
    }

    @Test("an answer that shows another address makes a peer-reflexive local candidate")
    func learnsLocal() throws {
        let peer = ScriptedPeer()
        peer.start()
        let mapped = address("203.0.113.1:7777")
        peer.receive(peer.response(to: try #require(peer.takeRequests().first), mapped: mapped))
        #expect(peer.localCandidates.map(\.kind) == [.host, .peerReflexive])
        #expect(peer.pair?.local.address == mapped)
        #expect(peer.pair?.localAddress == peer.local)
        // It is the peer who saw it: nothing is signalled.
        let told = peer.events.count { if case .localCandidate = $0 { true } else { false } }
        #expect(told == 1)
    }

    @Test("answers without proof, fingerprint or with the wrong algorithm are as none")
    func unproved() throws {
        let peer = ScriptedPeer()
        peer.start()
        let check = try #require(peer.takeRequests().first)
        peer.receive(peer.response(to: check, integrity: false))
        peer.receive(peer.response(to: check, password: "wrongwrongwrongwrongwrong"))
        peer.receive(peer.response(to: check, algorithm: .sha256))
        peer.receive(peer.response(to: check, fingerprint: false))
        peer.receive(peer.response(to: check, error: .unauthenticated, integrity: false))
        #expect(peer.state == .checking)
        #expect(peer.counters.unauthenticatedResponses == 4)
        #expect(peer.counters.badFingerprints == 1)
        peer.advance(.milliseconds(500))
        #expect(peer.takeRequests().map(\.transactionID) == [check.transactionID])
        peer.receive(peer.response(to: check))
        #expect(peer.state == .connected)
    }

    @Test("an answer from elsewhere, or one that cannot be understood, fails the pair")
    func failures() throws {
        for variant in 0..<4 {
            let peer = ScriptedPeer()
            peer.start()
            let check = try #require(peer.takeRequests().first)
            switch variant {
            case 0: peer.receive(peer.response(to: check), from: address("192.0.2.2:6001"))
            case 1: peer.receive(peer.response(to: check) { $0.append(STUNAttribute.Kind(rawValue: 0x7FF0)) })
            case 2: peer.receive(peer.response(to: check, error: .badRequest))
            default: peer.receive(peer.response(to: check, error: .badRequest) { $0.attributes = [] })
            }
            #expect(peer.pairs.map(\.state) == [.failed], "variant \(variant)")
            #expect(peer.state == .checking)
            // The peer's own check revives it.
            peer.advance(.milliseconds(60))
            peer.receive(peer.check())
            peer.answerAll()
            #expect(peer.state == .completed, "variant \(variant)")
        }
    }

    @Test("a lite peer is controlled, whatever was agreed, and gets checked and nominated")
    func lite() {
        let peer = ScriptedPeer(role: .controlled)
        peer.start(lite: true)
        #expect(peer.role == .controlling)
        peer.answerAll()
        #expect(peer.state == .completed)
    }

    @Test("no more than a hundred pairs are formed, the best ones")
    func bounds() {
        let peer = ScriptedPeer { $0.maximumCandidates = 600 }
        let candidates = (1...500).map {
            peer.candidate("192.0.2.2:\($0)", priority: UInt32($0), foundation: "\($0)")
        }
        peer.start(candidates: candidates)
        #expect(peer.pairs.count == 100)
        #expect(peer.pairs.map(\.remote.priority) == (401...500).reversed().map { UInt32($0) })
        let limited = ScriptedPeer()
        limited.start(candidates: candidates)
        #expect(limited.remoteCandidates.count == 100)
    }

    @Test(
        "addresses that lead nowhere are not checked",
        arguments: [
            "127.0.0.1:1", "0.0.0.0:1", "224.0.0.1:1", "192.0.2.2:0", "[::1]:1", "[2001:db8::2]:1", "[fe80::2]:1",
        ])
    func senseless(text: String) {
        let peer = ScriptedPeer()
        peer.start(candidates: [peer.candidate(text)])
        peer.advance(.seconds(1))
        #expect(peer.sent.isEmpty)
    }

    @Test("without a pair an agent fails when the PAC timer ends, not before, and only once no candidate can come")
    func patience() {
        let peer = ScriptedPeer()
        peer.start(candidates: [])
        peer.advance(.milliseconds(39_499))
        #expect(peer.state == .checking)
        peer.advance(.milliseconds(1))
        #expect(peer.state == .failed)
        #expect(peer.actions.contains(.failed(.noPairs)))
        let open = ScriptedPeer()
        open.start(candidates: [], ended: false)
        open.advance(.seconds(60))
        #expect(open.state == .checking)
        open.agent.addRemoteCandidate(open.candidate("192.0.2.2:6000"), now: open.now)
        open.drain()
        open.answerAll()
        #expect(open.state == .completed)
    }
}
