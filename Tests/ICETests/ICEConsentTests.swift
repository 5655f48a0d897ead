// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Consent and keepalives (RFC 7675, RFC 8445 §11)")
struct ICEConsentTests {
    @Test("consent is asked for every 4 to 6 s, once each, and the answers keep the connection")
    func schedule() {
        let peer = ScriptedPeer()
        peer.complete()
        var times: [Int64] = []
        var ids: Set<STUNTransactionID> = []
        for _ in 0..<60 {
            peer.advance(.seconds(1))
            let requests = peer.sent
            for entry in requests {
                times.append((entry.time - .zero).nanoseconds)
                if let message = try? decode(entry.datagram.payload) { ids.insert(message.transactionID) }
            }
            peer.answerAll()
        }
        #expect((10...15).contains(times.count))
        #expect(ids.count == times.count)
        let gaps = zip(times, times.dropFirst()).map { $1 - $0 }
        #expect(gaps.allSatisfy { (4_000_000_000...6_000_000_000).contains($0) })
        #expect(Set(gaps).count == gaps.count)
        #expect(peer.state == .completed)
        #expect(peer.pair?.roundTripTime != nil)
    }

    @Test("silence is reported after 10 s and ends all after 30 s, for good")
    func expiry() {
        let peer = ScriptedPeer()
        peer.complete()
        peer.advance(.milliseconds(9_999))
        #expect(peer.state == .completed)
        peer.advance(.milliseconds(1))
        #expect(peer.state == .disconnected)
        let requests = peer.takeRequests()
        #expect((1...2).contains(requests.count))
        peer.advance(.milliseconds(19_999))
        #expect(peer.state == .disconnected)
        let open = peer.takeRequests()
        peer.advance(.milliseconds(1))
        #expect(peer.state == .failed)
        #expect(peer.actions.contains(.failed(.consentLost)))
        _ = peer.takeMessages()
        if let late = open.last { peer.receive(peer.response(to: late)) }
        peer.receive(peer.check())
        peer.advance(.seconds(60))
        #expect(peer.state == .failed)
        #expect(peer.sent.isEmpty)
    }

    @Test("one answer within 30 s brings a silent connection back")
    func recovery() throws {
        let peer = ScriptedPeer()
        peer.complete()
        peer.advance(.seconds(25))
        #expect(peer.state == .disconnected)
        // Even to an old request (RFC 7675 §5.1).
        peer.receive(peer.response(to: try #require(peer.takeRequests().first)))
        #expect(peer.state == .completed)
        peer.advance(.seconds(29))
        #expect(peer.state == .disconnected)
    }

    @Test("403 revokes consent at once, but only with proof")
    func revocation() throws {
        let peer = ScriptedPeer()
        peer.complete()
        peer.advance(.seconds(6))
        let request = try #require(peer.takeRequests().last)
        peer.receive(peer.response(to: request, error: .forbidden, integrity: false))
        #expect(peer.state == .completed)
        peer.receive(peer.response(to: request, error: .forbidden))
        #expect(peer.state == .failed)
    }

    @Test("answers with a wrong proof give no consent")
    func forged() {
        let peer = ScriptedPeer()
        peer.complete()
        for _ in 0..<31 {
            peer.advance(.seconds(1))
            for request in peer.takeRequests() {
                peer.receive(peer.response(to: request, password: "wrongwrongwrongwrongwrong"))
            }
        }
        #expect(peer.state == .failed)
    }

    @Test("the peer's checks are answered during all this and change nothing")
    func midSession() {
        let peer = ScriptedPeer(role: .controlled)
        peer.complete()
        peer.advance(.seconds(3))
        let before = peer.pair
        _ = peer.takeMessages()
        peer.receive(peer.check())
        #expect(peer.takeMessages().map(\.messageClass) == [.success])
        #expect(peer.pair == before)
        // From elsewhere too, and after three seconds without a check back.
        peer.advance(.milliseconds(100))
        peer.receive(peer.check { $0.append(.useCandidate) }, from: address("203.0.113.4:4"))
        peer.advance(.milliseconds(100))
        #expect(peer.takeMessages().map(\.messageClass) == [.success])
        #expect(peer.pair == before)
    }

    @Test("without consent checks a bare indication keeps the binding, unless data does")
    func keepalive() throws {
        let peer = ScriptedPeer { $0.consentInterval = nil }
        peer.complete()
        peer.advance(.milliseconds(14_999))
        #expect(peer.sent.isEmpty)
        peer.advance(.milliseconds(1))
        let indication = try #require(peer.takeMessages().first)
        #expect(indication.messageClass == .indication)
        #expect(indication.attributes.isEmpty)
        #expect(indication.fingerprint == .absent || indication.fingerprint == .valid)
        peer.advance(.seconds(10))
        peer.agent.noteDataSent(now: peer.now)
        peer.drain()
        peer.advance(.seconds(14))
        #expect(peer.sent.isEmpty)
        peer.advance(.seconds(1))
        #expect(peer.takeMessages().count == 1)
        peer.advance(.seconds(120))
        #expect(peer.state == .completed)
    }

    @Test("a closed agent is silent")
    func close() {
        let peer = ScriptedPeer()
        peer.complete()
        peer.agent.close()
        peer.agent.close()
        peer.drain()
        #expect(peer.state == .closed)
        #expect(peer.deadline == nil)
        peer.receive(peer.check())
        peer.advance(.seconds(60))
        #expect(peer.sent.isEmpty)
        let ends = peer.events.count { $0 == .stateChanged(.closed) }
        #expect(ends == 1)
        #expect(throws: ICEError.ended) { try peer.agent.setRemote(credentials: peer.credentials, now: peer.now) }
    }
}
