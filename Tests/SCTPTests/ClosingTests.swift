// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import Testing
import Wire

extension SCTPSuite {
    @Suite(.serialized)
    struct ClosingTests {
        @Test("closing delivers what was sent before, on both sides the channel ends, and the stream is used again")
        func closeAndReuse() throws {
            let pair = try ChannelPair()
            let id = try pair.a.open(label: "first")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            for index in 0..<20 { try pair.a.send(id, pattern(60_000, index).span.bytes) }
            pair.a.close(id)
            #expect(throws: SCTPError.channelNotOpen) { try pair.a.send(id, text: "late") }
            #expect(pair.run(ticks: 1000) { $0.has(.closed(id), at: .a) && $0.has(.closed(id), at: .b) })
            #expect(pair.messages[1].map(\.bytes) == (0..<20).map { pattern(60_000, $0) })
            #expect(pair.has(.closing(id), at: .b))
            #expect(!pair.has(.closing(id), at: .a))

            // The same stream by name, then a second time through DCEP after all others were used.
            let again = try pair.a.open(label: "again", negotiatedID: id.rawValue)
            _ = try pair.b.open(label: "again", negotiatedID: id.rawValue)
            try pair.a.send(again, text: "hello")
            #expect(pair.run { $0.messages[1].last?.bytes == Array("hello".utf8) })
        }

        @Test("identifiers come back after both directions were reset, and not before")
        func identifiers() throws {
            let pair = try ChannelPair { $0.association.streams = 8 }
            let ids = try (0..<4).map { try pair.a.open(label: "\($0)") }
            #expect(ids.map(\.rawValue) == [0, 2, 4, 6])
            #expect(throws: SCTPError.noStreamLeft) { _ = try pair.a.open(label: "one too many") }
            #expect(pair.run { $0.has(.opened(ids[3]), at: .a) })
            pair.a.close(ids[1])
            #expect(throws: SCTPError.noStreamLeft) { _ = try pair.a.open(label: "too early") }
            #expect(pair.run { $0.has(.closed(ids[1]), at: .a) })
            pair.events = [[], []]
            let id = try pair.a.open(label: "reused")
            #expect(id == ids[1])
            try pair.a.send(id, text: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            #expect(pair.has(.incoming(id, DataChannelInfo(label: "reused")), at: .b))
            #expect(pair.messages[1].last?.bytes == [0x78])
        }

        @Test(
            "identifiers are reused over and over on a bad network",
            .enabled(if: Timeline.isVirtual, "the tests' clock does not reach usrsctp"),
            arguments: [1, 2, 3] as [UInt64])
        func reuseUnderLoss(seed: UInt64) throws {
            let pair = try ChannelPair(seed: seed, weather: Weather(loss: 0.1, duplication: 0.1, reorder: 0.2)) {
                $0.association.streams = 4
                $0.association.minRTO = 50
                $0.association.initialRTO = 100
                $0.association.maxRTO = 200
            }
            #expect(pair.run(ticks: 2000) { $0.a.isUp && $0.b.isUp }, "seed \(seed)")
            for round in 0..<30 {
                pair.events = [[], []]
                let id = try pair.a.open(label: "\(round)")
                try pair.a.send(id, pattern(2000, round).span.bytes)
                if round % 3 == 0 { pair.a.close(id) }
                #expect(pair.run(ticks: 5000) { $0.messages[1].count == round + 1 }, "seed \(seed), round \(round)")
                if round % 3 == 1 { pair.b.close(id) }
                if round % 3 == 2 {
                    pair.a.close(id)
                    pair.b.close(id)
                }
                #expect(
                    pair.run(ticks: 5000) { $0.has(.closed(id), at: .a) && $0.has(.closed(id), at: .b) },
                    "seed \(seed), round \(round)")
            }
            #expect(pair.messages[1].map(\.bytes) == (0..<30).map { pattern(2000, $0) })
        }

        @Test("a channel closed before the association is up closes after it")
        func closeEarly() throws {
            let pair = try ChannelPair(connect: false)
            let id = try pair.a.open(label: "x")
            try pair.a.send(id, text: "y")
            pair.a.close(id)
            try pair.a.connect()
            try pair.b.connect()
            #expect(pair.run { $0.has(.closed(id), at: .a) && $0.has(.closed(id), at: .b) })
            #expect(pair.messages[1].count == 1)
        }

        @Test("an abort is told to the peer, whose channels close")
        func abort() throws {
            let pair = try ChannelPair()
            let id = try pair.a.open(label: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            pair.events = [[], []]
            pair.a.abort()
            #expect(pair.run(ticks: 10) { $0.events[1].count >= 2 })
            #expect(pair.events[1].first == .closed(id))
            guard case .associationDown(.aborted) = pair.events[1].last else {
                Issue.record("\(pair.events[1])")
                return
            }
            #expect(pair.events[0] == [])
        }

        @Test("a shutdown delivers everything first and ends both sides")
        func shutdown() throws {
            let pair = try ChannelPair()
            let id = try pair.a.open(label: "x")
            #expect(pair.run { $0.has(.opened(id), at: .a) })
            try pair.a.send(id, pattern(200_000).span.bytes)
            pair.a.shutdown()
            #expect(pair.run(ticks: 500) { $0.has(.associationDown(.shutDown), at: .b) && $0.events[0].last != nil })
            #expect(pair.messages[1].count == 1)
            #expect(pair.has(.associationDown(.shutDown), at: .a))
        }

        @Test("a hundred associations live and die in one process")
        func hundred() throws {
            for _ in 0..<3 {
                var pairs: [ChannelPair] = []
                for index in 0..<50 { pairs.append(try ChannelPair(seed: UInt64(index))) }
                for pair in pairs {
                    let id = try pair.a.open(label: "x")
                    try pair.a.send(id, pattern(5000).span.bytes)
                    #expect(pair.run(ticks: 50) { $0.messages[1].count == 1 })
                }
                #expect(Set(pairs.flatMap { [$0.a.handle, $0.b.handle] }).count == 100)
                // Half of them say goodbye, the others vanish.
                for pair in pairs.prefix(25) { pair.a.abort() }
                pairs.removeAll()
                for _ in 0..<10 { _ = Timeline.tick() }
            }
        }
    }
}
