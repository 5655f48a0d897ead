// SPDX-License-Identifier: Apache-2.0

import Signaling
import Testing
import Wire

@Suite("Tracker session: the socket")
struct TrackerSessionSocketTests {
    /// How long it takes until the session opens the next socket.
    private func pause(_ trace: SessionTrace) -> Double {
        let began = trace.now
        _ = trace.take()
        while !trace.take().contains(.open) {
            guard let next = trace.deadline else { return .infinity }
            trace.pass(next - trace.now)
        }
        return (trace.now - began).seconds
    }

    @Test("a tracker that is not there is tried again, less and less often", arguments: 1...10)
    func backoff(seed: UInt64) {
        let trace = SessionTrace(seed: seed)
        trace.start(TrackerStatus(left: 1))
        let peerID = trace.session.peerID
        for most in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            trace.closed(.unreachable("refused"))
            #expect(trace.takeEvents() == [.disconnected(.unreachable("refused"))])
            let seconds = pause(trace)
            #expect(seconds <= Double(most) && seconds >= (most == 1 ? 0.25 : Double(most) / 2))
        }
        #expect(trace.session.peerID == peerID, "a name that was never used stays")
    }

    @Test("a lost socket is replaced at once, under a new name")
    func reconnect() throws {
        let trace = SessionTrace.announced(offers: someOffers(2))
        let peerID = trace.session.peerID
        trace.pass(.seconds(1))
        trace.closed(.broken("reset"))
        #expect(trace.takeEvents() == [.offersExpired([1, 2]), .disconnected(.broken("reset"))])
        #expect((0.25...1).contains(pause(trace)))
        trace.opened()
        trace.provide([])
        #expect(trace.session.peerID != peerID)
        let message = try #require(try trace.takeSent().first)
        #expect(message["event"] == "started")
        #expect(message["peer_id"]?.string == trace.session.peerID.latin1)
    }

    @Test("a socket from an address that is gone is replaced at once, one from another stays")
    func addressGone() throws {
        let trace = SessionTrace.announced(offers: someOffers(2))
        trace.networkChanged(isAddressGone: false)
        #expect(trace.take().isEmpty)
        trace.networkChanged(isAddressGone: true)
        #expect(
            trace.take() == [.close, .event(.offersExpired([1, 2])), .event(.disconnected(.addressGone))])
        #expect(pause(trace) <= 1)
    }

    @Test("a network that changes ends a long wait, but makes no more haste each time", arguments: 1...10)
    func networkBack(seed: UInt64) throws {
        let trace = SessionTrace(seed: seed)
        trace.start(TrackerStatus(left: 1))
        for _ in 0..<8 {
            trace.closed(.unreachable("no route"))
            _ = pause(trace)
        }
        trace.closed(.unreachable("no route"))
        #expect(try #require(trace.deadline) - trace.now > .seconds(15))
        trace.networkChanged(isAddressGone: false)
        let soon = try #require(trace.deadline)
        #expect(soon - trace.now <= .seconds(1))
        for _ in 0..<5 {
            trace.networkChanged(isAddressGone: false)
            #expect(try #require(trace.deadline) <= soon)
        }
    }

    @Test("a socket that was being opened is opened anew when the network changes")
    func changeWhileOpening() {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1))
        _ = trace.take()
        trace.networkChanged(isAddressGone: false)
        #expect(trace.take() == [.close, .event(.disconnected(.addressGone))])
        #expect(pause(trace) <= 1)
    }

    @Test("sockets that live shorter than an interval are replaced ever more slowly; one that lives makes up for it")
    func stability() {
        let trace = SessionTrace.announced(interval: 60)
        var pauses: [Double] = []
        for _ in 0..<4 {
            trace.closed()
            pauses.append(pause(trace))
            trace.opened()
            trace.provide([])
            trace.receive(["interval": 60])
        }
        #expect(pauses[0] <= 1 && pauses[1] >= 1 && pauses[2] >= 2 && pauses[3] >= 4)
        trace.pass(.seconds(61))
        trace.closed()
        #expect(pause(trace) <= 1)
    }

    @Test("a close right after an answer costs no patience, a few times")
    func closeAfterAnswer() {
        let trace = SessionTrace.announced()
        let peer = Bytes20(repeated: 3)
        var pauses: [Double] = []
        for _ in 0..<8 {
            trace.receive(forwarded("offer", from: peer, offerID: peer))
            #expect(trace.answer(peer, peer, "answer"))
            trace.closed()
            pauses.append(pause(trace))
            trace.opened()
            trace.provide([])
        }
        #expect(pauses[..<5].allSatisfy { $0 <= 1 })
        #expect(pauses[6] >= 1 && pauses[7] >= 2)
    }

    @Test("a socket that does not open is given up after 20 seconds")
    func opening() {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1))
        _ = trace.take()
        trace.pass(.milliseconds(19_999))
        #expect(trace.take().isEmpty)
        trace.pass(.milliseconds(1))
        #expect(trace.take() == [.close, .event(.disconnected(.timedOut))])
        trace.opened()
        #expect(trace.take().isEmpty, "what that socket does now is of no interest")
    }

    @Test("a tracker that never answers an announce is left after 30 seconds")
    func silentTracker() {
        let trace = SessionTrace()
        trace.start(TrackerStatus(left: 1))
        trace.opened()
        trace.provide([])
        trace.pass(.seconds(29.9))
        trace.receive(forwarded("offer", from: Bytes20(repeated: 3), offerID: Bytes20(repeated: 4)))
        _ = trace.take()
        trace.pass(.seconds(0.2))
        #expect(trace.take().starts(with: [.close, .event(.disconnected(.timedOut))]))
    }

    @Test("a silent socket is pinged after 30 seconds and left when no pong comes")
    func ping() {
        let trace = SessionTrace.announced(interval: 3600)
        trace.pass(.seconds(30), answersPings: false)
        #expect(trace.take() == [.ping])
        trace.pong()
        trace.pass(.seconds(30), answersPings: false)
        #expect(trace.take() == [.ping])
        trace.pass(.seconds(29.9), answersPings: false)
        #expect(trace.take().isEmpty)
        trace.pass(.seconds(0.2), answersPings: false)
        #expect(trace.take() == [.close, .event(.disconnected(.timedOut))])
    }

    /// Messages that mean nothing.
    private static let rubbish: [String] = [
        "", "null", "[]", "3", "{", "{}", "\"x\"", "{\"action\":\"announce\"}",
        "{\"info_hash\":\"short\",\"interval\":9}",
        "{\"interval\":null}", "{\"offer\":{}}", "{\"offer\":\"x\",\"peer_id\":\"y\"}", "{\"answer\":[1]}",
        "{\"info_hash\":7}",
        "{\"offer\":{\"sdp\":\"v=0\"}}", String(repeating: "[", count: 100_000), "{\"a\":\"\u{0}\"}",
    ]

    @Test("rubbish is dropped and counted, and a tracker that sends nothing else is left")
    func rubbish() {
        let trace = SessionTrace.announced()
        for text in Self.rubbish { trace.receive(Array(text.utf8)) }
        #expect(trace.take().isEmpty && trace.session.dropped.rubbish == Self.rubbish.count)
        trace.receive(["complete": 1])
        for _ in 0..<20 { trace.receive([0xFF, 0xFE]) }
        #expect(trace.takeEvents().count == 1)
        trace.receive([0xFF])
        #expect(trace.take().first == .close)
    }

    @Test("messages with anything in them do no harm", arguments: 1...10)
    func anything(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let trace = SessionTrace.announced(seed: seed)
        let keys = [
            "action", "info_hash", "peer_id", "offer_id", "offer", "answer", "interval", "complete", "incomplete",
            "files",
            "failure reason", "warning message", "min interval", "tracker id", "sdp", swarmHash.latin1,
        ]
        func value(_ depth: Int) -> JSON {
            switch Int.random(in: 0..<(depth > 3 ? 7 : 9), using: &entropy) {
            case 0: .null
            case 1: .bool(true)
            case 2: .integer(Int64(bitPattern: entropy.next()))
            case 3: .number(Double(bitPattern: entropy.next()))
            case 4: .string(swarmHash.latin1)
            case 5: .string(Bytes20.random(from: &entropy).latin1)
            case 6: .string(String(repeating: "é", count: Int.random(in: 0..<30, using: &entropy)))
            case 7: .array((0..<Int.random(in: 0..<4, using: &entropy)).map { _ in value(depth + 1) })
            default: object(depth + 1)
            }
        }
        func object(_ depth: Int) -> JSON {
            var object = JSON.Object()
            for _ in 0..<Int.random(in: 0..<8, using: &entropy) {
                object[keys.randomElement(using: &entropy) ?? ""] = value(depth)
            }
            return .object(object)
        }
        for _ in 0..<100 {
            trace.receive(object(0))
            var bytes = Array(object(0).serialized().utf8)
            bytes[Int.random(in: 0..<bytes.count, using: &entropy)] = UInt8.random(in: 0...255, using: &entropy)
            trace.receive(bytes)
            if entropy.next() % 10 == 0 { trace.pass(.seconds(Int64.random(in: 0...40, using: &entropy))) }
            if trace.history.last == .open { trace.opened() }
            trace.provide(someOffers(2))
        }
        #expect(trace.deadline != nil, "seed \(seed): the session goes on")
    }

    @Test("the same seed and input give the same output")
    func repeatable() {
        func run() -> [TrackerSession.Output] {
            let trace = SessionTrace.announced(offers: someOffers(5), seed: 99)
            trace.pass(.seconds(200))
            trace.provide(someOffers(2, first: 10))
            trace.closed()
            trace.pass(.seconds(100))
            trace.opened()
            trace.provide(someOffers(3, first: 20))
            trace.stop()
            return trace.history
        }
        let first = run()
        #expect(first == run() && first.count > 10)
    }
}
