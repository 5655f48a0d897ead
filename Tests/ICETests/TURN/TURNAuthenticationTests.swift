import Hashing
import TestSupport
import Testing
import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

@Suite("A TURN client's credentials (RFC 8489 §9.2)")
struct TURNAuthenticationTests {
    @Test("keys are those of the RFC")
    func keys() {
        let credentials = LongTermCredentials(username: "user", password: "pass")
        // RFC 8489 §9.2.2.
        #expect(credentials.key(realm: "realm") == bytes(hex: "8493fbc53ba582fb4c044c456bdc40eb"))
        #expect(credentials.key(realm: "realm", algorithm: .sha256) == SHA256.hash(Array("user:realm:pass".utf8)))
    }

    struct Offer: CustomTestStringConvertible {
        let algorithms: [LongTermCredentials.PasswordAlgorithm]
        let hides: Bool
        let chosen: [UInt8]?
        var testDescription: String { "\(algorithms), anonymous: \(hides)" }
    }

    static let allOffers = [
        Offer(algorithms: [], hides: false, chosen: nil),
        Offer(algorithms: [], hides: true, chosen: nil),
        Offer(algorithms: [.md5], hides: false, chosen: [0, 1, 0, 0]),
        Offer(algorithms: [.sha256], hides: true, chosen: [0, 2, 0, 0]),
        // RFC 8656 §6: SHA-256 although MD5 is named first.
        Offer(algorithms: [.md5, .sha256], hides: true, chosen: [0, 2, 0, 0]),
    ]

    @Test("what a server offers is used, repeated, and proven with SHA-256", arguments: allOffers)
    func offers(offer: Offer) throws {
        let script = ScriptedTURN()
        script.server.algorithms = offer.algorithms
        script.server.hidesUsernames = offer.hides
        script.start()
        #expect(script.client.state == .allocated)
        script.permit(script.peer)
        script.bind(script.peer)
        script.release()
        #expect(script.ends == [nil])
        for (_, message) in script.messages.dropFirst() {
            #expect(message.first(.passwordAlgorithm) == offer.chosen)
            #expect((message.first(.passwordAlgorithms) == nil) == offer.algorithms.isEmpty)
            #expect((message.first(.username) == nil) == offer.hides)
            #expect((message.first(.userhash) == nil) != offer.hides)
            #expect(message.integrityAlgorithm == (offer.algorithms.isEmpty ? .sha1 : .sha256))
        }
        #expect(script.server.faults.isEmpty)
    }

    @Test("a wrong password is told once and not tried again (RFC 8489 §9.2.5)")
    func wrongPassword() {
        let script = ScriptedTURN(password: "other")
        script.start()
        #expect(script.ends == [.unauthorized])
        #expect(script.sent.count == 2)
    }

    @Test("a stale nonce makes every kind of request new", arguments: 0..<4)
    func staleNonce(kind: Int) {
        let script = ScriptedTURN()
        if kind == 0 {
            var isFirst = true
            script.server.refuses = { _, isAuthenticated in
                defer { if isAuthenticated { isFirst = false } }
                return isAuthenticated && isFirst ? .staleNonce : nil
            }
        }
        script.start()
        script.server.nonce = Array("nonce-2".utf8)
        switch kind {
        case 1: script.permit(script.peer)
        case 2: script.bind(script.peer)
        case 3: script.advance(.seconds(541))
        default: break
        }
        #expect(script.client.counters.staleNonces == 1)
        #expect(script.client.state == .allocated)
        switch kind {
        case 1: #expect(script.events.contains(.permitted(script.peer.ip)))
        case 2: #expect(script.client.channel(to: script.peer) == 0x4000)
        case 3: #expect(script.times(of: .refresh).count == 2)
        default: #expect(script.times(of: .allocate).count == 3)
        }
        let ids = script.messages.map(\.message.transactionID)
        #expect(Set(ids).count == ids.count)
    }

    @Test("a server whose nonces are always stale is given up")
    func alwaysStale() {
        let script = ScriptedTURN()
        script.server.refuses = { _, isAuthenticated in isAuthenticated ? .staleNonce : nil }
        script.start()
        #expect(script.ends == [.staleNonce])
        #expect(script.sent.count <= 8)
    }

    /// A challenge with the given parts.
    private func challenge(
        _ script: ScriptedTURN, code: STUNErrorCode = .unauthenticated, nonce: [UInt8]?, realm: String? = "example.org",
        algorithms: [UInt8]? = nil
    ) -> [UInt8] {
        let request = script.messages.last?.message
        var response = STUNMessage(
            .error, .allocate, transactionID: request?.transactionID ?? STUNTransactionID(high: 0, low: 0))
        response.append(code)
        if let realm { response.append(.realm, realm) }
        if let nonce { response.attributes.append(STUNAttribute(.nonce, nonce)) }
        if let algorithms { response.attributes.append(STUNAttribute(.passwordAlgorithms, algorithms)) }
        return response.encoded()
    }

