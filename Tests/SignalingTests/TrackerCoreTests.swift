// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing
import Wire

/// A ``TrackerCore`` on a clock of its own, with what it sent to each socket.
private final class CoreTrace {
    private(set) var core: TrackerCore
    private(set) var now = Timestamp.zero
    private(set) var closed: Set<UInt64> = []
    private(set) var pinged: [UInt64] = []
    private var sent: [UInt64: [JSON]] = [:]

    init(limits: TrackerLimits = TrackerLimits(), sockets: ClosedRange<UInt64> = 1...5, seed: UInt64 = 1) {
        core = TrackerCore(limits: limits, entropy: Entropy(seed: seed))
        for id in sockets { _ = core.open(id, now: now) }
    }

    func opens(_ id: UInt64) -> Bool { core.open(id, now: now) }

    func receive(_ json: JSON, from id: UInt64) { receive(Array(json.serialized().utf8), from: id) }

    func receive(_ bytes: [UInt8], from id: UInt64) {
        core.receive(bytes.span.bytes, from: id, now: now)
        drain()
    }

    func close(_ id: UInt64) {
        core.close(id)
        drain()
    }

    func pass(_ duration: Duration, alive: [UInt64] = []) {
        for _ in 0..<Int(duration.seconds) {
            now += .seconds(1)
            for id in alive { core.socketIsAlive(id, now: now) }
            core.handleTimeout(now: now)
            drain()
        }
    }

    /// What went to a socket since the last call.
    func take(_ id: UInt64) -> [JSON] { sent.removeValue(forKey: id) ?? [] }

    private func drain() {
        while true {
            switch core.nextOutput() {
            case .send(let id, let text): sent[id, default: []].append((try? JSON(parsing: text)) ?? .null)
            case .close(let id): closed.insert(id)
            case .ping(let id): pinged.append(id)
            case .wait: return
            }
        }
    }
}

/// The name of the peer on a socket.
private func name(_ id: UInt64) -> Bytes20 { Bytes20(repeated: UInt8(id) | 0x80) }

/// An announce of the peer on a socket, as browsers write it.
private func announce(
    _ id: UInt64, event: JSON? = "started", left: JSON? = 100, offers: [UInt8] = [], numwant: JSON? = 10,
    swarm: Bytes20 = swarmHash, peerID: Bytes20? = nil
) -> JSON {
    var object: JSON.Object = [
        "action": "announce", "info_hash": .string(swarm.latin1), "peer_id": .string((peerID ?? name(id)).latin1),
        "uploaded": 0, "downloaded": 0,
    ]
    object["event"] = event
    object["left"] = left
    object["numwant"] = numwant
    object["offers"] = .array(
        offers.map {
            ["offer_id": .string(Bytes20(repeated: $0).latin1), "offer": ["type": "offer", "sdp": .string("o\($0)"), "x": 1]]
        })
    return .object(object)
}

private func answer(_ id: UInt64, to peer: UInt64, offer: UInt8, peerID: Bytes20? = nil) -> JSON {
    [
        "action": "announce", "info_hash": .string(swarmHash.latin1), "peer_id": .string((peerID ?? name(id)).latin1),
        "to_peer_id": .string(name(peer).latin1), "offer_id": .string(Bytes20(repeated: offer).latin1),
        "answer": ["type": "answer", "sdp": "yes", "x": 1],
    ]
}

@Suite("Tracker core")
struct TrackerCoreTests {
    private let hash = JSON.string(swarmHash.latin1)

    private func reply(complete: Int64, incomplete: Int64) -> JSON {
        [
            "action": "announce", "info_hash": hash, "interval": 120, "complete": .integer(complete),
            "incomplete": .integer(incomplete),
        ]
    }

