// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@testable import Relay

@Suite("Who may have allocations (RFC 8489 §9.2)")
struct RelayAuthenticationTests {
    private static let transport = STUNAttribute(.requestedTransport, [17, 0, 0, 0])

    private func allocate(_ caller: RelayCaller) -> STUNMessage {
        STUNMessage(.request, .allocate, transactionID: caller.newID(), attributes: [Self.transport])
    }

    // STUN-9.2-01, STUN-9.2.4-01, -02, -03, -04, TURN-5-01.
    @Test("who proves nothing is told how to, and each client otherwise")
    func challenge() throws {
        let bench = RelayBench()
        let callers = [RelayCaller(bench), RelayCaller(bench, RelayBench.client(1))]
        let answers = callers.compactMap { $0.answer(to: allocate($0).encoded()) }
        for answer in answers {
            #expect(answer.code == 401)
            #expect(answer.first(.realm) == Array(RelayBench.realm.utf8))
            #expect(answer.first(.passwordAlgorithms) == [0, 2, 0, 0, 0, 1, 0, 0])
            #expect(answer.integrityAlgorithm == nil && answer.first(.username) == nil)
            let features = try #require(answer.first(.nonce).flatMap { STUNSecurityFeatures(nonce: $0) })
            #expect(features == [.passwordAlgorithms, .usernameAnonymity])
        }
        #expect(answers.count == 2 && answers[0].first(.nonce) != answers[1].first(.nonce))
        #expect(bench.core.metrics.allocations == 0 && bench.sockets.isEmpty)
    }

