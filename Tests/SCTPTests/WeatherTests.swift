// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import Testing
import Wire

extension SCTPSuite {
    @Suite(.serialized, .enabled(if: Timeline.isVirtual, "the tests' clock does not reach usrsctp"))
    struct WeatherTests {
        @Test(
            "everything reliable arrives, once and in order, whatever the network does",
            arguments: [
                Weather(loss: 0.1), Weather(duplication: 0.3, reorder: 0.3), Weather(corruption: 0.05),
                Weather(loss: 0.05, duplication: 0.1, reorder: 0.2, delay: 2, corruption: 0.02),
            ], [1, 2, 3] as [UInt64])
        func arrives(weather: Weather, seed: UInt64) throws {
            let pair = try ChannelPair(seed: seed, weather: weather) {
                // Shorter time-outs make the test shorter, in virtual time too.
                $0.association.minRTO = 100
                $0.association.initialRTO = 200
                $0.association.maxRTO = 500
                // Nothing below would notice what is damaged here.
                $0.association.acceptsZeroChecksum = weather.corruption == 0
            }
            let ordered = try pair.a.open(label: "ordered")
            let unordered = try pair.b.open(label: "unordered", ordered: false)
            let sizes = (0..<40).map { $0 % 8 == 7 ? 40_000 : $0 * 50 }
            for (index, size) in sizes.enumerated() {
                try pair.a.send(ordered, pattern(size, index).span.bytes)
                try pair.b.send(unordered, pattern(size, index).span.bytes)
            }
            let isDone = pair.run(ticks: 20_000) {
                $0.messages[0].count >= sizes.count && $0.messages[1].count >= sizes.count
            }
            #expect(isDone, "seed \(seed), \(weather)")
            _ = pair.run(ticks: 100)
            let expected = sizes.enumerated().map { pattern($1, $0) }
            #expect(pair.messages[1].map(\.bytes) == expected, "seed \(seed)")
            func key(_ bytes: [UInt8]) -> Int { bytes.count * 1000 + Int(bytes.first ?? 0) }
            #expect(
                pair.messages[0].map(\.bytes).sorted { key($0) < key($1) } == expected.sorted { key($0) < key($1) },
                "seed \(seed)")
            let wrong = pair.a.associationCounters.checksumErrors + pair.b.associationCounters.checksumErrors
            #expect((wrong > 0) == (weather.corruption > 0))
        }

        @Test("a message that is tried once is lost or whole, and later ones follow")
        func maxRetransmitsZero() throws {
            let pair = try ChannelPair(seed: 7) {
                $0.association.minRTO = 20
                $0.association.maxRTO = 100
            }
            let id = try pair.a.open(label: "x", ordered: true, reliability: .maxRetransmits(0))
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            pair.weather.loss = 0.2
            for index in 0..<100 {
                try pair.a.send(id, pattern(3000, index).span.bytes)
                _ = pair.run(ticks: 5)
            }
            pair.weather.loss = 0
            _ = pair.run(ticks: 500)
            try pair.a.send(id, pattern(10, 200).span.bytes)
            #expect(pair.run(ticks: 500) { $0.messages[1].last?.bytes == pattern(10, 200) })
            let received = pair.messages[1].dropLast().map(\.bytes)
            #expect(received.count > 10 && received.count < 90)
            var index = 0
            for bytes in received {
                while index < 100, pattern(3000, index) != bytes { index += 1 }
                #expect(index < 100, "in order and unharmed")
            }
            #expect(pair.a.bufferedAmount(id) == 0)
        }

        @Test("a message whose time is over is dropped and no longer counted as buffered")
        func lifetime() throws {
            let pair = try ChannelPair(seed: 8)
            let id = try pair.a.open(label: "x", ordered: false, reliability: .maxPacketLifeTime(50))
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            pair.weather.isDown = true
            for index in 0..<60 { try pair.a.send(id, pattern(30_000, index).span.bytes) }
            #expect(pair.a.bufferedAmount(id) > 0)
            _ = pair.run(ticks: 300)
            pair.weather.isDown = false
            _ = pair.run(ticks: 3000) { $0.a.bufferedAmount(id) == 0 }
            #expect(pair.a.bufferedAmount(id) == 0)
            try pair.a.send(id, pattern(10, 1).span.bytes)
            #expect(pair.run(ticks: 3000) { $0.messages[1].last?.bytes == pattern(10, 1) })
        }

        @Test("a peer that falls silent is given up, and nothing is sent afterwards")
        func lost() throws {
            let pair = try ChannelPair {
                $0.association.maxRetransmissions = 3
                $0.association.minRTO = 100
                $0.association.maxRTO = 400
            }
            let id = try pair.a.open(label: "x")
            _ = pair.run { $0.has(.opened(id), at: .a) }
            pair.weather.isDown = true
            try pair.a.send(id, text: "anyone?")
            #expect(pair.run(ticks: 5000) { $0.has(.associationDown(.lost), at: .a) })
            #expect(pair.events[0].suffix(2) == [.closed(id), .associationDown(.lost)])
            #expect(throws: SCTPError.channelNotOpen) { try pair.a.send(id, text: "?") }
            #expect(throws: SCTPError.notConnected) { _ = try pair.a.open(label: "y") }
            let seen = pair.packetsSeen
            _ = pair.run(ticks: 500) { _ in false }
            #expect(pair.packetsSeen == seen || !pair.has(.associationDown(.lost), at: .b))
        }

        @Test("a handshake that nobody answers fails")
        func neverUp() throws {
            let pair = try ChannelPair(weather: Weather(isDown: true)) {
                $0.association.maxInitRetransmissions = 2
                $0.association.minRTO = 100
                $0.association.maxRTO = 200
            }
            #expect(pair.run(ticks: 2000) { $0.has(.associationDown(.neverUp), at: .a) })
        }
    }
}