    @Test("an announce is answered with the counts")
    func counts() {
        let trace = CoreTrace()
        trace.receive(announce(1), from: 1)
        trace.receive(announce(2, left: 0), from: 2)
        trace.receive(announce(3, left: nil), from: 3)
        trace.receive(announce(4, left: .null), from: 4)
        #expect(trace.take(1) == [reply(complete: 0, incomplete: 1)])
        #expect(trace.take(2) == [reply(complete: 1, incomplete: 1)])
        #expect(trace.take(3) == [reply(complete: 1, incomplete: 2)], "nothing said is no seeder")
        #expect(trace.take(4) == [reply(complete: 1, incomplete: 3)], "null is no seeder")
        trace.receive(announce(2, event: nil, left: nil), from: 2)
        #expect(trace.take(2) == [reply(complete: 1, incomplete: 3)], "a seeder that says nothing stays one")
        trace.receive(announce(1, event: "completed", left: 0), from: 1)
        trace.receive(announce(3, event: "stopped"), from: 3)
        #expect(trace.take(1) == [reply(complete: 2, incomplete: 2)])
        #expect(trace.take(3) == [reply(complete: 2, incomplete: 1)])
        trace.close(2)
        trace.receive(["action": "scrape", "info_hash": hash], from: 1)
        #expect(
            trace.take(1) == [
                [
                    "action": "scrape", "info_hash": hash,
                    "files": .object([swarmHash.latin1: ["complete": 1, "incomplete": 1, "downloaded": 1]]),
                ]
            ])
    }

    @Test("each offer goes to another peer that is here now, rebuilt, and never back")
    func offers() {
        let trace = CoreTrace()
        for id in 1...4 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        for id in 1...5 as ClosedRange<UInt64> { _ = trace.take(id) }
        trace.receive(announce(1, event: nil, offers: [1, 2, 3, 4, 5, 6]), from: 1)
        #expect(trace.take(1).count == 1)
        var seen: Set<JSON> = []
        for id in 2...4 as ClosedRange<UInt64> {
            let messages = trace.take(id)
            #expect(messages.count == 1)
            let message = messages.first ?? .null
            seen.insert(message["offer_id"] ?? .null)
            #expect(message["info_hash"] == hash && message["peer_id"] == .string(name(1).latin1))
            #expect(message["offer"]?.object?.count == 2 && message["offer"]?["type"] == "offer")
        }
        #expect(seen.count == 3)
        trace.receive(announce(5), from: 5)
        #expect(trace.take(5).count == 1, "offers are not kept")
    }

    @Test(
        "numwant limits the offers where it is a number",
        arguments: [(2, 2), (0, 0), (-3, 0), (99, 4), (.null, 4), (nil, 4), ("2", 4), (.number(1), 1)] as [(JSON?, Int)])
    func numwant(value: JSON?, expected: Int) {
        let trace = CoreTrace()
        for id in 1...5 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        for id in 1...5 as ClosedRange<UInt64> { _ = trace.take(id) }
        trace.receive(announce(1, offers: [1, 2, 3, 4, 5, 6], numwant: value), from: 1)
        #expect((2...5).reduce(0) { $0 + trace.take($1).count } == expected)
    }

    @Test("peers are drawn evenly by chance, seeders only where nobody else is left")
    func fairness() {
        let trace = CoreTrace(sockets: 1...11)
        for id in 1...10 as ClosedRange<UInt64> { trace.receive(announce(id, left: id == 10 ? 0 : 5), from: id) }
        var hits: [UInt64: Int] = [:]
        for round in 0..<300 {
            if round % 100 == 0 { trace.pass(.seconds(20), alive: Array(1...11)) }
            trace.receive(announce(11, left: 0, offers: [1, 2, 3]), from: 11)
            for id in 1...10 as ClosedRange<UInt64> { hits[id, default: 0] += trace.take(id).count { $0["offer"] != nil } }
        }
        #expect((1...9).allSatisfy { (60...140).contains(hits[$0] ?? 0) }, "\(hits)")
        #expect(hits[10] == 0)
        for id in 1...9 as ClosedRange<UInt64> { trace.close(id) }
        trace.receive(announce(11, left: 0, offers: [1, 2, 3]), from: 11)
        #expect(trace.take(10).count == 1)
    }

    @Test("an answer goes to the offerer, from members under their own name alone")
    func answers() {
        let trace = CoreTrace()
        for id in 1...2 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        for id in 1...2 as ClosedRange<UInt64> { _ = trace.take(id) }
        trace.receive(answer(2, to: 1, offer: 9), from: 2)
        #expect(
            trace.take(1) == [
                [
                    "action": "announce", "info_hash": hash, "peer_id": .string(name(2).latin1),
                    "offer_id": .string(Bytes20(repeated: 9).latin1), "answer": ["type": "answer", "sdp": "yes"],
                ]
            ])
        trace.receive(answer(3, to: 1, offer: 9), from: 3)
        trace.receive(answer(3, to: 1, offer: 9, peerID: name(2)), from: 3)
        trace.receive(answer(2, to: 4, offer: 9), from: 2)
        #expect((1...4).allSatisfy { trace.take($0).isEmpty })
    }

    @Test("a peer that comes back on another socket is served there, and the old socket takes nothing with it")
    func moving() {
        let trace = CoreTrace()
        trace.receive(announce(1, peerID: name(1)), from: 1)
        trace.receive(announce(2, peerID: name(1)), from: 2)
        trace.close(1)
        #expect(trace.core.statistics.peers == 1)
        trace.receive(announce(3, offers: [1]), from: 3)
        #expect(trace.take(2).contains { $0["offer"] != nil })
    }

    @Test("a socket has one name in a swarm, and may have another in the next")
    func names() {
        let trace = CoreTrace()
        trace.receive(announce(1, peerID: name(7)), from: 1)
        trace.receive(announce(1, peerID: name(8)), from: 1)
        trace.receive(announce(1, swarm: Bytes20(repeated: 5), peerID: name(9)), from: 1)
        #expect(trace.core.statistics.peers == 2 && trace.core.statistics.swarms == 2)
        trace.close(1)
        #expect(trace.core.statistics.peers == 0 && trace.core.statistics.swarms == 0)
    }

    /// Messages and whether they are taken.
    private static let quirks: [(JSON, Bool)] = [
        (announce(1, event: ""), true), (announce(1, event: "update"), true), (announce(1, event: "paused"), true),
        (announce(1, event: .null), true), (announce(1, event: nil, left: .number(3)), true), (announce(1, left: "x"), true),
        (announce(1, event: "begun"), false), (announce(1, event: 7), false),
        (["action": "announce", "info_hash": .string(swarmHash.latin1), "peer_id": .string(swarmHash.description)], false),
        (["action": "announce", "info_hash": .string(swarmHash.latin1)], false),
        (["action": "announce", "info_hash": .string(swarmHash.description), "peer_id": .string(name(1).latin1)], false),
        (["action": "dance", "info_hash": .string(swarmHash.latin1)], false), (["action": "scrape"], false), ([1], false), (3, false),
    ]

    @Test("messages with quirks are taken, wrong ones refused with a reason and the swarm", arguments: quirks.indices)
    func quirk(_ index: Int) {
        let (message, isTaken) = Self.quirks[index]
        let trace = CoreTrace()
        trace.receive(message, from: 1)
        let replies = trace.take(1)
        #expect(replies.count == 1)
        #expect((replies.first?["interval"] != nil) == isTaken)
        #expect((replies.first?["failure reason"]?.string != nil) == !isTaken)
        #expect(replies.first?["info_hash"] == message["info_hash"])
        #expect(trace.closed.isEmpty)
    }

    @Test("offers that libtorrent would break on are not handed out")
    func badOffers() {
        let trace = CoreTrace()
        for id in 1...5 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        for id in 1...5 as ClosedRange<UInt64> { _ = trace.take(id) }
        var message = announce(1).object ?? [:]
        let good = JSON.string(Bytes20(repeated: 1).latin1)
        message["offers"] = [
            ["offer_id": "short", "offer": ["sdp": "x"]], ["offer_id": good], 7, ["offer_id": good, "offer": ["sdp": 1]],
            ["offer_id": good, "offer": ["type": "offer", "sdp": "fine"]],
        ]
        trace.receive(.object(message), from: 1)
        #expect((2...5).flatMap { trace.take($0) }.map { $0["offer"]?["sdp"] } == ["fine"])
    }

    @Test("at most 20 offers of a message are handed out")
    func offerLimit() {
        let trace = CoreTrace(sockets: 1...40)
        for id in 1...40 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        for id in 1...40 as ClosedRange<UInt64> { _ = trace.take(id) }
        trace.receive(announce(1, offers: Array(1...35), numwant: 35), from: 1)
        #expect((2...40).reduce(0) { $0 + trace.take($1).count } == 20)
    }

    @Test("limits on swarms, peers and sockets hold")
    func limits() {
        var limits = TrackerLimits()
        (limits.connections, limits.swarms, limits.peersPerSwarm, limits.swarmsPerConnection) = (4, 3, 2, 2)
        let trace = CoreTrace(limits: limits, sockets: 1...4)
        #expect(!trace.opens(5))
        for id in 1...3 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        #expect(trace.take(2).last?["failure reason"] == nil)
        #expect(trace.take(3).last?["failure reason"] == "the swarm is full")
        trace.receive(announce(1, swarm: Bytes20(repeated: 1)), from: 1)
        trace.receive(announce(1, swarm: Bytes20(repeated: 2)), from: 1)
        #expect(trace.take(1).last?["failure reason"] == "too many swarms on one connection")
        trace.receive(announce(2, swarm: Bytes20(repeated: 3)), from: 2)
        trace.receive(announce(3, swarm: Bytes20(repeated: 4)), from: 3)
        #expect(trace.take(3).last?["failure reason"] == "the tracker is full")
        #expect(trace.core.statistics.peers == 4)
    }

    @Test("a flood is refused, then cut off; what is slower is served")
    func rate() {
        var limits = TrackerLimits()
        (limits.messagesPerSecond, limits.messageBurst) = (2, 5)
        let trace = CoreTrace(limits: limits)
        for _ in 0..<5 { trace.receive(announce(1), from: 1) }
        #expect(trace.take(1).allSatisfy { $0["interval"] != nil })
        trace.receive(announce(1), from: 1)
        #expect(trace.take(1).last?["failure reason"] == "too many messages")
        trace.pass(.seconds(1))
        trace.receive(announce(1), from: 1)
        #expect(trace.take(1).last?["interval"] == 120)
        for _ in 0..<50 { trace.receive(announce(1), from: 1) }
        #expect(trace.closed == [1] && trace.core.statistics.peers == 0)
        trace.receive(announce(1), from: 1)
        #expect(trace.core.statistics.peers == 0)
    }

    @Test("rubbish is answered, then cut off", arguments: ["", "{", "\u{0}", String(repeating: "[", count: 50_000)])
    func rubbish(text: String) {
        let trace = CoreTrace()
        trace.receive(Array(text.utf8), from: 1)
        #expect(trace.take(1).first?["failure reason"]?.string != nil)
        for _ in 0..<20 { trace.receive(Array(text.utf8), from: 1) }
        #expect(trace.closed == [1])
    }

    @Test("silent sockets are pinged and closed, silent peers forgotten")
    func silence() {
        let trace = CoreTrace(sockets: 1...3)
        for id in 1...2 as ClosedRange<UInt64> { trace.receive(announce(id), from: id) }
        trace.pass(.seconds(61), alive: [2])
        #expect(trace.pinged == [1, 3])
        trace.pass(.seconds(75), alive: [2])
        #expect(trace.closed == [1, 3])
        #expect(trace.core.statistics.peers == 1)
        trace.pass(.seconds(200), alive: [2])
        #expect(trace.core.statistics.peers == 0 && trace.core.statistics.connections == 1)
    }

    @Test("any bytes do no harm", arguments: 1...10)
    func anything(seed: UInt64) {
        var limits = TrackerLimits()
        (limits.messageBurst, limits.messagesPerSecond) = (10_000, 10_000)
        let trace = CoreTrace(limits: limits, sockets: 1...200, seed: seed)
        var entropy = Entropy(seed: seed)
        for _ in 0..<200 {
            let id = UInt64.random(in: 1...200, using: &entropy)
            let event = ([nil, "stopped", "completed"] as [JSON?]).randomElement(using: &entropy) ?? nil
            var bytes = Array(announce(id % 8, event: event, offers: [1, 2]).serialized().utf8)
            for _ in 0..<Int.random(in: 0...3, using: &entropy) {
                bytes[Int.random(in: 0..<bytes.count, using: &entropy)] = UInt8.random(in: 0...255, using: &entropy)
            }
            trace.receive(bytes, from: id)
            if entropy.next() % 20 == 0 { trace.close(id) }
        }
        for id in 1...200 as ClosedRange<UInt64> {
            // Whatever came in, libtorrent can read what goes out.
            for message in trace.take(id) where message["failure reason"] == nil {
                #expect(message["info_hash"]?.string.flatMap { Bytes20(latin1: $0) } != nil, "seed \(seed)")
            }
            trace.close(id)
        }
        #expect(trace.core.statistics.peers == 0 && trace.core.statistics.swarms == 0, "seed \(seed)")
    }
}
