// SPDX-License-Identifier: Apache-2.0
import Hashing
import ICE
import Testing
import Wire

/// What RFC 8489 requires of both ends of a Binding exchange, as far as the other suites do not show it.
@Suite("What RFC 8489 requires of an agent")
struct STUNConformanceTests {
    @Test("all that is sent starts with two zero bits, the cookie, and a length in fours (§5)")
    func header() {
        let peer = ScriptedPeer { $0.stunServers = [address("198.51.100.1:3478")] }
        peer.start()
        for bytes in [
            peer.check(), peer.check(password: "0123456789abcdef0123456789"), peer.check(integrity: false),
            peer.check { $0.attributes.append(STUNAttribute(.init(rawValue: 0x7FF0), [1, 2, 3])) },
        ] { peer.receive(bytes) }
        peer.advance(.seconds(5))
        #expect(peer.sent.count > 8)
        for entry in peer.sent {
            let bytes = entry.datagram.payload
            #expect(bytes[0] & 0xC0 == 0 && Array(bytes[4..<8]) == [0x21, 0x12, 0xA4, 0x42])
            let length = Int(bytes[2]) << 8 | Int(bytes[3])
            #expect(length & 3 == 0 && length + 20 == bytes.count)
        }
    }

    @Test("transaction identifiers are random, kept by copies and by nothing else (§5, §6.2.1)")
    func identifiers() {
        var high: Set<UInt32> = []
        var all: Set<STUNTransactionID> = []
        var entropy = Entropy(seed: 3)
        for _ in 0..<2000 {
            let id = STUNTransactionID(using: &entropy)
            all.insert(id)
            high.insert(id.high)
        }
        #expect(all.count == 2000 && high.count > 1990)
        let peer = ScriptedPeer()
        peer.start()
        peer.advance(.seconds(39))
        let ids = peer.takeRequests().map(\.transactionID)
        #expect(ids.count == 7 && Set(ids).count == 1)
    }

    @Test(
        "what is no STUN, broken, or of a method or class that is not served gets no answer (§6.3)",
        arguments: [
            "cookie", "type 0x4001", "type 0x8001", "length in threes", "length beyond", "length short",
            "attribute beyond",
            "method 0x0FF", "Send as a request", "no fingerprint", "wrong fingerprint", "success", "error",
        ])
    func discarded(what: String) {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        var bytes = peer.check()
        let id = STUNTransactionID(high: 9, low: 9)
        switch what {
        case "cookie": bytes[4] ^= 1
        case "type 0x4001": bytes[0] |= 0x40
        case "type 0x8001": bytes[0] |= 0x80
        case "length in threes": bytes[3] &-= 1
        case "length beyond": bytes[3] &+= 4
        case "length short": bytes[3] &-= 4
        case "attribute beyond": bytes[23] = 0xFF
        case "method 0x0FF": bytes = STUNMessage(.request, .init(rawValue: 0x0FF), transactionID: id).encoded()
        case "Send as a request": bytes = STUNMessage(.request, .send, transactionID: id).encoded()
        case "no fingerprint": bytes = peer.check(fingerprint: false)
        case "wrong fingerprint": bytes[bytes.count - 1] ^= 1
        case "success": bytes = STUNMessage(.success, transactionID: id).encoded()
        default: bytes = STUNMessage(.error, transactionID: id).encoded()
        }
        peer.receive(bytes)
        #expect(peer.sent.isEmpty)
        #expect(peer.state == .checking)
    }

    @Test("optional attributes of no meaning, and known ones out of place, do not matter (§6.3)")
    func ignored() {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        peer.receive(
            peer.check {
                $0.attributes.append(STUNAttribute(.init(rawValue: 0xFFF0), [1, 2, 3]))
                $0.append(xorAddress: address("192.0.2.5:1"))
                $0.append(.realm, "somewhere")
                $0.append(.software, "thing")
            })
        #expect(peer.takeMessages().first?.messageClass == .success)
    }