    // STUN-9.2.4-09, -13, TURN-5-01.
    @Test(
        "each way to prove it works, and the answer is proved the way that is due",
        arguments: [nil, .md5, .sha256] as [LongTermCredentials.PasswordAlgorithm?],
        [STUNIntegrity.Algorithm.sha1, .sha256])
    func ways(algorithm: LongTermCredentials.PasswordAlgorithm?, integrity: STUNIntegrity.Algorithm) throws {
        let caller = RelayCaller(RelayBench())
        caller.algorithm = algorithm
        caller.integrity = integrity
        caller.meet()
        let sent = try #require(caller.bench.send(caller.signed(allocate(caller)), from: caller.client).first)
        let answer = try STUNMessage(decoding: sent.bytes.span.bytes)
        #expect(answer.messageClass == .success)
        let due = algorithm == nil ? STUNIntegrity.Algorithm.sha1 : .sha256
        #expect(answer.integrityAlgorithm == due)
        let isAuthentic = answer.isAuthentic(sent.bytes.span.bytes, key: caller.signature.key, algorithm: due)
        #expect(isAuthentic)
        for kind in [STUNAttribute.Kind.username, .userhash, .realm, .nonce] { #expect(answer.first(kind) == nil) }
    }

    // STUN-9.2.4-06.
    @Test(
        "a proof without the parts that it needs is a bad request",
        arguments: [.username, .realm, .nonce] as [STUNAttribute.Kind])
    func missing(kind: STUNAttribute.Kind) throws {
        let caller = RelayCaller(RelayBench())
        caller.meet()
        var message = allocate(caller)
        message.append(.username, "alice")
        message.append(.realm, RelayBench.realm)
        message.attributes.append(STUNAttribute(.nonce, caller.nonce ?? []))
        message.attributes.removeAll { $0.kind == kind }
        let answer = try #require(caller.answer(to: message.encoded(integrity: caller.signature)))
        #expect(answer.code == 400)
        for absent in [STUNAttribute.Kind.realm, .nonce, .username] { #expect(answer.first(absent) == nil) }
    }

    // STUN-9.2.4-08.
    @Test(
        "tampering with the ways to make a key is noticed",
        arguments: [
            (nil, [0, 2, 0, 0]), ([0, 2, 0, 0, 0, 1, 0, 0], nil), ([0, 1, 0, 0], [0, 1, 0, 0]),
            ([0, 2, 0, 0, 0, 1, 0, 0], [0, 3, 0, 0]), ([0, 2, 0, 0, 0, 1, 0, 0], [0, 2, 0, 4, 1, 1, 1, 1]),
            ([0, 2, 0, 0, 0, 1, 0, 0], [2]),
        ] as [([UInt8]?, [UInt8]?)])
    func tampered(list: [UInt8]?, chosen: [UInt8]?) {
        let caller = RelayCaller(RelayBench())
        caller.meet()
        var message = allocate(caller)
        message.append(.username, "alice")
        message.append(.realm, RelayBench.realm)
        message.attributes.append(STUNAttribute(.nonce, caller.nonce ?? []))
        if let list { message.attributes.append(STUNAttribute(.passwordAlgorithms, list)) }
        if let chosen { message.attributes.append(STUNAttribute(.passwordAlgorithm, chosen)) }
        #expect(caller.answer(to: message.encoded(integrity: caller.signature))?.code == 400)
    }

    // STUN-9.2.4-10, -11, STUN-14.3-01.
    @Test(
        "who is unknown, or does not know the password, is told to prove it",
        arguments: [("nobody", "wonderland"), ("alice", "wrong"), (String(repeating: "u", count: 763), "x"), ("", "")])
    func wrong(name: String, password: String) throws {
        let caller = RelayCaller(RelayBench())
        caller.credentials = LongTermCredentials(username: name, password: password)
        caller.meet()
        let answer = try #require(caller.answer(to: caller.signed(allocate(caller))))
        #expect(answer.code == 401)
        for kind in [STUNAttribute.Kind.realm, .nonce, .passwordAlgorithms] { #expect(answer.first(kind) != nil) }
        #expect(answer.integrityAlgorithm == nil)
        #expect(caller.bench.core.metrics.allocations == 0)
    }

    // STUN-9.2.4-04.
    @Test("a hash stands for a name")
    func userhash() throws {
        let caller = RelayCaller(RelayBench())
        caller.meet()
        var message = allocate(caller)
        message.attributes.append(
            STUNAttribute(.userhash, LongTermCredentials.userhash(username: "alice", realm: RelayBench.realm)))
        message.append(.realm, RelayBench.realm)
        message.attributes.append(STUNAttribute(.nonce, caller.nonce ?? []))
        message.attributes.append(STUNAttribute(.passwordAlgorithms, [0, 2, 0, 0, 0, 1, 0, 0]))
        message.attributes.append(STUNAttribute(.passwordAlgorithm, [0, 2, 0, 0]))
        #expect(caller.answer(to: message.encoded(integrity: caller.signature))?.messageClass == .success)
        message.transactionID = caller.newID()
        message.attributes[1].value[0] ^= 1
        #expect(caller.answer(to: message.encoded(integrity: caller.signature))?.code == 401)
    }

    // STUN-9.2.4-12, TURN-5-03.
    @Test("a nonce lasts an hour, and its successor is accepted")
    func staleNonce() throws {
        let caller = RelayCaller(RelayBench())
        #expect(caller.allocate { $0.append(.lifetime, UInt32(3600)) } != nil)
        caller.bench.pass(.seconds(3598))
        #expect(caller.ask(.refresh) { $0.append(.lifetime, UInt32(3600)) }?.messageClass == .success)
        caller.bench.pass(.seconds(3))
        let answer = try #require(caller.ask(.refresh))
        #expect(answer.code == 438)
        #expect(answer.first(.realm) != nil && answer.first(.passwordAlgorithms) != nil)
        let fresh = try #require(answer.first(.nonce))
        let message = STUNMessage(.request, .refresh, transactionID: caller.newID())
        #expect(caller.answer(to: caller.signed(message, nonce: fresh))?.messageClass == .success)
    }

    // STUN-9.2.4-12: a nonce belongs to one address.
    @Test("a nonce that was made for another address, or by another server, or changed, is stale")
    func foreignNonce() throws {
        let bench = RelayBench()
        let (victim, thief) = (RelayCaller(bench), RelayCaller(bench, RelayBench.client(1)))
        victim.meet()
        let stolen = try #require(victim.nonce)
        #expect(thief.answer(to: thief.signed(allocate(thief), nonce: stolen))?.code == 438)
        let other = RelayCaller(RelayBench(seed: 99))
        other.meet()
        let foreign = try #require(other.nonce)
        #expect(victim.answer(to: victim.signed(allocate(victim), nonce: foreign))?.code == 438)
        for index in stolen.indices.dropFirst(13) {
            var changed = stolen
            changed[index] = changed[index] == 65 ? 66 : 65
            guard changed != stolen else { continue }
            #expect(victim.answer(to: victim.signed(allocate(victim), nonce: changed))?.code == 438)
        }
        #expect(bench.core.metrics.allocations == 0)
    }

    // TURN-5-04, TURN-5-05, TURN-5-06.
    @Test("an allocation belongs to its maker, and without one there is nothing to change")
    func ownership() throws {
        let bench = RelayBench()
        let alice = RelayCaller(bench)
        let methods: [STUNMessage.Method] = [.refresh, .createPermission, .channelBind]
        for method in methods { #expect(alice.ask(method)?.code == 437) }
        #expect(alice.indicate([1], to: peerA).isEmpty)
        #expect(bench.send(channelData(0x4000, [1]), from: alice.client).isEmpty)
        let relayed = try #require(alice.allocate())
        let bob = RelayCaller(bench, alice.client, RelayBench.bob)
        for method in methods { #expect(bob.ask(method)?.code == 441) }
        #expect(bob.ask(.refresh) { $0.append(.lifetime, UInt32(0)) }?.code == 441)
        #expect(bench.sockets[relayed] != nil)
    }

    @Test("a shared secret vouches for names until their time is over; the new one and the old one do")
    func sharedSecret() throws {
        var configuration = RelayBench.configuration()
        configuration.users = RelayUsers(realm: RelayBench.realm, secrets: ["new", "old"])
        let bench = RelayBench(configuration)
        // As OpenSSL's command line computes it: dgst -sha1 -hmac north -binary, then base64.
        let known = RelayUsers.shortLived(secret: "north", user: "eve", expires: 1_700_003_600)
        #expect(known.username == "1700003600:eve" && known.password == "LpoHWqHhCmzkFtcRGt6kQxBonQ8=")
        for (number, secret) in ["new", "old"].enumerated() {
            let credential = RelayUsers.shortLived(secret: secret, user: "eve", expires: 1_700_002_000)
            let caller = RelayCaller(bench, RelayBench.client(number), credential)
            #expect(caller.allocate() != nil)
        }
        for (number, credential) in [
            RelayUsers.shortLived(secret: "other", user: "eve", expires: 1_700_002_000),
            RelayUsers.shortLived(secret: "new", user: "eve", expires: 1_700_000_999),
            LongTermCredentials(username: "soon:eve", password: "x"),
        ].enumerated() {
            let caller = RelayCaller(bench, RelayBench.client(10 + number), credential)
            #expect(caller.ask(.allocate)?.code == 401)
        }
        let late = RelayCaller(
            bench, RelayBench.client(20), RelayUsers.shortLived(secret: "new", user: "eve", expires: 1_700_001_500))
        #expect(late.allocate() != nil)
        bench.pass(.seconds(501))
        #expect(late.ask(.refresh)?.code == 401)
    }

    @Test("a server without users answers Binding requests alone")
    func noUsers() {
        var configuration = RelayBench.configuration()
        configuration.users = RelayUsers(realm: "")
        let caller = RelayCaller(RelayBench(configuration))
        #expect(caller.answer(to: allocate(caller).encoded())?.code == 403)
        #expect(caller.answer(to: STUNMessage(.request, transactionID: caller.newID()).encoded())?.code == nil)
    }
}
