// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import SDP
import Testing
import WebRTC
import Wire

/// usrsctp exists once in a process and has one clock, so that these run one after the other.
@Suite("Peer cores on virtual time", .serialized)
struct PeerCoreTests {
    /// Above a fifth, consent (RFC 7675) ends most connections before large messages are through, as it should: of six
    /// requests in 30 s none is answered in one of fifteen times where two of five packets are lost. That is told then.
    @Test(
        "a connection comes up and carries messages, whatever part of the packets is lost",
        .enabled(if: Timeline.isVirtual, "the test program was not linked with --export-dynamic-symbol=gettimeofday"),
        arguments: [
            (0.0, [0, 1, 1000, 70_000, 262_144]), (0.05, [0, 1, 1000, 70_000, 262_144]), (0.2, [1000, 20_000]),
            (0.4, [1000]),
        ])
    func lossy(loss: Double, sizes: [Int]) throws {
        for seed in UInt64(1)...3 {
            var pair = try CorePair(seed: seed)
            pair.loss = loss
            let key = try pair.offerer.openChannel(label: "a", options: .init())
            try pair.signal()
            func lacksConsent(_ pair: borrowing CorePair) -> Bool {
                loss > 0.2
                    && [pair.events.0, pair.events.1].contains { CorePair.failure($0)?.code == .iceFailed }
            }
            let isConnected = pair.run(for: .seconds(60)) { $0.areConnected || lacksConsent($0) }
            try #require(isConnected, "seed \(seed)")
            if lacksConsent(pair) { continue }
            for size in sizes {
                try pair.offerer.send(on: key, isText: false, count: size) { room in
                    for index in 0..<size { room[index] = UInt8(truncatingIfNeeded: index &* 7 &+ size) }
                }
            }
            let isThere = pair.run(for: .seconds(600)) { $0.messages.1.count == sizes.count || lacksConsent($0) }
            if lacksConsent(pair) { continue }
            let (failures, time) = ((CorePair.failure(pair.events.0), CorePair.failure(pair.events.1)), pair.now)
            #expect(isThere, "seed \(seed): \(failures) at \(time)")
            let received = pair.messages.1
            #expect(received.map(\.count) == sizes, "seed \(seed)")
            #expect(
                received.allSatisfy { m in
                    m.indices.allSatisfy { m[$0] == UInt8(truncatingIfNeeded: $0 &* 7 &+ m.count) }
                })
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }

    @Test(
        "only a peer like us is told that checksums may be left out: others choke on the parameter",
        .enabled(if: Timeline.isVirtual, "the test program was not linked with --export-dynamic-symbol=gettimeofday"),
        arguments: [true, false])
    func zeroChecksum(isLikeUs: Bool) throws {
        var pair = try CorePair(seed: 7)
        _ = try pair.offerer.openChannel(label: "a", options: .init(reliability: .maxRetransmits(3)))
        try pair.signal { if !isLikeUs { $0.linkVersion = nil } }
        let isOpen = pair.run(for: .seconds(5)) { pair in
            pair.events.0.contains { if case .channelOpened = $0 { true } else { false } }
        }
        #expect(isOpen)
        let counters = try #require(pair.offerer.statistics.association)
        #expect((counters.withoutChecksum > 0) == isLikeUs)
        #expect(counters.checksumErrors == 0)
    }

    @Test(
        "without loss a channel is open four and a half round trips after the answer: nothing waits for a timer",
        .enabled(if: Timeline.isVirtual, "the test program was not linked with --export-dynamic-symbol=gettimeofday"),
        arguments: [false, true])
    func roundTrips(isOverLink: Bool) throws {
        var pair = try CorePair(seed: 4)
        pair.latency = .milliseconds(50)
        // What may be dropped stays with the plain association.
        _ = try pair.offerer.openChannel(
            label: "a", options: isOverLink ? .init() : .init(reliability: .maxRetransmits(3)))
        try pair.signal()
        let start = pair.now
        let isOpen = pair.run(for: .seconds(5)) { pair in
            pair.events.0.contains { if case .channelOpened = $0 { true } else { false } }
        }
        #expect(isOpen)
        // A check and its answer, two flights of DTLS each way, INIT and COOKIE with DCEP: one, two and one and a half
        // round trips, as the offerer ends DTLS half a trip before the answerer.
        let taken = pair.now - start
        #expect(taken == .milliseconds(450), "\(taken)")
    }