    private func answer(_ bytes: (ScriptedTURN) -> [UInt8]) -> ScriptedTURN {
        let script = ScriptedTURN()
        script.isConnected = false
        script.start()
        script.receive(bytes(script))
        script.drain()
        return script
    }

    @Test("a challenge from which something was taken ends it (RFC 8489 §9.2.1)")
    func bidDown() {
        let told = STUNSecurityFeatures.passwordAlgorithms.noncePrefix + Array("x".utf8)
        #expect(answer { challenge($0, nonce: told) }.ends == [.bidDown])
        #expect(answer { challenge($0, nonce: told, algorithms: [0, 2, 0, 0]) }.sent.count == 2)
        #expect(answer { challenge($0, nonce: told, algorithms: [0, 9, 0, 0]) }.ends == [.noCommonAlgorithm])
        #expect(
            answer { challenge($0, nonce: told, algorithms: [0, 9, 0, 4, 1, 2, 3, 4, 0, 1, 0, 0]) }.sent.count == 2)
        #expect(answer { challenge($0, nonce: told, algorithms: [0, 2, 0]) }.ends == [.malformed])
        #expect(answer { challenge($0, nonce: nil) }.ends == [.malformed])
        #expect(answer { challenge($0, nonce: Array("n".utf8), realm: nil) }.ends == [.malformed])
        #expect(answer { challenge($0, nonce: [UInt8](repeating: 65, count: 764)) }.ends == [.malformed])
        // RFC 8489 §9.2.5: the request was bare, so that a 438 tells nothing to try again with but nonce and realm.
        #expect(answer { challenge($0, code: .staleNonce, nonce: Array("n".utf8)) }.sent.count == 2)
    }

    @Test("an answer that proves nothing is as none, and the end says so", arguments: [false, true])
    func unproven(isStream: Bool) {
        let script = ScriptedTURN(transport: isStream ? .tcp : .udp)
        script.rewrites = { bytes in
            guard var message = try? decode(bytes), message.integrityAlgorithm != nil else { return [bytes] }
            message.attributes.removeAll { $0.kind == .software }
            return [message.encoded(integrity: STUNIntegrity(key: Array("wrong".utf8)))]
        }
        script.start()
        if !isStream {
            #expect(script.ends.isEmpty)
            script.advance(.seconds(40))
        }
        #expect(script.ends == [.integrityViolated(claimed: nil)])
        #expect(script.client.counters.unauthenticated == (isStream ? 1 : 7))
    }

    @Test("a 400 without a proof is as none (RFC 8489 §9.2.5)")
    func bareBadRequest() {
        let script = ScriptedTURN()
        script.server.refuses = { _, isAuthenticated in isAuthenticated ? nil : .badRequest }
        script.start()
        script.advance(.seconds(39))
        #expect(script.ends.isEmpty)
        script.advance(.seconds(1))
        #expect(script.ends == [.integrityViolated(claimed: 400)])
    }

    @Test("answers to nobody, of other methods or broken, change nothing")
    func strangers() {
        let script = ScriptedTURN()
        script.isConnected = false
        script.start()
        let id = script.messages[0].message.transactionID
        var foreign = STUNMessage(.error, .allocate, transactionID: STUNTransactionID(high: 1, low: 2))
        foreign.append(STUNErrorCode.unauthenticated)
        #expect(script.receive(foreign.encoded()) == .dropped)
        #expect(script.receive(STUNMessage(.success, .refresh, transactionID: id).encoded()) == .dropped)
        #expect(script.receive(STUNMessage(.success, .binding, transactionID: id).encoded()) == .foreign)
        #expect(script.receive(STUNMessage(.request, .binding, transactionID: id).encoded()) == .foreign)
        #expect(script.receive([22, 254, 253, 0]) == .foreign)
        var broken = STUNMessage(.error, .allocate, transactionID: id)
        broken.append(STUNErrorCode.forbidden)
        var bytes = broken.encoded()
        bytes[bytes.count - 1] ^= 1
        #expect(script.receive(bytes) == .dropped)
        #expect(script.ends.isEmpty)
        // RFC 8489 §6.3.4.
        #expect(script.receive(STUNMessage(.error, .allocate, transactionID: id).encoded()) == .handled)
        script.drain()
        #expect(script.ends == [.malformed])
    }
}
