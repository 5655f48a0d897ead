// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import Testing
import Wire

extension SCTPSuite {
    @Suite(.serialized)
    struct BufferingTests {
        @Test("the buffered amount counts what is in no packet yet, and falls to nothing")
        func amount() throws {
            let pair = try ChannelPair(weather: Weather(delay: 1))
            let id = try pair.a.open(label: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            #expect(pair.a.bufferedAmount(id) == 0)
            for index in 0..<64 { try pair.a.send(id, pattern(65_536, index % 4).span.bytes) }
            let first = pair.a.bufferedAmount(id)
            #expect(first <= 64 * 65_536 && first > 64 * 65_536 - 20_000)
            var last = first
            while pair.a.bufferedAmount(id) > 0, pair.ticks < 3000 {
                pair.tick()
                #expect(pair.a.bufferedAmount(id) <= last)
                last = pair.a.bufferedAmount(id)
            }
            #expect(last == 0)
            #expect(pair.run(ticks: 100) { $0.messages[1].count == 64 })
            #expect(pair.messages[1].map(\.bytes) == (0..<64).map { pattern(65_536, $0 % 4) })
        }

        @Test("the low threshold is reported once for each fall")
        func threshold() throws {
            let pair = try ChannelPair(weather: Weather(delay: 1))
            let id = try pair.a.open(label: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            pair.a.setLowThreshold(id, 500_000)
            let bytes = pattern(65_536)
            for round in 1...2 {
                for _ in 0..<32 { try pair.a.send(id, bytes.span.bytes) }
                #expect(pair.run(ticks: 3000) { $0.a.bufferedAmount(id) == 0 })
                _ = pair.run(ticks: 5)
                #expect(pair.events[0].filter { $0 == .bufferedAmountLow(id) }.count == round)
            }
            // Never above it, never reported.
            try pair.a.send(id, pattern(1000).span.bytes)
            _ = pair.run(ticks: 50)
            #expect(pair.events[0].filter { $0 == .bufferedAmountLow(id) }.count == 2)
        }

        @Test("a small message does not wait for the bulk of another channel")
        func fairness() throws {
            let pair = try ChannelPair(weather: Weather(delay: 2))
            let bulk = try pair.a.open(label: "bulk")
            let control = try pair.a.open(label: "control")
            #expect(pair.run { $0.has(.opened(control), at: .a) })
            for index in 0..<100 { try pair.a.send(bulk, pattern(65_536, index % 4).span.bytes) }
            _ = pair.run(ticks: 40)
            let before = pair.messages[1].count
            try pair.a.send(control, text: "now")
            let start = pair.ticks
            #expect(pair.run(ticks: 200) { $0.messages[1].contains { $0.id == control } })
            // What is in flight, and one message.
            #expect(pair.ticks - start <= 24)
            #expect(pair.messages[1].count - before <= 20)
            #expect(pair.run(ticks: 20_000) { $0.messages[1].count == 101 })
        }

        @Test("two bulk channels share")
        func share() throws {
            let pair = try ChannelPair(weather: Weather(delay: 1))
            let ids = [try pair.a.open(label: "1"), try pair.a.open(label: "2"), try pair.a.open(label: "3")]
            #expect(pair.run { $0.has(.opened(ids[2]), at: .a) })
            for index in 0..<60 { for id in ids { try pair.a.send(id, pattern(32_768, index).span.bytes) } }
            #expect(pair.run(ticks: 3000) { $0.messages[1].count >= 90 })
            for id in ids {
                let count = pair.messages[1].prefix(90).count { $0.id == id }
                #expect(count > 20 && count < 40)
            }
        }

        @Test("a receiver that does not read stops the sender, and nothing is lost")
        func backpressure() throws {
            let pair = try ChannelPair()
            let id = try pair.a.open(label: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            var packets = PacketBuffer()
            // b gets packets, but its events are not taken.
            for index in 0..<100 { try pair.a.send(id, pattern(65_536, index).span.bytes) }
            for _ in 0..<200 {
                packets.removeAll()
                pair.a.takeOutgoing(into: &packets)
                pair.b.receive(batch: packets)
                packets.removeAll()
                pair.b.takeOutgoing(into: &packets)
                pair.a.receive(batch: packets)
                _ = Timeline.tick()
            }
            #expect(pair.a.bufferedAmount(id) > 4_000_000)
            #expect(pair.run(ticks: 3000) { $0.messages[1].count == 100 })
            #expect(pair.messages[1].map(\.bytes) == (0..<100).map { pattern(65_536, $0) })
        }

        @Test("a message longer than the peer takes is refused here")
        func tooLarge() throws {
            let pair = try ChannelPair { $0.remoteMaxMessageSize = 1000 }
            let id = try pair.a.open(label: "x")
            #expect(throws: SCTPError.messageTooLarge(limit: 1000)) { try pair.a.send(id, pattern(1001).span.bytes) }
            try pair.a.send(id, pattern(1000).span.bytes)
            #expect(pair.run { $0.messages[1].count == 1 })
        }

        @Test("a message longer than we take closes its channel alone", arguments: [100_000, 900_000])
        func oversized(size: Int) throws {
            let pair = try ChannelPair {
                $0.maxMessageSize = 50_000
                $0.remoteMaxMessageSize = 0
            }
            let id = try pair.a.open(label: "x")
            let other = try pair.a.open(label: "y")
            #expect(pair.run { $0.has(.opened(other), at: .a) })
            try pair.a.send(id, pattern(size).span.bytes)
            #expect(pair.run(ticks: 1000) { $0.has(.closed(id), at: .a) && $0.has(.closed(id), at: .b) })
            #expect(pair.b.counters.oversizedMessages == 1)
            #expect(pair.has(.oversizedMessage(id), at: .b))
            #expect(pair.messages[1].isEmpty)
            try pair.a.send(other, pattern(50_000).span.bytes)
            #expect(pair.run(ticks: 500) { $0.messages[1].count == 1 })
        }
    }
}
