// SPDX-License-Identifier: Apache-2.0
import Recovery
import TestSupport
import Testing
import Wire

@Suite("Peers of the link that keep to no rule", .serialized)
struct HostilePeerTests {
    private func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) }
    }

    private func data(number: UInt32, flow: UInt8, offset: UInt64, _ content: [UInt8]) -> [UInt8] {
        [0, 1] + bytes(number) + [1, flow] + bytes(UInt16(content.count)) + bytes(offset) + content
    }

    /// An ACK of `largest` and the ranges below it: (gap, length) after the first length.
    private func ack(largest: UInt32, delay: UInt32 = 0, first: UInt32, _ ranges: [(UInt32, UInt32)] = []) -> [UInt8] {
        [0, 0, 2, UInt8(1 + ranges.count)] + bytes(largest) + bytes(delay) + bytes(first)
            + ranges.flatMap { bytes($0.0) + bytes($0.1) }
    }

    /// Gives the link `count` SCTP packets of 16 KiB for flow 1.
    private func fill(_ link: inout ReliableLink, _ count: Int) {
        for _ in 0..<count {
            var packets = PacketBuffer()
            packets.append(maximumLength: 16_384) { _ in 16_384 }
            link.enqueue(&packets, flow: 1)
        }
    }

    @Test("One that never acknowledges gets a window and then probes, ever more rarely, and what waits is bounded")
    func silent() throws {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        var now = Timestamp.zero
        let before = try residentBytes()
        var late = 0
        while now < Timestamp.zero + .seconds(600) {
            fill(&link, 8)
            link.transmit(into: &out, now: now)
            if now > Timestamp.zero + .seconds(60) { late += out.count }
            out.removeAll()
            let deadline = link.nextDeadline
            now = max(now + .milliseconds(1), try #require(deadline))
            link.handleTimeout(now: now)
        }
        let (inFlight, overflows, grown) = (link.statistics.bytesInFlight, link.statistics.overflows, try residentBytes() - before)
        #expect(late < 2 * 540 / 3 + 20, "\(late)")
        #expect(inFlight < 2 << 20)
        #expect(overflows > 0)
        #expect(grown < 64 << 20, "\(grown)")
    }

    @Test("One that acknowledges what it cannot have yet is believed, and the link stays within its numbers")
    func optimistic() {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        var now = Timestamp.zero
        for round in 0..<3000 {
            fill(&link, 4)
            now += .nanoseconds(round % 3 == 0 ? 1 : 1000)
            link.transmit(into: &out, now: now)
            out.removeAll()
            let sent = UInt32(link.statistics.packetsSent)
            // All of them at once, in no time or with a delay of an hour.
            let ack = ack(largest: sent - 1, delay: round % 7 == 0 ? .max : 0, first: sent)
            link.receive(ack.span.bytes, now: now)
            // And what was never sent.
            link.receive(self.ack(largest: sent + 5, first: 1).span.bytes, now: now)
        }
        let (dropped, inFlight, window) = (
            link.statistics.packetsDropped, link.statistics.bytesInFlight, link.statistics.congestionWindow
        )
        #expect(dropped == 3000)
        #expect(inFlight == 0)
        #expect(window > 0)
    }

    @Test("One that repeats its acknowledgements makes nothing be sent and is cheap")
    func repeated() {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        fill(&link, 200)
        var now = Timestamp.zero
        for _ in 0..<100 {
            link.transmit(into: &out, now: now)
            now += .milliseconds(1)
        }
        // Every second packet is missing.
        let sent = UInt32(out.count)
        #expect(sent > 40)
        let ack = ack(largest: sent - 1, first: 1, (0..<15).map { _ in (1, 1) })
        link.receive(ack.span.bytes, now: now)
        out.removeAll()
        link.transmit(into: &out, now: now)
        let before = link.statistics.packetsSent
        let startedAt = now
        let start = ContinuousClock.now
        for _ in 0..<50_000 {
            now += .nanoseconds(10)
            link.receive(ack.span.bytes, now: now)
        }
        let taken = ContinuousClock.now - start
        out.removeAll()
        link.transmit(into: &out, now: now)
        let after = link.statistics.packetsSent
        // Half a millisecond has passed on the link, for which pacing lets a few packets go.
        #expect(now - startedAt == .microseconds(500))
        #expect(after - before <= 20, "\(after - before)")
        // 20 µs each in a debug build with a sanitizer; it is about one.
        #expect(taken < .seconds(20), "\(taken)")
    }

    @Test("One that leaves every second packet out for good costs what the window holds, and time by the packet")
    func sieve() {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        var now = Timestamp.zero
        var acked: UInt32 = 0
        for _ in 0..<2000 {
            fill(&link, 2)
            now += .milliseconds(1)
            link.handleTimeout(now: now)
            link.transmit(into: &out, now: now)
            out.removeAll()
            let sent = UInt32(link.statistics.packetsSent)
            // The highest 60, every second one.
            guard sent > acked + 2 else { continue }
            let count = min((sent - acked) / 2, 30)
            let ack = ack(largest: sent - 1, first: 1, (1..<count).map { _ in (1, 1) })
            link.receive(ack.span.bytes, now: now)
            acked = sent
        }
        let (inFlight, queued) = (link.statistics.bytesInFlight, link.queuedBytes(flow: 1))
        #expect(inFlight <= 64 << 20)
        #expect(queued <= 32 << 20)
    }

    @Test("One that sends single bytes, everywhere in the window and in both flows, fills the window and no more")
    func crumbs() throws {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var entropy = Entropy(seed: 4)
        var out = PacketBuffer()
        let before = try residentBytes()
        for number in UInt32(0)..<200_000 {
            let offset = UInt64.random(in: 0..<20 << 20, using: &entropy)
            let packet = data(number: number, flow: UInt8(number & 1), offset: offset, [1])
            link.receive(packet.span.bytes, now: Timestamp(nanoseconds: Int64(number)))
            if number % 64 == 0 {
                link.takePackets(flow: 0) { _ in }
                link.takePackets(flow: 1) { _ in }
                link.transmit(into: &out, now: Timestamp(nanoseconds: Int64(number)))
                out.removeAll()
            }
        }
        let grown = try residentBytes() - before
        // 16 MiB a flow, and what they are copied from when they grow.
        #expect(grown < 64 << 20, "\(grown)")
    }

    @Test("Numbers that jump ahead by half of what can be told are followed, and acknowledgements stay short")
    func leaps() {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        for step in UInt32(0)..<5000 {
            let packet: [UInt8] = [0, 1] + bytes(step &* 0x7FFF_FFF1) + [3]
            link.receive(packet.span.bytes, now: Timestamp(nanoseconds: Int64(step)))
            link.transmit(into: &out, now: Timestamp(nanoseconds: Int64(step)))
            let longest = (0..<out.count).map { out[$0].byteCount }.max() ?? 0
            #expect(longest <= 2 + 14 + 8 * 31)
            out.removeAll()
        }
    }
}
