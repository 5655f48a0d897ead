// SPDX-License-Identifier: Apache-2.0
import Foundation
import ICE
import SDP
import Synchronization
import Testing
import WebRTC
import Wire

/// Two endpoints on loopback, each with its own sockets and thread.
struct LoopbackPair {
    let offerer: RTCEndpoint
    let answerer: RTCEndpoint

    init() throws {
        let configuration = RTCEndpoint.Configuration(addresses: [.loopbackV4])
        offerer = try RTCEndpoint(configuration: configuration)
        answerer = try RTCEndpoint(configuration: configuration)
    }

    /// Connects a pair; the offerer has opened a channel. Answers both sides, and the channel at both of its ends.
    func connect(
        options: DataChannel.Options = .init()
    ) async throws -> (PeerConnection, PeerConnection, DataChannel, DataChannel) {
        let first = PeerConnection(endpoint: offerer)
        let second = PeerConnection(endpoint: answerer)
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        second.setHandler { event in
            if case .channel(let channel) = event { arrived.yield(channel) }
        }
        let channel = try first.createDataChannel("test", options: options)
        let offer = try await first.createOffer()
        let answer = try await second.accept(offer: offer)
        try first.accept(answer: answer)
        try await channel.opened()
        var iterator = incoming.makeAsyncIterator()
        let other = try #require(await iterator.next())
        return (first, second, channel, other)
    }

    func close() {
        offerer.close()
        answerer.close()
    }
}

@Suite("Peer connections over loopback", .serialized)
struct LoopbackTests {
    @Test("a message goes each way, and closing ends both sides")
    func echo() async throws {
        let pair = try LoopbackPair()
        let (first, second, channel, other) = try await pair.connect()
        #expect(other.label == "test")
        try await channel.send("hello")
        var there = other.messages.makeAsyncIterator()
        #expect(try await there.next() == .text("hello"))
        let bytes = (0..<262_144).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        try await other.send(bytes)
        var back = channel.messages.makeAsyncIterator()
        #expect(try await back.next() == .binary(bytes))
        try await channel.send([UInt8]())
        #expect(try await there.next() == .binary([]))
        try await channel.send("")
        #expect(try await there.next() == .text(""))
        first.close()
        #expect(try await there.next() == nil)
        second.close()
        pair.close()
    }

    /// Connections that are set up at once, between the same two endpoints, from offers with or without candidates.
    private func connectAtOnce(_ count: Int, withCandidates: Bool) async throws {
        let pair = try LoopbackPair()
        let pairs = (0..<count).map { _ in
            (PeerConnection(endpoint: pair.offerer), PeerConnection(endpoint: pair.answerer))
        }
        let channels = try pairs.map { try $0.0.createDataChannel("test") }
        var offers: [SessionDescription] = []
        for (first, _) in pairs {
            var offer = try await first.createOffer()
            if !withCandidates { offer.candidates = [] }
            offers.append(offer)
        }
        let answers = try await withThrowingTaskGroup(of: (Int, SessionDescription).self) { group in
            for (index, offer) in offers.enumerated() {
                let second = pairs[index].1
                group.addTask { (index, try await second.accept(offer: offer)) }
            }
            return try await group.reduce(into: [Int: SessionDescription]()) { $0[$1.0] = $1.1 }
        }
        let ports = answers.values.compactMap { $0.candidates.first.flatMap { ICECandidate(sdp: $0) }?.port }
        #expect(Set(ports).count == count, "each answer needs a socket of its own: \(ports)")
        for (index, answer) in answers { try pairs[index].0.accept(answer: answer) }
        for (index, channel) in channels.enumerated() {
            try await channel.opened()
            #expect(pairs[index].0.remoteCertificate != nil)
        }
        for (first, second) in pairs {
            first.close()
            second.close()
        }
        pair.close()
    }

    @Test("four connections between the same endpoints that are set up at once all come up")
    func atOnce() async throws {
        try await connectAtOnce(4, withCandidates: true)
    }

    @Test("so do four whose offers name no address: the certificate tells who made them")
    func atOnceTrickling() async throws {
        try await connectAtOnce(4, withCandidates: false)
    }

    @Test("bulk flows under backpressure")
    func bulk() async throws {
        let pair = try LoopbackPair()
        let (first, second, channel, other) = try await pair.connect(options: .init(isOrdered: false))
        let message = [UInt8](repeating: 7, count: 65_536)
        let count = 800
        let start = ContinuousClock.now
        async let sent: Void = {
            for _ in 0..<count { try await channel.send(message) }
        }()
        var received = 0
        for try await message in other.messages {
            received += message.byteCount
            if received == count * 65_536 { break }
        }
        try await sent
        let seconds = (ContinuousClock.now - start).seconds
        print("\(Double(received) / 1e6 / seconds) MB/s")
        #expect(received == count * 65_536)
        first.close()
        second.close()
        pair.close()
    }

    @Test("a peer that never reads holds its own connection up, with bounded memory, and no other")
    func neverReads() async throws {
        let pair = try LoopbackPair()
        let (first, second, channel, other) = try await pair.connect()
        let message = [UInt8](repeating: 7, count: 65_536)
        let sent = Counter()
        let sender = Task {
            while true {
                try await channel.send(message)
                sent.count.add(1, ordering: .relaxed)
            }
        }
        let (third, fourth, lively, there) = try await pair.connect()
        // Full are the reader's queue, both windows and our buffers when nothing more is taken for 300 round trips.
        var last = 0
        var still = 0
        for number in 0..<50_000 where still < 300 {
            try await lively.send("\(number)")
            var messages = there.messages.makeAsyncIterator()
            #expect(try await messages.next() == .text("\(number)"))
            let now = sent.count.load(ordering: .relaxed)
            still = now == last && now > 0 ? still + 1 : 0
            last = now
        }
        #expect(still == 300)
        #expect(last * message.count < 64 << 20)
        #expect(channel.bufferedAmount <= DataChannel.highWaterMark + message.count)
        #expect(other.readyState == .open)
        for connection in [first, second, third, fourth] { connection.close() }
        // The channel is closed under it.
        await #expect(throws: (any Error).self) { try await sender.value }
        pair.close()
    }

    /// What one task counts and another reads.
    private final class Counter: Sendable {
        let count = Atomic(0)
    }
}