    @Test("an indication gets no answer, whatever is in it (§6.3.2, §9.1.3)")
    func indications() {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        var message = STUNMessage(.indication, transactionID: STUNTransactionID(high: 1, low: 1))
        peer.receive(message.encoded())
        message.attributes.append(STUNAttribute(.init(rawValue: 0x7FF0), [1]))
        peer.receive(message.encoded())
        message.append(.username, "x:y")
        peer.receive(message.encoded(integrity: STUNIntegrity(key: [1])))
        #expect(peer.sent.isEmpty)
    }

    @Test(
        "MESSAGE-INTEGRITY-SHA256 is taken whole: nothing here allows it cut short (§14.6)",
        arguments: [32, 28, 24, 20, 16, 12, 18, 0])
    func truncatedIntegrity(count: Int) throws {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        // The proof is over a length that ends behind it, whole or cut (§14.6).
        var message = STUNMessage(.request, transactionID: STUNTransactionID(high: 4, low: 4))
        message.append(.username, "\(peer.agent.localCredentials.ufrag):\(peer.credentials.ufrag)")
        message.append(.priority, UInt32(0x6E7F_FFFF))
        let key = Array(peer.agent.localCredentials.password.utf8)
        var bare = message.encoded(fingerprint: false)
        let length = bare.count - 20 + 4 + (count + 3) / 4 * 4
        (bare[2], bare[3]) = (UInt8(length >> 8), UInt8(length & 255))
        let proof = HMAC.sha256(key: key, message: bare)
        message.attributes.append(STUNAttribute(.messageIntegritySHA256, Array(proof.prefix(count))))
        peer.receive(message.encoded())
        // One that is cut short makes no message at all.
        #expect(peer.takeMessages().map(\.messageClass) == (count == 32 ? [.success] : []))
    }

    @Test("answers bear the proof that was asked with, one of them, and no name (§9.1.3)", arguments: [false, true])
    func answerIntegrity(isSHA256: Bool) throws {
        let peer = ScriptedPeer()
        peer.start()
        _ = peer.takeMessages()
        peer.receive(peer.check(algorithm: isSHA256 ? .sha256 : .sha1))
        let answer = try #require(peer.takeMessages().first)
        #expect(answer.messageClass == .success && answer.username == nil)
        #expect(answer.integrityAlgorithm == (isSHA256 ? .sha256 : .sha1))
        #expect(answer.fingerprint == .valid)
        // Errors of failed proofs have neither.
        peer.receive(peer.check(password: "0123456789abcdef0123456789"))
        peer.receive(peer.check(integrity: false))
        let errors = peer.takeMessages()
        #expect(errors.count == 2)
        for answer in errors {
            #expect(answer.messageClass == .error && answer.integrityAlgorithm == nil && answer.username == nil)
        }
    }

    @Test(
        "what is not understood fails a request to a server, as does an error without a code (§6.3.3, §6.3.4)"
    )
    func serverAnswers() throws {
        for variant in 0..<3 {
            let server = address("198.51.100.1:3478")
            let peer = ScriptedPeer { $0.stunServers = [server] }
            peer.agent.gather(now: peer.now)
            peer.drain()
            let request = try #require(peer.takeRequests().first)
            var response = STUNMessage(variant == 2 ? .error : .success, transactionID: request.transactionID)
            if variant != 2 { response.append(xorAddress: address("203.0.113.9:5")) }
            if variant == 1 { response.attributes.append(STUNAttribute(.init(rawValue: 0x7FF0), [])) }
            peer.receive(response.encoded(), from: server)
            #expect(peer.localCandidates.contains { $0.kind == .serverReflexive } == (variant == 0))
            peer.advance(.seconds(60))
            #expect(peer.takeRequests().filter { $0.transactionID == request.transactionID }.isEmpty)
        }
    }

    @Test(
        "an address that cannot be one makes no candidate",
        arguments: ["0.0.0.0:5", "224.0.0.1:5", "203.0.113.9:0", "[2001:db8::1]:5"])
    func impossibleMapping(text: String) throws {
        let server = address("198.51.100.1:3478")
        let peer = ScriptedPeer { $0.stunServers = [server] }
        peer.agent.gather(now: peer.now)
        peer.drain()
        let request = try #require(peer.takeRequests().first)
        var response = STUNMessage(.success, transactionID: request.transactionID)
        response.append(xorAddress: address(text))
        peer.receive(response.encoded(), from: server)
        #expect(peer.localCandidates.count == 1)
    }
}
