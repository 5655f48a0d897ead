// SPDX-License-Identifier: Apache-2.0
import SCTPTestSupport
import Testing
import Wire

@testable import SCTP

/// RFC 9653.
@Suite struct ZeroChecksumTests {
    /// An INIT (type 1) or INIT ACK (type 2) with these parameters.
    private static func initiation(_ type: UInt8, _ parameters: [UInt8]) -> [UInt8] {
        let length = 20 + parameters.count
        return [0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, type, 0, UInt8(length >> 8), UInt8(length & 255)]
            + [UInt8](repeating: 1, count: 16) + parameters + [UInt8](repeating: 0, count: -length & 3)
    }

    private static let announcement: [UInt8] = [0x80, 0x01, 0, 8, 0, 0, 0, 1]

    private func accepts(_ packets: [[UInt8]]) -> Bool {
        var state = ZeroChecksum()
        for packet in packets { packet.withUnsafeBytes { state.note($0) } }
        return state.peerAccepts
    }

    @Test("a peer takes zero where its INIT or INIT ACK says so, and where both came, both say so")
    func announcements() {
        let yes = Self.announcement
        let forwardTSN: [UInt8] = [0xC0, 0x00, 0, 4]
        let odd: [UInt8] = [0x80, 0x08, 0, 5, 0x82, 0, 0, 0]
        #expect(!accepts([]))
        for type in [1, 2] as [UInt8] {
            #expect(accepts([Self.initiation(type, yes)]))
            #expect(accepts([Self.initiation(type, forwardTSN + odd + yes + forwardTSN)]))
            #expect(!accepts([Self.initiation(type, forwardTSN)]))
            // Another method, another length, and one that ends too early.
            #expect(!accepts([Self.initiation(type, [0x80, 0x01, 0, 8, 0, 0, 0, 2])]))
            #expect(!accepts([Self.initiation(type, [0x80, 0x01, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1])]))
            #expect(!accepts([Self.initiation(type, Array(yes.dropLast()))]))
            #expect(!accepts([Self.initiation(type, [0, 5, 0, 0] + yes)]))
        }
        #expect(accepts([Self.initiation(1, yes), Self.initiation(2, yes)]))
        #expect(!accepts([Self.initiation(1, yes), Self.initiation(2, [])]))
        #expect(!accepts([Self.initiation(1, []), Self.initiation(2, yes)]))
    }

    @Test("any bytes can be looked at", arguments: 1...50 as ClosedRange<UInt64>)
    func anything(seed: UInt64) {
        var random = Entropy(seed: seed)
        for _ in 0..<200 {
            let parameters = random.bytes(Int.random(in: 0...40, using: &random))
            var packet = Self.initiation(UInt8.random(in: 1...2, using: &random), parameters)
            packet[15] = UInt8.random(in: 0...255, using: &random)
            _ = accepts([packet, Array(packet.prefix(Int.random(in: 0...packet.count, using: &random)))])
        }
    }

    @Test("the parameter follows the padding of what was the last one", arguments: 0...3)
    func announcing(extra: Int) {
        let parameter: [UInt8] = [0x80, 0x08, 0, UInt8(4 + extra)] + [UInt8](repeating: 0x82, count: extra)
        var chunk = Array(Self.initiation(1, parameter)[12...])
        let count = 20 + parameter.count
        chunk += [UInt8](repeating: 0xEE, count: 8)
        let length = chunk.withUnsafeMutableBytes { ZeroChecksum.announce(in: $0, count: count) }
        #expect(length == ((count + 3) & ~3) + 8)
        #expect(chunk[2...3] == [0, UInt8(length)])
        #expect(chunk[..<length].suffix(8) == Self.announcement[...])
        #expect(accepts([[UInt8](repeating: 0, count: 12) + chunk[..<length]]))
    }
}

extension SCTPSuite {
    @Suite(.serialized, .enabled(if: Timeline.isVirtual, "the tests' clock does not reach usrsctp"))
    struct ZeroChecksumExchangeTests {
        @Test(
            "packets go without a checksum exactly where their receiver takes that, and establishing ones never",
            arguments: [(true, true), (true, false), (false, true), (false, false)])
        func exchange(aAccepts: Bool, bAccepts: Bool) throws {
            let pair = try ChannelPair(connect: false)
            for (side, accepts) in [(ChannelPair.Side.a, aAccepts), (.b, bAccepts)] {
                var configuration = DataChannelMultiplexer.Configuration(role: side == .a ? .client : .server)
                configuration.remoteMaxMessageSize = 256 * 1024
                configuration.association.acceptsZeroChecksum = accepts
                let multiplexer = try DataChannelMultiplexer(configuration: configuration)
                if side == .a { pair.a = multiplexer } else { pair.b = multiplexer }
            }
            var bare = [0, 0]
            pair.filter = { side, packet in
                let isBare = packet[8..<12] == [0, 0, 0, 0]
                let isRight = packet.withUnsafeBytes { SCTPChecksum.isCorrect($0) }
                #expect(isBare || isRight)
                if isBare {
                    bare[side.rawValue] += 1
                    #expect(![1, 2, 10].contains(packet[12]))
                }
                return true
            }
            try pair.a.connect()
            try pair.b.connect()
            let id = try pair.a.open(label: "x")
            try pair.a.send(id, pattern(100_000, 1).span.bytes)
            #expect(pair.run { $0.messages[1].count == 1 })
            try pair.b.send(id, pattern(100_000, 2).span.bytes)
            #expect(pair.run { $0.messages[0].count == 1 })
            #expect((bare[0] > 80) == bAccepts && (bare[1] > 80) == aAccepts)
            #expect(bAccepts || bare[0] == 0)
            #expect(aAccepts || bare[1] == 0)
            #expect(pair.a.associationCounters.withoutChecksum == UInt64(bare[1]))
            #expect(pair.b.associationCounters.withoutChecksum == UInt64(bare[0]))
        }

        @Test("who has not said that it takes zero, drops it")
        func unannounced() throws {
            let pair = try ChannelPair { $0.association.acceptsZeroChecksum = false }
            var sample: [UInt8] = []
            pair.filter = { side, packet in
                if side == .a, packet[12] == 0 || packet[12] == 3 { sample = packet }
                return true
            }
            let id = try pair.a.open(label: "x")
            try pair.a.send(id, text: "once")
            #expect(pair.run { $0.messages[1].count == 1 })
            try #require(sample.count >= 16)
            sample.replaceSubrange(8..<12, with: [0, 0, 0, 0])
            pair.inject(sample, to: .b)
            #expect(pair.b.associationCounters.checksumErrors == 1)
        }
    }
}
