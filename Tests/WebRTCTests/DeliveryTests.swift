// SPDX-License-Identifier: Apache-2.0
import SCTPTestSupport
import Testing
import WebRTC
import Wire

/// What channels promise, whatever becomes of packets.
@Suite(
    "Promises of channels on bad paths", .serialized,
    .enabled(if: Timeline.isVirtual, "the test program was not linked with --export-dynamic-symbol=gettimeofday"))
struct DeliveryTests {
    /// Kinds of channels: what is told of a message is its channel, its number and bytes that follow from both.
    private static let kinds: [DataChannel.Options] = [
        .init(), .init(isOrdered: false), .init(priority: .high), .init(isOrdered: false, priority: .high),
        .init(isOrdered: true, reliability: .maxRetransmits(1)),
        .init(isOrdered: false, reliability: .maxRetransmits(0)),
        .init(isOrdered: false, reliability: .maxPacketLifeTime(200)),
    ]

    private static func message(_ kind: Int, _ number: Int, _ count: Int) -> [UInt8] {
        [UInt8(kind), UInt8(number)] + (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ number &+ kind) }
    }

    /// A connection whose offerer has a channel of each kind.
    private static func pair(
        seed: UInt64, recovers: Bool, loss: Double, keys: inout [PeerCore.ChannelKey]
    ) throws -> CorePair {
        var pair = try CorePair(seed: seed) { $0.recoversLosses = recovers }
        pair.loss = loss
        pair.duplication = Double.random(in: 0...0.1, using: &pair.entropy)
        pair.jitter = .milliseconds(Int64.random(in: 0...40, using: &pair.entropy))
        for kind in kinds { keys.append(try pair.offerer.openChannel(label: "x", options: kind)) }
        try pair.signal()
        return pair
    }

    /// Sends messages of each kind, some while the path works and some at once; answers them by kind.
    private static func send(_ pair: inout CorePair, _ keys: [PeerCore.ChannelKey]) throws -> [[[UInt8]]] {
        var sent = [[[UInt8]]](repeating: [], count: keys.count)
        for number in 0..<20 {
            for (kind, key) in keys.enumerated() {
                let size = number % 5 == 4 ? 9000 : Int.random(in: 0...1500, using: &pair.entropy)
                let message = message(kind, number, size)
                guard
                    (try? pair.offerer.send(on: key, isText: false, count: message.count) {
                        $0.copyBytes(from: message)
                    }) != nil
                else { continue }
                sent[kind].append(message)
            }
            if number % 4 == 0 { _ = pair.run(for: .milliseconds(30)) { _ in false } }
        }
        return sent
    }

    /// Checks what came against what was sent. Answers whether all that is reliable came.
    private static func judge(_ received: [[UInt8]], _ sent: [[[UInt8]]], _ comment: Comment) -> Bool {
        var isComplete = true
        for (kind, options) in kinds.enumerated() {
            let came = received.filter { Int($0[0]) == kind }
            let numbers = came.map { Int($0[1]) }
            #expect(Set(numbers).count == numbers.count, "twice: \(comment)")
            if options.isOrdered { #expect(numbers == numbers.sorted(), "out of order: \(comment)") }
            let known = Set(sent[kind])
            #expect(came.allSatisfy { known.contains($0) }, "changed: \(comment)")
            if options.reliability == .reliable { isComplete = isComplete && came.count == sent[kind].count }
        }
        return isComplete
    }

    @Test(
        "up to a fifth lost, reordered and doubled: each message once, in order where that is asked for",
        arguments: [0.02, 0.1, 0.2], [true, false])
    func promises(loss: Double, recovers: Bool) throws {
        for seed in UInt64(1)...2 {
            var keys: [PeerCore.ChannelKey] = []
            var pair = try Self.pair(seed: seed, recovers: recovers, loss: loss, keys: &keys)
            let comment: Comment = "seed \(seed), loss \(loss), recovers \(recovers)"
            let isConnected = pair.run(for: .seconds(60)) { $0.areConnected }
            try #require(isConnected, comment)
            let sent = try Self.send(&pair, keys)
            let reliable = zip(Self.kinds, sent).filter { $0.0.reliability == .reliable }.flatMap(\.1).count
            let isThere = pair.run(for: .seconds(300)) {
                $0.messages.1.count { Self.kinds[Int($0[0])].reliability == .reliable } >= reliable
            }
            #expect(isThere, comment)
            // What is to come late or twice has time to.
            _ = pair.run(for: .seconds(3)) { _ in false }
            let isComplete = Self.judge(pair.messages.1, sent, comment)
            #expect(isComplete, comment)
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }

    @Test(
        "above that: all arrives, or both ends are told that the connection failed, in time",
        arguments: [0.35, 0.6, 0.9], [true, false])
    func endsSomehow(loss: Double, recovers: Bool) throws {
        for seed in UInt64(1)...2 {
            var keys: [PeerCore.ChannelKey] = []
            var pair = try Self.pair(seed: seed, recovers: recovers, loss: 0, keys: &keys)
            let comment: Comment = "seed \(seed), loss \(loss), recovers \(recovers)"
            let isConnected = pair.run(for: .seconds(10)) { $0.areConnected }
            try #require(isConnected, comment)
            pair.loss = loss
            let sent = try Self.send(&pair, keys)
            let reliable = zip(Self.kinds, sent).filter { $0.0.reliability == .reliable }.flatMap(\.1).count
            let isOver = pair.run(for: .seconds(900)) { pair in
                func hasEnded(_ state: PeerCore.State?) -> Bool { state == .failed || state == .closed }
                return (hasEnded(pair.states.0) && hasEnded(pair.states.1))
                    || pair.messages.1.count { Self.kinds[Int($0[0])].reliability == .reliable } >= reliable
            }
            let states = (pair.states.0, pair.states.1)
            #expect(isOver, "\(comment): \(states)")
            _ = Self.judge(pair.messages.1, sent, comment)
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }

    @Test("with 30 % lost each way a connection comes up, and 64 KiB go there and back", arguments: [true, false])
    func heavyLoss(recovers: Bool) throws {
        for seed in UInt64(1)...5 {
            var pair = try CorePair(seed: seed) { $0.recoversLosses = recovers }
            pair.loss = 0.3
            let key = try pair.offerer.openChannel(label: "x", options: .init())
            try pair.signal()
            let start = pair.now
            let isConnected = pair.run(for: .seconds(100)) { $0.areConnected }
            try #require(isConnected, "seed \(seed), recovers \(recovers)")
            let connected = pair.now
            let message = (0..<65_536).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try pair.offerer.send(on: key, isText: false, count: message.count) { $0.copyBytes(from: message) }
            let hasCome = pair.run(for: .seconds(600)) { !$0.messages.1.isEmpty }
            try #require(hasCome && pair.messages.1[0] == message, "seed \(seed), recovers \(recovers)")
            let back = try #require(
                pair.events.1.compactMap { if case .incomingChannel(let key, _, _) = $0 { key } else { nil } }.first)
            try pair.answerer.send(on: back, isText: false, count: message.count) { $0.copyBytes(from: message) }
            let isBack = pair.run(for: .seconds(600)) { !$0.messages.0.isEmpty }
            #expect(isBack && pair.messages.0 == [message], "seed \(seed), recovers \(recovers)")
            print(
                "30 % lost each way, seed \(seed), recovery \(recovers): connected after \(connected - start), exchanged \(pair.now - connected)")
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }

    @Test("closing a channel loses nothing that was sent on it before", arguments: [0.0, 0.1, 0.2], [true, false])
    func closing(loss: Double, recovers: Bool) throws {
        for seed in UInt64(1)...2 {
            var keys: [PeerCore.ChannelKey] = []
            var pair = try Self.pair(seed: seed, recovers: recovers, loss: loss, keys: &keys)
            let comment: Comment = "seed \(seed), loss \(loss), recovers \(recovers)"
            let isConnected = pair.run(for: .seconds(60)) { $0.areConnected }
            try #require(isConnected, comment)
            let sent = try Self.send(&pair, keys)
            for key in keys { pair.offerer.closeChannel(key) }
            func closed(_ events: [PeerCore.Event]) -> Int {
                events.count { if case .channelClosed = $0 { true } else { false } }
            }
            let isClosed = pair.run(for: .seconds(300)) {
                closed($0.events.0) == keys.count && closed($0.events.1) == keys.count
            }
            let counts = (closed(pair.events.0), closed(pair.events.1))
            #expect(isClosed, "\(comment): \(counts)")
            let isComplete = Self.judge(pair.messages.1, sent, comment)
            #expect(isComplete, comment)
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }

    @Test(
        "a message size that the peer claims is believed up to what can be sent at once",
        arguments: [UInt64(0), 1 << 32, .max, 1])
    func claimedSize(size: UInt64) throws {
        for recovers in [true, false] {
            var pair = try CorePair(seed: size &+ 3) { $0.recoversLosses = recovers }
            let key = try pair.offerer.openChannel(label: "x", options: .init())
            try pair.signal { $0.maxMessageSize = size }
            let isConnected = pair.run(for: .seconds(10)) { $0.areConnected }
            try #require(isConnected)
            let limit = size == 1 ? 1 : 262_144
            try pair.offerer.send(on: key, isText: false, count: limit) {
                $0.initializeMemory(as: UInt8.self, repeating: 1)
            }
            var code: PeerConnectionError.Code?
            do {
                try pair.offerer.send(on: key, isText: false, count: size == 1 ? 2 : 1 << 30) { _ in
                    Issue.record("room was made for a gigabyte")
                }
            } catch {
                code = error.code
            }
            #expect(code == .messageTooLarge)
            let isThere = pair.run(for: .seconds(10)) { !$0.messages.1.isEmpty }
            let came = pair.messages.1.first?.count
            #expect(isThere && came == limit)
            pair.offerer.close(now: pair.now)
            pair.answerer.close(now: pair.now)
            _ = pair.run(for: .milliseconds(50)) { _ in false }
        }
    }
}
