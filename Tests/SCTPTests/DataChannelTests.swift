// SPDX-License-Identifier: Apache-2.0
import SCTP
import Testing
import Wire

/// usrsctp is one for the process, so everything that touches it runs one after the other.
@Suite(.serialized)
struct SCTPSuite {}

extension SCTPSuite {
    @Suite(.serialized)
    struct DataChannelTests {
        @Test("two associations come up although both INITs cross")
        func comesUp() throws {
            let pair = try ChannelPair()
            #expect(pair.run(ticks: 10) { $0.a.isUp && $0.b.isUp })
            #expect(pair.ticks == 0)
            #expect(pair.events == [[.associationUp], [.associationUp]])
        }

        @Test(
            "a channel opens from either side, on a stream of that side's parity", arguments: [ChannelPair.Side.a, .b])
        func opens(from side: ChannelPair.Side) throws {
            let pair = try ChannelPair()
            let label = "bläh 🐦"
            let id: ChannelID
            switch side {
            case .a: id = try pair.a.open(label: label, protocol: "p", ordered: false, reliability: .maxRetransmits(3))
            case .b: id = try pair.b.open(label: label, protocol: "p", ordered: false, reliability: .maxRetransmits(3))
            }
            #expect(id.rawValue == (side == .a ? 0 : 1))
            let other: ChannelPair.Side = side == .a ? .b : .a
            let info = DataChannelInfo(label: label, protocol: "p", ordered: false, reliability: .maxRetransmits(3))
            #expect(pair.run { $0.has(.opened(id), at: side) && $0.has(.incoming(id, info), at: other) })
        }

        @Test("messages arrive whole, of every kind and size", arguments: [true, false])
        func messages(ordered: Bool) throws {
            let pair = try ChannelPair()
            let id = try pair.a.open(label: "x", ordered: ordered)
            _ = pair.run { $0.has(.opened(id), at: .a) }
            let sizes = [0, 1, 1000, 1144, 1145, 16 * 1024, 65_536, 256 * 1024]
            for (index, size) in sizes.enumerated() {
                try pair.a.send(id, isText: index % 2 == 0, pattern(size, index).span.bytes)
                try pair.b.send(id, isText: index % 2 == 1, pattern(size, index + 100).span.bytes)
                _ = pair.run(ticks: 300) { $0.messages[0].count == index + 1 && $0.messages[1].count == index + 1 }
            }
            #expect(pair.messages[1].map(\.bytes) == sizes.enumerated().map { pattern($1, $0) })
            #expect(pair.messages[0].map(\.bytes) == sizes.enumerated().map { pattern($1, $0 + 100) })
            #expect(pair.messages[1].map(\.isText) == sizes.indices.map { $0 % 2 == 0 })
            #expect(pair.longestPacket <= 1160)
            #expect(pair.longestPacket > 1140)
        }
    }
}