    @Test("a certificate that the description does not name ends the connection, and nothing is delivered")
    func wrongFingerprint() throws {
        var pair = try CorePair(seed: 5)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal { answer in
            answer.fingerprints = [.init(algorithm: "sha-256", bytes: [UInt8](repeating: 7, count: 32))]
        }
        let hasFailed = pair.run(for: .seconds(10)) { $0.states.0 == .failed }
        #expect(hasFailed)
        #expect(CorePair.failure(pair.events.0)?.code == .dtlsFailed)
        let failed = pair.events.0.firstIndex { if case .stateChanged(.failed, _) = $0 { true } else { false } }
        let closed = pair.events.0.firstIndex { if case .channelClosed = $0 { true } else { false } }
        #expect(try #require(failed) < #require(closed), "the reason comes before the channels' end")
        let received = pair.messages.0.count + pair.messages.1.count
        #expect(received == 0)
        let other = pair.states.1
        #expect(other != .connected)
    }

    @Test("closing tells the peer")
    func closing() throws {
        var pair = try CorePair(seed: 6)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        pair.offerer.close(now: pair.now)
        let isClosed = pair.run(for: .seconds(2)) { $0.states.1 == .closed }
        #expect(isClosed)
    }

    @Test("a peer that falls silent is given up after 30 s, and reported before")
    func silence() throws {
        var pair = try CorePair(seed: 7)
        _ = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        pair.loss = 1
        let start = pair.now
        let isDisconnected = pair.run(for: .seconds(60)) { $0.states.0 == .disconnected }
        #expect(isDisconnected)
        let hasFailed = pair.run(for: .seconds(60)) { $0.states.0 == .failed }
        #expect(hasFailed)
        let taken = pair.now - start
        #expect(taken >= .seconds(24) && taken <= .seconds(41), "\(taken)")
        #expect(CorePair.failure(pair.events.0)?.code == .iceFailed)
    }

    @Test("foreign packets on a connection's path change nothing")
    func garbage() throws {
        var pair = try CorePair(seed: 8)
        let key = try pair.offerer.openChannel(label: "a", options: .init())
        try pair.signal()
        let isConnected = pair.run(for: .seconds(5)) { $0.areConnected }
        try #require(isConnected)
        var entropy = Entropy(seed: 9)
        for _ in 0..<2000 {
            var bytes = entropy.bytes(Int.random(in: 0..<1300, using: &entropy))
            if !bytes.isEmpty, Bool.random(using: &entropy) {
                bytes[0] = [0, 1, 20, 21, 22, 23, 63, 64, 128].randomElement(using: &entropy) ?? 0
            }
            let forward = Bool.random(using: &entropy)
            let (a, b) = forward ? CorePair.addresses : (CorePair.addresses.1, CorePair.addresses.0)
            pair.packets.append(
                .init(due: pair.now, order: 0, datagram: Datagram(source: a, destination: b, payload: bytes)))
        }
        try pair.offerer.send(on: key, isText: true, count: 2) { $0.copyBytes(from: "ok".utf8) }
        let isThere = pair.run(for: .seconds(5)) { $0.messages.1.count == 1 }
        #expect(isThere)
        let states = pair.states
        #expect(states == (.connected, .connected))
    }

    @Test("an answer that refuses data channels, or fits no offer, is refused with a reason")
    func badAnswers() throws {
        func error(_ change: (inout SessionDescription) -> Void) throws -> PeerConnectionError? {
            var pair = try CorePair(seed: 10)
            do {
                try pair.signal(change: change)
                return nil
            } catch let error as PeerConnectionError {
                return error
            }
        }
        #expect(try error { $0.isRejected = true }?.code == .invalidDescription)
        #expect(try error { $0.sctpPort = 0 }?.code == .invalidDescription)
        #expect(try error { $0.icePwd = "short" }?.code == .invalidDescription)
        #expect(try error { $0.type = .offer }?.code == .invalidDescription)
        #expect(try error { _ in } == nil)
    }
}

@Suite("ICE servers")
struct ICEServerTests {
    @Test(
        "addresses of servers are read",
        arguments: [
            ("stun:stun.example.org", "stun:stun.example.org:3478"), ("stun:192.0.2.1:19302", "stun:192.0.2.1:19302"),
            ("stun:[2001:db8::1]:1", "stun:[2001:db8::1]:1"), ("turn:u:p@h:80", "turn:u@h:80?transport=udp"),
            ("turn:u:p@x:y@h?transport=tcp", "turn:u@h:3478?transport=tcp"),
            ("turns:u:p@h", "turn:u@h:5349?transport=tls"),
        ])
    func read(text: String, description: String) {
        #expect(ICEServer(text)?.description == description)
    }

    @Test(
        "others are refused",
        arguments: [
            "", "stun:", "http://x", "stun://h", "turn://u:p@h", "stun:u:p@h", "stun:h:0", "stun:h:x", "turn:h",
            "turn:u@h", "stun:h?transport=tcp", "stun:h?x",
        ])
    func refused(text: String) {
        #expect(ICEServer(text) == nil)
    }
}
