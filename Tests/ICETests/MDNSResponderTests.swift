// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

@Suite("Names of multicast DNS for our own addresses (RFC 6762 §6, §8.3, §10)")
struct MDNSResponderTests {
    private static let own = SocketAddress(ip: .v4(0x0A00_0001), port: 5353)
    private static let elsewhere = SocketAddress(ip: .v4(0xAC10_0001), port: 5353)
    private static let four = HostName(name: "Aa.local", address: .v4(0x0A00_0001))
    private static let six = HostName(name: "bb.local", address: .v6(high: 0x2001_0DB8_0000_0000, low: 1))
    private static let asker = SocketAddress(ip: .v4(0x0A00_0002), port: 5353)

    private func drain(_ responder: inout MDNSResponder) -> (sent: [Datagram], next: Timestamp?) {
        var sent: [Datagram] = []
        while true {
            switch responder.nextOutput() {
            case .transmit(let datagram): sent.append(datagram)
            case .event: break
            case .wait(let until): return (sent, until)
            }
        }
    }

    private func at(_ milliseconds: Int) -> Timestamp { .zero + .milliseconds(milliseconds) }

    /// A responder that has announced its names.
    private func announced() -> MDNSResponder {
        var responder = MDNSResponder(sources: [Self.own, Self.elsewhere])
        for host in [Self.four, Self.six] { responder.add(host, now: .zero) }
        responder.handleTimeout(now: at(1000))
        _ = drain(&responder)
        return responder
    }

    /// What a message tells of a name.
    private func addresses(of name: String, in datagram: Datagram?) -> [IPAddress] {
        let payload = datagram?.payload ?? []
        return MDNSMessage.addresses(of: name, in: payload.span.bytes)
    }

    private func ask(
        _ responder: inout MDNSResponder, _ name: String, _ type: MDNSMessage.RecordType, after milliseconds: Int,
        from source: SocketAddress = asker, to destination: SocketAddress = own, unicast: Bool = false
    ) throws -> [Datagram] {
        var query = try #require(MDNSMessage.query(for: name, type))
        if unicast { query[query.count - 2] |= 0x80 }
        responder.receive(query.span.bytes, from: source, to: destination, now: at(milliseconds))
        return drain(&responder).sent
    }

