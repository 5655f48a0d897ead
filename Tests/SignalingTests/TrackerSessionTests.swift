// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing
import Wire

@Suite("Tracker session: announcing")
struct TrackerSessionAnnounceTests {
    @Test("the first announce says started, and its strings have 20 scalars")
    func started() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1000, uploaded: 7, downloaded: 8, wantedOffers: 2))
        #expect(trace.take() == [.open])
        trace.opened()
        #expect(
            trace.takeEvents() == [
                .connected(peerID: trace.session.peerID), .offersWanted(batch: 1, count: 5),
            ])
        trace.provide(someOffers(3))
        let messages = try trace.takeSent()
        #expect(messages.count == 1)
        let message = try #require(messages.first)
        #expect(message["action"] == "announce")
        #expect(message["event"] == "started")
        #expect(message["info_hash"]?.string == swarmHash.latin1)
        #expect(message["peer_id"]?.string.flatMap { Bytes20(latin1: $0) } == trace.session.peerID)
        #expect(message["left"] == 1000)
        #expect(message["uploaded"] == 7)
        #expect(message["downloaded"] == 8)
        #expect(message["numwant"] == 3)
        let offers = try #require(message["offers"]?.array)
        #expect(offers.map { $0["offer"] } == (1...3).map { ["type": "offer", "sdp": .string("v=0 \($0)")] })
        let ids = offers.compactMap { $0["offer_id"]?.string.flatMap { Bytes20(latin1: $0) } }
        #expect(Set(ids).count == 3)
    }

    @Test("offers that come late follow the announce, without a second start")
    func lateOffers() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1))
        trace.opened()
        trace.pass(.milliseconds(1100))
        var messages = try trace.takeSent()
        #expect(messages.map { $0["event"] } == ["started"])
        #expect(messages.first?["numwant"] == 0 && messages.first?["offers"] == [])
        trace.provide(someOffers(2))
        messages = try trace.takeSent()
        #expect(messages.map { $0["event"] } == [nil])
        #expect(messages.first?["numwant"] == 2)
        trace.provide(someOffers(2, first: 10))
        #expect(trace.take() == [.event(.offersExpired([10, 11]))], "one batch is given once")
    }

    @Test("nothing stays unannounced when the caller makes no offers")
    func noOffers() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1))
        trace.opened()
        trace.provide([])
        #expect(try trace.takeSent().map { $0["event"] } == ["started"])
    }

    @Test("an announce stays below 16 KiB; what is left over follows in others, and all say numwant as it is")
    func splitting() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1, wantedOffers: 10))
        trace.opened()
        trace.provide(someOffers(10, sdp: String(repeating: "é\r\n", count: 1000)))
        let texts = trace.take().compactMap { if case .send(let text) = $0 { text } else { nil } }
        let messages = try texts.map { try JSON(parsing: $0) }
        #expect(texts.allSatisfy { $0.utf8.count < 16_384 })
        #expect(messages.count == 5)
        #expect(messages.map { $0["event"] } == ["started", nil, nil, nil, nil])
        #expect(messages.map { $0["numwant"] } == messages.map { .integer(Int64($0["offers"]?.array?.count ?? -1)) })
        #expect(messages.reduce(0) { $0 + ($1["offers"]?.array?.count ?? 0) } == 10)
    }

    @Test("periodic announces come at the tracker's interval, a tenth more or less, and carry no event", arguments: 1...20)
    func interval(seed: UInt64) throws {
        let trace = SessionTrace.announced(interval: 60, seed: seed)
        let began = trace.now
        while trace.takeEvents() != [.offersWanted(batch: 2, count: 2)] {
            trace.pass(try #require(trace.deadline) - trace.now)
        }
        #expect((54...66).contains((trace.now - began).seconds))
        trace.provide(someOffers(2))
        let messages = try trace.takeSent()
        #expect(messages.count == 1 && messages.first?["event"] == nil && messages.first?["numwant"] == 2)
    }

    @Test("a lone node announces after 10, 20, 40 seconds, then at the interval", arguments: 1...5)
    func lonely(seed: UInt64) throws {
        let trace = SessionTrace.announced(
            status: TrackerStatus(left: 0, wantedOffers: 0, connectedPeers: 0), interval: 60, seed: seed)
        for pause in [10, 20, 40] {
            trace.pass(.milliseconds(pause * 1000 - 1))
            #expect(try trace.takeSent().isEmpty)
            trace.pass(.milliseconds(1))
            #expect(try trace.takeSent().count == 1)
            trace.receive(["interval": 60, "info_hash": .string(swarmHash.latin1)])
        }
        trace.pass(.seconds(53))
        #expect(try trace.takeSent().isEmpty)
        trace.pass(.seconds(8))
        #expect(try trace.takeSent().count == 1)
    }

    @Test(
        "intervals are believed within reason, and a least interval holds for extra announces too",
        arguments: [
            (["interval": 1], 9.9, 0), (["interval": 1], 11.1, 1), (["interval": 999_999_999_999], 3200.0, 0),
            (["interval": 999_999_999_999], 4000.0, 1), (["interval": 60, "min interval": 30], 29.9, 0),
            (["interval": 60, "min_interval": 30], 29.9, 0), (["interval": 60, "min interval": 30], 30.1, 1),
            (["interval": -5], 26.0, 0), (["interval": -5, "complete": 1], 33.1, 1), (["interval": "60", "complete": 1], 33.1, 1),
        ] as [(JSON, Double, Int)])
    func boundedInterval(reply: JSON, seconds: Double, announces: Int) throws {
        let isLonely = reply["interval"] == 60
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 0, wantedOffers: 0, connectedPeers: isLonely ? 0 : 1))
        trace.opened()
        trace.provide([])
        _ = trace.take()
        trace.receive(reply)
        trace.pass(.seconds(seconds))
        #expect(try trace.takeSent().count == announces)
    }

    @Test("the end of the download is told at once, once")
    func completed() throws {
        let trace = SessionTrace.announced()
        trace.update(TrackerStatus(left: 1, connectedPeers: 1))
        #expect(try trace.takeSent().isEmpty)
        trace.update(TrackerStatus(left: 0, connectedPeers: 1))
        let messages = try trace.takeSent()
        #expect(messages.map { $0["event"] } == ["completed"] && messages.first?["left"] == 0)
        trace.update(TrackerStatus(left: 0, connectedPeers: 2))
        #expect(try trace.takeSent().isEmpty)
    }

    @Test("a seeder never completes")
    func seeder() throws {
        let trace = SessionTrace.announced(status: TrackerStatus(left: 0, connectedPeers: 1))
        trace.update(TrackerStatus(left: 0, connectedPeers: 2))
        #expect(try trace.takeSent().isEmpty)
    }

    @Test("good-bye is said before the socket closes, and nothing is done after it")
    func stopped() throws {
        let trace = SessionTrace.announced(offers: someOffers(2))
        trace.stop()
        let outputs = trace.take()
        #expect(outputs.count == 3)
        guard case .send(let text) = outputs.first else {
            Issue.record("no message")
            return
        }
        let message = try JSON(parsing: text)
        #expect(message["event"] == "stopped" && message["left"] == 1000 && message["offers"] == nil)
        #expect(outputs.dropFirst() == [.close, .event(.offersExpired([1, 2]))])
        trace.closed()
        trace.opened()
        trace.provide(someOffers(1, first: 9))
        trace.pass(.seconds(1000))
        #expect(trace.take() == [.event(.offersExpired([9]))])
        #expect(trace.deadline == nil)
    }

    @Test("what the tracker calls us is echoed")
    func trackerID() throws {
        let trace = SessionTrace.announced()
        trace.receive(["tracker id": "abc", "interval": 60])
        trace.stop()
        #expect(try trace.takeSent().last?["trackerid"] == "abc")
    }

    @Test("scraping asks for our swarm alone")
    func scrape() throws {
        let trace = SessionTrace.announced()
        trace.scrape()
        #expect(try trace.takeSent() == [["action": "scrape", "info_hash": .string(swarmHash.latin1)]])
        let files: JSON = .object([
            swarmHash.latin1: ["complete": 3, "incomplete": 4, "downloaded": 5],
            Bytes20(repeated: 9).latin1: ["complete": 1], "rubbish": 4,
        ])
        trace.receive(["action": "scrape", "files": files])
        #expect(trace.takeEvents() == [.scraped(TrackerScrape(complete: 3, incomplete: 4, downloaded: 5))])
    }
}

