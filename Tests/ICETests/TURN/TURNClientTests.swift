import Testing
import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

@Suite("A TURN client's allocation (RFC 8656 §7, §8)")
struct TURNClientTests {
    @Test("the first request is bare, the second proves itself, and the addresses are told")
    func allocate() throws {
        let script = ScriptedTURN.allocated()
        #expect(
            script.events == [
                .connect(address("198.51.100.1:3478"), name: "turn.example.org", isFresh: false), .answered, .allocated,
            ])
        #expect(script.client.relayed.map(\.ip) == [script.server.ip])
        #expect(script.client.mapped == script.mapped)
        let requests = script.messages.map(\.message)
        try #require(requests.count == 2)
        // RFC 8489 §9.2.3.1.
        for kind in [STUNAttribute.Kind.username, .userhash, .realm, .nonce, .passwordAlgorithm, .passwordAlgorithms] {
            #expect(requests[0].first(kind) == nil)
        }
        #expect(requests[0].integrityAlgorithm == nil)
        #expect(requests[1].transactionID != requests[0].transactionID)
        #expect(requests[1].integrityAlgorithm == .sha1)
        for request in requests {
            // RFC 8656 §7.1, §5.
            #expect(request.method == .allocate)
            #expect(request.first(.requestedTransport) == [17, 0, 0, 0])
            #expect(request.first(.software) != nil)
            #expect(request.first(.requestedAddressFamily) == nil)
            #expect(request.fingerprint == .valid)
        }
        #expect(script.server.faults.isEmpty)
    }

    @Test("addresses of both families, of one, and of what there is")
    func families() {
        func relayed(_ families: TURNServer.Families, six: Bool) -> [String] {
            let script = ScriptedTURN(families: families)
            script.server.ipv6 = six ? address("[2001:db8::5]:1").ip : nil
            script.start()
            if script.client.state == .ended { return script.ends.map { "\($0.map(\.description) ?? "")" } }
            return script.client.relayed.map(\.ip.description)
        }
        #expect(relayed(.both, six: true) == ["198.51.100.1", "2001:db8::5"])
        #expect(relayed(.both, six: false) == ["198.51.100.1"])
        #expect(relayed(.v6, six: true) == ["2001:db8::5"])
        #expect(relayed(.v4, six: true) == ["198.51.100.1"])
        // TURN-7.4: 440 ends it.
        #expect(relayed(.v6, six: false) == [TURNFailure.addressFamilyNotSupported.description])
    }

    @Test(
        "a server that refuses two addresses is asked for the IPv4 one alone, once",
        arguments: [400, 420, 440, 486, 500, 508])
    func familiesRefused(code: Int) {
        let script = ScriptedTURN(families: .both)
        var left = 1
        script.server.refuses = { _, isAuthenticated in
            guard isAuthenticated, left > 0 else { return nil }
            left -= 1
            return STUNErrorCode(code, "")
        }
        script.start()
        #expect(script.client.relayed.map(\.ip.description) == ["198.51.100.1"])
        #expect(script.ends.isEmpty)
        let asked = script.messages.map(\.message).filter { $0.method == .allocate }
        #expect(asked.map { $0.first(.additionalAddressFamily) != nil } == [true, true, false])

        let stubborn = ScriptedTURN(families: .both)
        stubborn.server.refuses = { _, isAuthenticated in isAuthenticated ? STUNErrorCode(code, "") : nil }
        stubborn.start()
        #expect(stubborn.ends.count == 1)
        #expect(stubborn.sent.count == 3)
    }

    @Test("a request is sent at 0, 0.5, 1.5 … 31.5 s and has failed at 39.5 s (RFC 8489 §6.2.1)")
    func retransmission() {
        let script = ScriptedTURN()
        script.isConnected = false
        script.start()
        script.advance(.milliseconds(39_499))
        #expect(script.sent.map { $0.time.nanoseconds / 1_000_000 } == [0, 500, 1500, 3500, 7500, 15_500, 31_500])
        #expect(Set(script.sent.map(\.bytes)).count == 1)
        #expect(script.ends.isEmpty)
        script.advance(.milliseconds(1))
        #expect(script.ends == [.timeout])
        #expect(script.deadline == nil)
    }

    @Test(
        "over a stream a request is sent once, and waited for as long (RFC 8489 §6.2.2)",
        arguments: [
            TURNServer.Transport.tcp, .tls,
        ])
    func streamTimeout(transport: TURNServer.Transport) {
        let script = ScriptedTURN(transport: transport)
        script.isConnected = false
        script.start()
        script.advance(.milliseconds(39_499))
        #expect(script.sent.count == 1)
        #expect(script.ends.isEmpty)
        script.advance(.milliseconds(1))
        #expect(script.ends == [.timeout])
    }

    @Test("a way to the server that never comes ends it, as does one that is closed")
    func noWay() {
        let script = ScriptedTURN(transport: .tcp)
        script.opens = false
        script.start()
        #expect(script.client.state == .connecting)
        script.advance(.seconds(40))
        #expect(script.ends == [.timeout])
        let other = ScriptedTURN.allocated(transport: .tls)
        other.client.disconnected(now: other.now)
        other.drain()
        #expect(other.ends == [.streamClosed])
        #expect(other.client.relayed.isEmpty)
    }

    /// RFC 8656 §7.4: what each error to an Allocate means.
    static let allocateErrors: [(Int, TURNFailure)] = [
        (403, .forbidden), (420, .unknownAttributes([])), (440, .addressFamilyNotSupported), (441, .wrongCredentials),
        (442, .unsupportedTransport), (486, .quotaReached), (508, .insufficientCapacity), (500, .refused(code: 500)),
        (400, .badRequest), (437, .allocationMismatch), (300, .redirectedInCircles), (699, .refused(code: 699)),
    ]

    @Test("each error to a proven Allocate is named, and nothing more is asked", arguments: allocateErrors.indices)
    func allocateRefused(index: Int) {
        let (code, failure) = Self.allocateErrors[index]
        let script = ScriptedTURN()
        script.server.refuses = { _, isAuthenticated in isAuthenticated ? STUNErrorCode(code, "") : nil }
        script.start()
        #expect(script.ends == [failure])
        #expect(script.client.state == .ended)
        let count = script.sent.count
        script.advance(.seconds(300))
        #expect(script.sent.count == count)
        #expect(count == (code == 437 ? 4 : 2))
        switch failure {
        case .allocationMismatch: #expect(failure.pause == .seconds(120))
        case .quotaReached, .insufficientCapacity: #expect(failure.pause == .seconds(60))
        default: #expect(failure.pause == nil)
        }
    }

    @Test("437 has three local addresses tried (RFC 8656 §7.4)")
    func mismatch() {
        let script = ScriptedTURN()
        script.server.refuses = { method, isAuthenticated in
            isAuthenticated && script.local < 3 ? .allocationMismatch : nil
        }
        script.start()
        #expect(script.client.state == .allocated)
        #expect(script.local == 3)
        script.server.refuses = { _, _ in nil }
        #expect(script.events.filter { if case .connect(_, _, true) = $0 { true } else { false } }.count == 2)
    }

    @Test("300 leads to another server, with the same credentials, and not around in circles (RFC 8489 §10)")
    func alternate() {
        let script = ScriptedTURN(transport: .tls)
        let other = STUNAttribute(.alternateServer, [0, 1, 0x0D, 0x96, 198, 51, 100, 2])
        let six = STUNAttribute(.alternateServer, [0, 2, 0x0D, 0x96] + address("[2001:db8::1]:1").ip.bytes)
        script.server.refusalAttributes = [six, other, STUNAttribute(.alternateDomain, Array("b.example".utf8))]
        script.server.refuses = { _, isAuthenticated in
            isAuthenticated && script.client.address == address("198.51.100.1:3478") ? .tryAlternate : nil
        }
        script.start()
        #expect(script.client.state == .allocated)
        #expect(script.client.address == address("198.51.100.2:3478"))
        #expect(script.events.contains(.connect(address("198.51.100.2:3478"), name: "b.example", isFresh: false)))
        let circle = ScriptedTURN()
        circle.server.refusalAttributes = [STUNAttribute(.alternateServer, [0, 1, 0x0D, 0x96, 198, 51, 100, 1])]
        circle.server.refuses = { _, isAuthenticated in isAuthenticated ? .tryAlternate : nil }
        circle.start()
        #expect(circle.ends == [.redirectedInCircles])
    }

    @Test("a 300 that nobody proved leads nowhere (RFC 8489 §14.8)", arguments: [TURNServer.Transport.udp, .tcp])
    func unprovenAlternate(transport: TURNServer.Transport) {
        let script = ScriptedTURN(transport: transport)
        script.server.refusalAttributes = [STUNAttribute(.alternateServer, [0, 1, 0x0D, 0x96, 198, 51, 100, 2])]
        script.server.refuses = { _, isAuthenticated in isAuthenticated ? nil : .tryAlternate }
        script.start()
        #expect(script.client.address == address("198.51.100.1:3478"))
        // A datagram may be anybody's: the server's own answer still counts.
        guard transport == .udp else {
            #expect(script.ends == [.integrityViolated(claimed: 300)])
            return
        }
        #expect(script.ends.isEmpty)
        script.server.refuses = { _, _ in nil }
        script.server.forgetAnswers()
        script.advance(.seconds(1))
        #expect(script.client.state == .allocated)
    }

    @Test("an answer without what it must have is given back (RFC 8656 §7.3)")
    func unusable() {
        let script = ScriptedTURN(families: .v6)
        script.server.ipv6 = address("10.0.0.1:1").ip
        script.start()
        #expect(script.ends == [.malformed])
        #expect(script.messages.last?.message.first(.lifetime) == [0, 0, 0, 0])
        #expect(script.server.allocations.isEmpty)
        let zero = ScriptedTURN()
        zero.server.lifetime = 0
        zero.start()
        #expect(zero.ends == [.malformed])
    }

    @Test("an allocation is refreshed a minute before its end, as long as it is wanted (RFC 8656 §8)")
    func refresh() {
        let script = ScriptedTURN.allocated()
        script.advance(.seconds(1800))
        #expect(script.times(of: .refresh).map { $0.nanoseconds / 1_000_000_000 } == [540, 1080, 1620])
        #expect(script.client.state == .allocated)
        #expect(script.server.allocations.count == 1)
        script.release()
        #expect(script.ends == [nil])
        #expect(script.server.allocations.isEmpty)
        #expect(script.messages.last?.message.first(.lifetime) == [0, 0, 0, 0])
        #expect(script.deadline == nil)
    }

    @Test("an idle binding toward the server is kept, over a stream it needs no such thing (RFC 8445 §5.1.1.4)")
    func keepalive() {
        let script = ScriptedTURN.allocated()
        script.advance(.seconds(100))
        let seconds = script.messages.filter { $0.message.messageClass == .indication }
            .map { $0.time.nanoseconds / 1_000_000_000 }
        #expect(seconds == [15, 30, 45, 60, 75, 90])
        let stream = ScriptedTURN.allocated(transport: .tcp)
        let count = stream.sent.count
        stream.advance(.seconds(100))
        #expect(stream.sent.count == count)
    }

    @Test("a short life is refreshed half way")
    func shortLife() {
        let script = ScriptedTURN()
        script.server.lifetime = 40
        script.start()
        script.advance(.seconds(90))
        #expect(script.times(of: .refresh).map { $0.nanoseconds / 1_000_000_000 } == [20, 40, 60, 80])
    }

    @Test("a server that goes silent loses the allocation by its end at the latest")
    func silence() {
        let script = ScriptedTURN.allocated()
        script.server.isSilent = true
        script.advance(.seconds(600))
        #expect(script.ends == [.timeout])
        #expect(script.now.nanoseconds <= 600_000_000_000)
    }

    @Test("giving back what the server does not know any more is as good (RFC 8656 §8.3)")
    func releaseGone() {
        let script = ScriptedTURN.allocated()
        script.server.refuses = { _, _ in .allocationMismatch }
        script.release()
        #expect(script.ends == [nil])
        script.release()
        script.client.permit(script.peer, now: script.now)
        #expect(script.client.nextOutput() == .wait(until: nil))
    }

    @Test("releasing before there is anything sends nothing", arguments: [false, true])
    func releaseEarly(isStarted: Bool) {
        let script = ScriptedTURN()
        script.isConnected = false
        if isStarted { script.start() }
        let count = script.sent.count
        script.release()
        #expect(script.ends == [nil])
        #expect(script.sent.count == count)
    }

    @Test("an allocation whose answer has not come yet is given back behind its request (RFC 8656 §8)")
    func releaseUnanswered() {
        let script = ScriptedTURN()
        // Of the server's answers the one that says 401 comes, the one that says what was made does not.
        script.rewrites = { (try? decode($0))?.messageClass == .success ? [] : [$0] }
        script.start()
        #expect(script.client.state == .allocating)
        #expect(script.server.allocations.count == 1)
        script.release()
        #expect(script.server.allocations.isEmpty)
        #expect(script.messages.last?.message.first(.lifetime) == [0, 0, 0, 0])
        script.advance(.seconds(60))
        #expect(script.ends == [nil])
    }

    struct Refusal: CustomTestStringConvertible {
        let method: STUNMessage.Method
        let error: Int
        /// How the client ends, if it does.
        let end: TURNFailure?
        var testDescription: String { "method \(method.rawValue), error \(error)" }
    }

    /// RFC 8656 §5, §8.3, §10, §12.3: requests after the first, and what each error to them means.
    static let refusals: [Refusal] = [
        Refusal(method: .refresh, error: 437, end: .allocationMismatch),
        Refusal(method: .refresh, error: 441, end: .wrongCredentials),
        Refusal(method: .refresh, error: 403, end: .forbidden),
        Refusal(method: .refresh, error: 400, end: .badRequest),
        Refusal(method: .refresh, error: 500, end: .refused(code: 500)),
        Refusal(method: .createPermission, error: 437, end: .allocationMismatch),
        Refusal(method: .createPermission, error: 403, end: nil),
        Refusal(method: .createPermission, error: 400, end: nil),
        Refusal(method: .createPermission, error: 441, end: nil),
        Refusal(method: .createPermission, error: 443, end: nil),
        Refusal(method: .createPermission, error: 508, end: nil),
        Refusal(method: .channelBind, error: 437, end: .allocationMismatch),
        Refusal(method: .channelBind, error: 400, end: .badRequest),
        Refusal(method: .channelBind, error: 403, end: nil),
        Refusal(method: .channelBind, error: 508, end: nil),
        Refusal(method: .channelBind, error: 486, end: nil),
    ]

    @Test("errors to later requests end what they must and no more", arguments: refusals)
    func laterRefused(refusal: Refusal) {
        let script = ScriptedTURN.allocated()
        script.server.refuses = { method, _ in
            method == refusal.method ? STUNErrorCode(refusal.error, "") : nil
        }
        script.permit(script.peer)
        if refusal.method == .channelBind { script.bind(script.peer) }
        if refusal.method == .refresh { script.advance(.seconds(541)) }
        #expect(script.ends == (refusal.end.map { [$0] } ?? []))
        guard refusal.end == nil else {
            script.send([1], to: script.peer)
            #expect(script.relayed.isEmpty)
            return
        }
        #expect(script.client.state == .allocated)
        if refusal.method == .createPermission {
            #expect(script.events.contains { if case .refused(script.peer.ip, _) = $0 { true } else { false } })
            script.send([1], to: script.peer)
            // Nobody asks again and again.
            #expect(script.times(of: .createPermission).count == 1)
            #expect(script.relayed.isEmpty)
        } else {
            script.send([1], to: script.peer)
            #expect(script.relayed.map(\.payload) == [[1]])
            #expect(script.client.channel(to: script.peer) == nil)
        }
        #expect(script.server.faults.isEmpty)
    }
}