    @Test("a name is announced twice, a second apart, and on its own link alone")
    func announcements() {
        var responder = MDNSResponder(sources: [Self.own, Self.elsewhere])
        responder.add(Self.four, now: .zero)
        let first = drain(&responder)
        #expect(first.sent.map(\.source) == [Self.own])
        #expect(first.sent.allSatisfy { $0.destination.description == "224.0.0.251:5353" })
        #expect(first.next == at(1000))
        responder.handleTimeout(now: at(999))
        let sent10 = drain(&responder).sent
        #expect(sent10.isEmpty)
        responder.handleTimeout(now: at(1000))
        let second = drain(&responder)
        #expect(second.sent.map(\.payload) == first.sent.map(\.payload))
        #expect(second.next == nil)
        let payload = first.sent.first?.payload ?? []
        #expect(addresses(of: "aA.LOCAL", in: first.sent.first) == [Self.four.address])
        // Header, labels, A, class 1 with the cache-flush bit, 120 s, four bytes.
        #expect(
            payload == [0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0x61, 0x61, 5] + Array("local".utf8)
                + [0, 0, 1, 0x80, 1, 0, 0, 0, 120, 0, 4, 10, 0, 0, 1])
    }

    @Test("questions are answered to all, once a second, or to the asker if wanted so")
    func questions() throws {
        var responder = announced()
        let answer = try ask(&responder, "aa.local", .a, after: 3000)
        #expect(answer.map(\.destination.description) == ["224.0.0.251:5353"])
        #expect(addresses(of: "aa.local", in: answer.first) == [Self.four.address])
        let answer1 = try ask(&responder, "aa.local", .a, after: 3500)
        #expect(answer1.isEmpty)
        let answer2 = try ask(&responder, "aa.local", .a, after: 3600, unicast: true)
        #expect(answer2.map(\.destination) == [Self.asker])
        let answer3 = try ask(&responder, "aa.local", .a, after: 4000)
        #expect(answer3.count == 1)
        // An IPv6 address, on whichever link.
        let answer4 = try ask(&responder, "bb.local", .aaaa, after: 5000, to: Self.elsewhere)
        #expect(answer4.count == 1)
        let answered = responder.answered
        #expect(answered == 4)
    }

    @Test("other names, types, links and messages get no answer")
    func silence() throws {
        var responder = announced()
        let answer5 = try ask(&responder, "cc.local", .a, after: 3000)
        #expect(answer5.isEmpty)
        let answer6 = try ask(&responder, "aa.local", .aaaa, after: 3000)
        #expect(answer6.isEmpty)
        let answer7 = try ask(&responder, "bb.local", .a, after: 3000)
        #expect(answer7.isEmpty)
        let answer8 = try ask(&responder, "aa.local", .a, after: 3000, to: Self.elsewhere)
        #expect(answer8.isEmpty)
        let response = try #require(MDNSMessage.response([Self.four]))
        responder.receive(response.span.bytes, from: Self.asker, to: Self.own, now: at(3000))
        var query = try #require(MDNSMessage.query(for: "aa.local", .a))
        query[query.count - 1] = 3
        responder.receive(query.span.bytes, from: Self.asker, to: Self.own, now: at(3000))
        let sent11 = drain(&responder).sent
        #expect(sent11.isEmpty)
    }

    @Test("who asks from another port gets its identifier and question back, and nothing for its cache (§6.7)")
    func legacy() throws {
        var responder = announced()
        var query = try #require(MDNSMessage.query(for: "aa.local", .a))
        (query[0], query[1]) = (0x12, 0x34)
        let source = SocketAddress(ip: Self.asker.ip, port: 40_000)
        responder.receive(query.span.bytes, from: source, to: Self.own, now: at(3000))
        let sent = drain(&responder).sent
        #expect(sent.map(\.destination) == [source])
        let payload = sent.first?.payload ?? []
        #expect(Array(payload.prefix(8)) == [0x12, 0x34, 0x84, 0, 0, 1, 0, 1])
        #expect(Array(payload.suffix(14)) == [0, 1, 0, 1, 0, 0, 0, 10, 0, 4, 10, 0, 0, 1])
    }

    @Test("the end says good-bye, and nothing is answered afterwards (§10.1)")
    func goodbye() throws {
        var responder = announced()
        responder.close()
        let sent = drain(&responder).sent
        #expect(sent.count == 3)
        for datagram in sent {
            #expect(addresses(of: "aa.local", in: datagram).isEmpty)
        }
        let answer9 = try ask(&responder, "aa.local", .a, after: 9000)
        #expect(answer9.isEmpty)
    }

    @Test("no more names than a bound, and each once")
    func bounds() {
        var responder = MDNSResponder(sources: [Self.own])
        for number in 0..<100 {
            for _ in 0..<2 { responder.add(HostName(name: "n\(number).local", address: Self.own.ip), now: .zero) }
        }
        let sent12 = drain(&responder).sent
        #expect(sent12.count == MDNSResponder.mostNames)
        responder.add(HostName(name: "..", address: Self.own.ip), now: .zero)
        let sent13 = drain(&responder).sent
        #expect(sent13.isEmpty)
    }

    @Test("a lookup finds what a responder has, whatever is lost of the first tries")
    func together() throws {
        var responder = announced()
        var lookup = MDNSLookup(name: "aa.local", sources: [Self.asker], now: at(5000))
        var (now, found): (Timestamp, [IPAddress]) = (at(5000), [])
        var asked = 0
        search: while true {
            switch lookup.nextOutput() {
            case .transmit(let datagram):
                asked += 1
                guard asked > 2 else { continue }
                responder.receive(datagram.payload.span.bytes, from: datagram.source, to: Self.own, now: now)
                for answer in drain(&responder).sent {
                    lookup.receive(answer.payload.span.bytes, from: answer.source, to: Self.asker, now: now)
                }
            case .event(.found(let addresses)): found = addresses
            case .event(.notFound): break search
            case .wait(nil): break search
            case .wait(let until?):
                now = until
                lookup.handleTimeout(now: now)
            }
        }
        #expect(found == [Self.four.address])
    }
}