@Suite("Tracker session: offers and answers")
struct TrackerSessionOfferTests {
    private let peer = Bytes20(repeated: 0xE9)
    private let offerID = Bytes20(repeated: 0x0A)

    private func offerIDs(_ messages: [JSON]) -> [Bytes20] {
        messages.flatMap { $0["offers"]?.array ?? [] }.compactMap { $0["offer_id"]?.string.flatMap { Bytes20(latin1: $0) } }
    }

    @Test("an answer comes back under the caller's id, once")
    func answered() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1, connectedPeers: 1))
        trace.opened()
        trace.provide(someOffers(2, first: 40))
        let ids = offerIDs(try trace.takeSent())
        #expect(ids.count == 2)
        trace.receive(forwarded("answer", from: peer, offerID: ids[1], sdp: "yes"))
        #expect(trace.takeEvents() == [.answer(offerID: 41, from: peer, sdp: "yes")])
        trace.receive(forwarded("answer", from: peer, offerID: ids[1], sdp: "again"))
        #expect(trace.take().isEmpty && trace.session.dropped.foreign == 1)
        trace.receive(["interval": 120])
        trace.pass(.seconds(49))
        _ = trace.take()
        trace.pass(.seconds(2))
        #expect(trace.takeEvents().contains(.offersExpired([40])), "only what was not answered expires")
    }

    @Test("offers in flight are bounded")
    func bounded() throws {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1, wantedOffers: 500))
        trace.opened()
        #expect(trace.takeEvents().last == .offersWanted(batch: 1, count: 10))
        trace.provide(someOffers(25))
        #expect(trace.take().first == .event(.offersExpired([21, 22, 23, 24, 25])))
    }

    @Test("a forwarded offer is answered once, with left, under our name")
    func answering() throws {
        let trace = SessionTrace.announced()
        trace.receive(forwarded("offer", from: peer, offerID: offerID, sdp: "offer"))
        #expect(trace.takeEvents() == [.offer(from: peer, offerID: offerID, sdp: "offer")])
        #expect(trace.answer(peer, offerID, "answer"))
        #expect(
            try trace.takeSent() == [
                [
                    "action": "announce", "info_hash": .string(swarmHash.latin1),
                    "peer_id": .string(trace.session.peerID.latin1), "to_peer_id": .string(peer.latin1),
                    "offer_id": .string(offerID.latin1), "answer": ["type": "answer", "sdp": "answer"], "left": 1000,
                ]
            ])
        #expect(!trace.answer(peer, offerID, "again"))
        #expect(try trace.takeSent().isEmpty)
    }

    @Test("an answer that comes too late, or over another socket, goes nowhere", arguments: [true, false])
    func lateAnswer(reconnects: Bool) throws {
        let trace = SessionTrace.announced(interval: 3600)
        trace.receive(forwarded("offer", from: peer, offerID: offerID))
        if reconnects {
            trace.closed()
            trace.pass(.seconds(1))
            trace.opened()
            trace.provide([])
        } else {
            trace.pass(.seconds(121))
        }
        #expect(!trace.answer(peer, offerID, "answer"))
    }

    @Test("our own offers, offers said twice and those of other swarms are dropped")
    func foreign() {
        let trace = SessionTrace.announced()
        let former = trace.session.peerID
        trace.closed()
        trace.pass(.seconds(1))
        trace.opened()
        trace.provide([])
        _ = trace.take()
        trace.receive(forwarded("offer", from: trace.session.peerID, offerID: offerID))
        trace.receive(forwarded("offer", from: former, offerID: offerID))
        trace.receive(forwarded("offer", from: peer, offerID: offerID, infoHash: peer))
        trace.receive(forwarded("offer", from: peer, offerID: offerID, sdp: String(repeating: "x", count: 65_537)))
        trace.receive(forwarded("answer", from: peer, offerID: offerID))
        #expect(trace.take().isEmpty && trace.session.dropped.foreign == 5)
        trace.receive(forwarded("offer", from: peer, offerID: offerID))
        trace.receive(forwarded("offer", from: peer, offerID: offerID))
        #expect(trace.take().count == 1 && trace.session.dropped.foreign == 6)
    }

    @Test("so many offers an interval are passed on, and again in the next")
    func budget() {
        let trace = SessionTrace.announced(interval: 60)
        func flood(_ round: UInt8) -> Int {
            for index in 0..<60 {
                let id = Bytes20(repeated: round).withPrefix([UInt8(index)])
                trace.receive(forwarded("offer", from: peer, offerID: id))
            }
            return trace.takeEvents().count { if case .offer = $0 { true } else { false } }
        }
        #expect(flood(1) == 50)
        #expect(trace.session.dropped.excess == 10)
        trace.pass(.seconds(60))
        trace.receive(["interval": 60])
        _ = trace.take()
        #expect(flood(2) == 50)
    }

    @Test("a message can be several things at once")
    func compound() {
        let trace = SessionTrace.announced()
        var message = forwarded("offer", from: peer, offerID: offerID, sdp: "v").object ?? [:]
        message["interval"] = 77
        message["complete"] = 2
        message["incomplete"] = 3
        message["warning message"] = "careful"
        trace.receive(.object(message))
        #expect(
            trace.takeEvents() == [
                .warning("careful"), .announced(TrackerAnnounceReply(interval: 77, complete: 2, incomplete: 3)),
                .offer(from: peer, offerID: offerID, sdp: "v"),
            ])
    }

    @Test("a refusal is told, whether it names the swarm or not, and slows the announces down")
    func failure() throws {
        let trace = SessionTrace.announced(interval: 30)
        trace.receive(["failure reason": "invalid info_hash"])
        #expect(trace.takeEvents() == [.failure("invalid info_hash")])
        trace.pass(.seconds(119))
        #expect(try trace.takeSent().isEmpty)
        trace.pass(.seconds(1.1))
        #expect(trace.takeEvents() == [.offersWanted(batch: 2, count: 2)])
        for _ in 0..<100 { trace.receive(["failure reason": "no", "info_hash": "not twenty"]) }
        #expect(trace.takeEvents().count == 20)
    }
}
