// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("What an agent answers to checks (RFC 8445 §7.3)")
struct ICERequestTests {
    @Test("a valid check is answered from where it was sent to, with the source as mapped address, proved")
    func success() throws {
        let peer = ScriptedPeer()
        peer.receive(peer.check())
        let datagram = try #require(peer.sent.last?.datagram)
        #expect(datagram.source == peer.local)
        #expect(datagram.destination == peer.remote)
        let response = try decode(datagram.payload)
        #expect(response.messageClass == .success)
        #expect(response.xorMappedAddress == peer.remote)
        #expect(response.fingerprint == .valid)
        let password = Array(peer.agent.localCredentials.password.utf8)
        #expect(isAuthentic(response, datagram.payload, password))
        #expect(response.username == nil)
    }

    @Test("a check with MESSAGE-INTEGRITY-SHA256 gets its answer with the same")
    func sha256() throws {
        let peer = ScriptedPeer()
        peer.receive(peer.check(algorithm: .sha256))
        let datagram = try #require(peer.sent.last?.datagram)
        let response = try decode(datagram.payload)
        #expect(response.messageClass == .success)
        #expect(response.integrityAlgorithm == .sha256)
        #expect(isAuthentic(response, datagram.payload, Array(peer.agent.localCredentials.password.utf8), .sha256))
    }

