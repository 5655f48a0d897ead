// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("What ICMP says of a candidate")
struct UnreachabilityTests {
    @Test(
        "destination-unreachable messages have a meaning, others none",
        arguments: [
            (IPAddress.Family.v4, 3, 3, Unreachability.port), (.v4, 3, 1, .host), (.v4, 3, 0, .network),
            (.v4, 3, 13, .prohibited), (.v6, 1, 4, .port), (.v6, 1, 3, .host), (.v6, 1, 0, .network),
            (.v6, 1, 1, .prohibited),
            // Too large for a link, time exceeded, a value from later.
            (.v4, 3, 4, nil), (.v4, 11, 0, nil), (.v4, 3, 99, nil),
            (.v6, 2, 0, nil), (.v6, 3, 0, nil), (.v6, 1, 99, nil),
        ] as [(IPAddress.Family, UInt8, UInt8, Unreachability?)])
    func meaning(family: IPAddress.Family, type: UInt8, code: UInt8, meaning: Unreachability?) {
        #expect(Unreachability(icmpType: type, code: code, family: family) == meaning)
    }

    private func tell(_ peer: ScriptedPeer, _ cause: Unreachability, _ id: STUNTransactionID?) {
        peer.agent.receiveUnreachable(peer.remote, from: peer.local, because: cause, quoting: id, now: peer.now)
        peer.drain()
    }

    private func told(_ peer: ScriptedPeer) -> [Unreachability] {
        peer.actions.compactMap { if case .unreachableTold(_, let cause) = $0 { cause } else { nil } }
    }

    @Test("a check goes on, may still succeed, and else names the reason")
    func check() throws {
        for succeeds in [true, false] {
            let peer = ScriptedPeer()
            peer.start()
            let request = try #require(peer.takeMessages().first { $0.messageClass == .request })
            for _ in 0..<100 { tell(peer, .port, request.transactionID) }
            #expect(told(peer) == [.port])
            #expect(peer.state == .checking)
            #expect(peer.causes == [.port])
            if succeeds {
                peer.receive(peer.response(to: request, mapped: peer.local), to: peer.local)
                #expect(peer.state == .connected || peer.state == .completed)
                #expect(peer.causes.isEmpty)
            } else {
                let copies = peer.sent.count
                peer.advance(.seconds(5))
                #expect(peer.sent.count > copies)
                peer.advance(.seconds(60))
                #expect(peer.state == .failed)
                #expect(peer.causes == [.port])
                #expect(
                    peer.actions.contains {
                        if case .checkFailed(_, .told(.port)) = $0 { true } else { false }
                    })
            }
        }
    }

    @Test("what quotes no request of ours is nothing")
    func forged() throws {
        let peer = ScriptedPeer()
        peer.start()
        tell(peer, .port, STUNTransactionID(high: 1, low: 2))
        #expect(told(peer).isEmpty)
        #expect(peer.causes.isEmpty)
    }

    @Test("a connection with consent lives on, and where that ends too the reason is named")
    func consent() throws {
        let peer = ScriptedPeer()
        peer.complete()
        _ = peer.takeMessages()
        peer.advance(.seconds(8))
        let request = try #require(peer.takeMessages().first { $0.messageClass == .request })
        tell(peer, .host, request.transactionID)
        #expect(told(peer) == [.host])
        #expect(peer.state == .completed)
        peer.receive(peer.response(to: request, mapped: peer.local), to: peer.local)
        #expect(peer.causes.isEmpty)
        peer.advance(.seconds(8))
        let next = try #require(peer.takeMessages().first { $0.messageClass == .request })
        tell(peer, .host, next.transactionID)
        peer.advance(.seconds(40))
        #expect(peer.state == .failed)
        #expect(
            peer.actions.contains { if case .consentLost(_, .told(.host)) = $0 { true } else { false } })
    }
}

extension ScriptedPeer {
    fileprivate var causes: [Unreachability] { agent.unreachable.map(\.cause) }
}
