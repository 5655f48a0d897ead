// SPDX-License-Identifier: Apache-2.0
import SCTPTestSupport
import Testing
import Wire

@testable import SCTP

extension SCTPSuite {
    @Suite(.serialized, .enabled(if: Timeline.isVirtual, "the tests' clock does not reach usrsctp"))
    struct PriorityTests {
        @Test("while several channels are busy they get shares by their priorities, and the peer is told these")
        func shares() throws {
            let pair = try ChannelPair(weather: Weather(delay: 2))
            let priorities: [UInt16] = [128, 256, 512, 1024]
            let ids = try priorities.map { try pair.a.open(label: "\($0)", priority: $0) }
            #expect(pair.run { pair in ids.allSatisfy { pair.has(.opened($0), at: .a) } })
            for (id, priority) in zip(ids, priorities) { #expect(pair.b.info(id)?.priority == priority) }
            let message = pattern(16_000, 1)
            for _ in 0..<300 {
                for id in ids { try pair.a.send(id, message.span.bytes) }
            }
            #expect(pair.run(ticks: 20_000) { $0.messages[1].count >= 350 })
            var counts = ids.map { id in pair.messages[1].prefix(350).count { $0.id == id } }
            #expect(counts.allSatisfy { $0 > 0 })
            let unit = Double(counts.removeFirst())
            for (index, count) in counts.enumerated() {
                let share = Double(count) / unit / Double(2 << index)
                #expect(share > 0.7 && share < 1.4, "\(index): \(count) to \(unit)")
            }
        }

        @Test("a message beside saturated channels waits for what is in flight and one message of each")
        func beside() throws {
            let pair = try ChannelPair(weather: Weather(delay: 2)) {
                $0.association.sendBuffer = 1 << 20
            }
            let bulk = try (0..<3).map { try pair.a.open(label: "bulk \($0)") }
            let control = try pair.a.open(label: "control", priority: 1024)
            #expect(pair.run { $0.has(.opened(control), at: .a) })
            let message = pattern(64_000, 1)
            for _ in 0..<40 {
                for id in bulk { try pair.a.send(id, message.span.bytes) }
            }
            #expect(pair.run { $0.messages[1].count >= 10 })
            let before = pair.messages[1].count
            let unsent = pair.a.unsentTotal
            try pair.a.send(control, text: "now")
            #expect(pair.run { pair in pair.messages[1].contains { $0.id == control } })
            let position = pair.messages[1].firstIndex { $0.id == control } ?? .max
            // One of each, the one of each that was begun, and what the window has under way: 256 KB at most here.
            #expect(position - before <= 2 * bulk.count + 8, "\(position - before) messages later, \(unsent) unsent")
        }
    }
}