    @Test("what cannot be accepted is refused with the right number, proved where the sender is known")
    func refusals() throws {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        peer.tieBreaker = 0
        let cases: [(name: String, bytes: [UInt8], code: Int, isProved: Bool)] = [
            ("no integrity", peer.check(integrity: false), 400, false),
            ("wrong fragment", peer.check(ufrag: "nobody"), 401, false),
            ("wrong password", peer.check(password: "wrongwrongwrongwrongwrong"), 401, false),
            ("unknown attribute", peer.check { $0.append(STUNAttribute.Kind(rawValue: 0x7FF0)) }, 420, true),
            ("same role", peer.check(role: .controlling), 487, true),
        ]
        for (name, bytes, code, isProved) in cases {
            peer.receive(bytes)
            let payload = try #require(peer.sent.last?.datagram.payload, "\(name)")
            let response = try decode(payload)
            #expect(response.messageClass == .error, "\(name)")
            #expect(response.errorCode?.code == code, "\(name)")
            #expect((response.integrityAlgorithm != nil) == isProved, "\(name)")
            #expect(response.fingerprint == .valid, "\(name)")
            _ = peer.takeMessages()
        }
        #expect(peer.counters.requestsRefused == cases.count)
        #expect(peer.role == .controlling)
        peer.receive(cases[3].bytes)
        let unknown = try decode(try #require(peer.sent.last?.datagram.payload))
        #expect(unknown.first(.unknownAttributes) == [0x7F, 0xF0])
    }

    @Test("an address is proven by an authentic check or answer and by nothing else, signalled or not")
    func proof() throws {
        func isProven(_ peer: ScriptedPeer) -> Bool { peer.agent.isProven(peer.remote, to: peer.local) }
        // Before the peer's description a check is all that there can be.
        let early = ScriptedPeer()
        early.receive(early.check(password: "wrongwrongwrongwrongwrong"))
        early.receive(early.check(integrity: false))
        #expect(!isProven(early))
        early.receive(early.check())
        #expect(isProven(early))

        let answered = ScriptedPeer()
        answered.start()
        let mayReceive = answered.agent.mayReceiveData(from: answered.remote, to: answered.local)
        #expect(mayReceive)
        #expect(!isProven(answered), "signalling is no proof")
        answered.answerAll()
        #expect(isProven(answered))
    }

    @Test("no USERNAME is a bad request")
    func noUsername() throws {
        let peer = ScriptedPeer()
        var message = STUNMessage(.request, transactionID: STUNTransactionID(high: 1, low: 1))
        message.append(.priority, UInt32(1))
        let key = Array(peer.agent.localCredentials.password.utf8)
        peer.receive(message.encoded(integrity: STUNIntegrity(key: key)))
        #expect(peer.takeMessages().last?.errorCode?.code == 400)
    }

    @Test("noise, classic STUN, other methods and indications get no answer")
    func silence() throws {
        let peer = ScriptedPeer()
        peer.receive([])
        peer.receive([0x16, 0xFE, 0xFD, 0])
        var classic = peer.check()
        classic[4] = 0
        peer.receive(classic)
        peer.receive(peer.check(fingerprint: false))
        var damaged = peer.check()
        damaged[damaged.count - 1] ^= 1
        peer.receive(damaged)
        let id = STUNTransactionID(high: 3, low: 3)
        peer.receive(STUNMessage(.request, STUNMessage.Method(rawValue: 0xFF), transactionID: id).encoded())
        var indication = STUNMessage(.indication, transactionID: id)
        indication.append(STUNAttribute.Kind(rawValue: 0x7FF0))
        peer.receive(indication.encoded())
        peer.receive(STUNMessage(.success, transactionID: id).encoded())
        peer.receive(peer.check(), to: address("192.0.2.99:1"))
        #expect(peer.sent.isEmpty)
        let counters = peer.counters
        #expect(counters.malformed == 3)
        #expect(counters.badFingerprints == 2)
        #expect(counters.ignored == 2)
        #expect(counters.indications == 1)
        #expect(counters.unexpectedResponses == 1)
    }

    @Test("a username is judged by its first half alone, but another fork is not followed up")
    func otherFork() {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        peer.receive(peer.check(own: "else"), from: address("192.0.2.77:7"))
        #expect(peer.takeMessages().last?.messageClass == .success)
        #expect(peer.remoteCandidates.count == 1)
    }

    @Test("a controlled agent checks a working pair once more, and no more than once, when the peer begins to check it")
    func checksAgain() throws {
        let peer = ScriptedPeer(role: .controlled)
        peer.start()
        peer.answerAll()
        #expect(peer.state == .connected)
        _ = peer.takeMessages()
        peer.receive(peer.check())
        let first = peer.takeMessages()
        #expect(first.map(\.messageClass) == [.success, .request])
        #expect(first.last?.hasUseCandidate == false)
        peer.receive(peer.check())
        #expect(peer.takeMessages().map(\.messageClass) == [.success])
        // Silence means nothing: the pair works.
        peer.advance(.milliseconds(3_900))
        #expect(peer.takeRequests().isEmpty)
        #expect(peer.state == .connected)
        peer.receive(peer.check { $0.append(.useCandidate) })
        #expect(peer.state == .completed)
    }

    @Test("there is nothing to check again for who nominates, or where the peer has nominated")
    func noSecondCheck() {
        let controlling = ScriptedPeer { $0.pacesNomination = true }
        controlling.start()
        _ = controlling.takeRequests().map { controlling.receive(controlling.response(to: $0)) }
        _ = controlling.takeMessages()
        controlling.receive(controlling.check())
        #expect(controlling.takeMessages().map(\.messageClass) == [.success])

        let controlled = ScriptedPeer(role: .controlled)
        controlled.complete()
        _ = controlled.takeMessages()
        controlled.receive(controlled.check())
        #expect(controlled.takeMessages().map(\.messageClass) == [.success])
    }

    struct Conflict: CustomTestStringConvertible {
        let role: ICEAgent.Role
        let theirs: UInt64
        let refused: Bool
        var testDescription: String { "\(role) against \(theirs == 0 ? "smaller" : "larger")" }
    }

    @Test(
        "role conflicts go to the larger tie-breaker (RFC 8445 §7.3.1.1)",
        arguments: [
            Conflict(role: .controlling, theirs: 0, refused: true),
            Conflict(role: .controlling, theirs: .max, refused: false),
            Conflict(role: .controlled, theirs: 0, refused: false),
            Conflict(role: .controlled, theirs: .max, refused: true),
        ])
    func conflicts(_ conflict: Conflict) {
        let peer = ScriptedPeer(role: conflict.role)
        peer.start()
        _ = peer.takeMessages()
        peer.tieBreaker = conflict.theirs
        peer.receive(peer.check(role: conflict.role))
        let answer = peer.takeMessages().first { $0.messageClass != .request }
        if conflict.refused {
            #expect(answer?.errorCode?.code == 487)
            #expect(peer.role == conflict.role)
        } else {
            #expect(answer?.messageClass == .success)
            #expect(peer.role != conflict.role)
            #expect(peer.actions.contains(.roleSwitched(peer.role, .tieBreaker)))
            peer.advance(.milliseconds(60))
            let next = peer.takeRequests().last
            #expect((next?.iceControlling != nil) == (peer.role == .controlling))
        }
    }

    @Test("a check from a new source becomes a peer-reflexive candidate that is checked back at once")
    func learnsRemote() throws {
        let peer = ScriptedPeer()
        peer.start(ended: false)
        _ = peer.takeMessages()
        peer.advance(.milliseconds(60))
        let source = address("203.0.113.9:4444")
        peer.receive(peer.check(), from: source)
        let learned = try #require(peer.remoteCandidates.last)
        #expect(learned.kind == .peerReflexive)
        #expect(learned.priority == 0x6E7F_FFFF)
        #expect(peer.sent.last?.datagram.destination == source)
        #expect(peer.takeRequests().count == 1)
        // When signalling names it, it takes that name, and no second pair is made.
        let pairs = peer.pairs.count
        peer.agent.addRemoteCandidate(
            peer.candidate("203.0.113.9:4444", kind: .serverReflexive, priority: 1_694_498_815, foundation: "9"),
            now: peer.now)
        peer.drain()
        #expect(peer.remoteCandidates.count == 2)
        #expect(peer.remoteCandidates.last?.kind == .serverReflexive)
        #expect(peer.pairs.count == pairs)
        #expect(peer.pairs.contains { $0.remote.foundation == "9" })
    }

    @Test("a check for a pair in progress sends a new one and forgets the silence of the old")
    func triggersInProgress() {
        let peer = ScriptedPeer(role: .controlled)
        peer.start()
        let first = peer.takeRequests()
        #expect(first.count == 1)
        peer.advance(.milliseconds(60))
        peer.receive(peer.check())
        let second = peer.takeRequests()
        #expect(second.count == 1)
        #expect(second.last?.transactionID != first.last?.transactionID)
        // Ta later nothing of the first is repeated; the second is, after its RTO.
        peer.advance(.milliseconds(480))
        #expect(peer.takeRequests().isEmpty)
        peer.advance(.milliseconds(30))
        #expect(peer.takeRequests().map(\.transactionID) == second.map(\.transactionID))
        // The answer to the first still counts.
        peer.receive(peer.response(to: first[0]))
        #expect(peer.state == .connected)
    }

    @Test("checks before the answer are answered at once and followed up with it, nomination included")
    func early() {
        let peer = ScriptedPeer(role: .controlled)
        let source = address("203.0.113.9:4444")
        peer.receive(peer.check { $0.append(.useCandidate) }, from: source)
        peer.receive(peer.check(own: "else"), from: address("203.0.113.10:4444"))
        #expect(peer.takeMessages().map(\.messageClass) == [.success, .success])
        #expect(peer.state == .new)
        peer.start(candidates: [])
        #expect(peer.remoteCandidates.map(\.address) == [source])
        #expect(peer.sent.map(\.datagram.destination) == [source])
        peer.answerAll()
        #expect(peer.state == .completed)
        #expect(peer.pair?.remoteAddress == source)
    }

    @Test("floods of sources are answered but not remembered without bound")
    func bounds() {
        let peer = ScriptedPeer()
        for port in UInt16(1)...500 {
            peer.receive(peer.check(), from: SocketAddress(ip: peer.remote.ip, port: port))
        }
        #expect(peer.takeMessages().count == 500)
        #expect(peer.counters.overLimit == 468)
        peer.start(candidates: [], ended: false)
        #expect(peer.remoteCandidates.count == 32)
        for port in UInt16(1000)...1500 {
            peer.receive(peer.check(), from: SocketAddress(ip: peer.remote.ip, port: port))
        }
        #expect(peer.remoteCandidates.count == 32)
        #expect(peer.pairs.count == 32)
        // One pair, checked over and over by its owner, does not pile up transactions.
        for _ in 0..<500 {
            peer.receive(peer.check(), from: SocketAddress(ip: peer.remote.ip, port: 1))
            peer.advance(.milliseconds(50))
        }
        #expect(peer.pairs.count == 32)
    }
}
