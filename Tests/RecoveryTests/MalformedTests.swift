// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Recovery

@Suite("Packets that break a rule")
struct MalformedTests {
    /// A packet with a number and what follows.
    private func packet(number: UInt32, _ frames: [UInt8]) -> [UInt8] {
        [0, 1] + withUnsafeBytes(of: number.bigEndian) { Array($0) } + frames
    }

    private func data(flow: UInt8 = 1, length: UInt16, offset: UInt64, _ bytes: [UInt8]) -> [UInt8] {
        [1, flow] + withUnsafeBytes(of: length.bigEndian) { Array($0) }
            + withUnsafeBytes(of: offset.bigEndian) { Array($0) } + bytes
    }

    @Test(
        "They are dropped and counted",
        arguments: [
            "empty header", "unknown flag", "unknown frame", "data cut short", "third flow", "data without a number",
            "beyond the window", "offset that overflows", "ACK of nothing", "ACK of what was never sent",
            "ACK with a gap of zero", "ACK that goes below zero", "repeated number",
        ])
    func rules(_ name: String) {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        let ack: [UInt8] = [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        let cases: [String: [UInt8]] = [
            "empty header": [0], "unknown flag": [0, 2], "unknown frame": packet(number: 0, [9]),
            "data cut short": packet(number: 0, data(length: 9, offset: 0, [1, 2])),
            "third flow": packet(number: 0, data(flow: 2, length: 1, offset: 0, [1])),
            "data without a number": [0, 0] + data(length: 1, offset: 0, [1]),
            "beyond the window": packet(number: 0, data(length: 1, offset: 16 << 20, [1])),
            "offset that overflows": packet(number: 0, data(length: 1, offset: .max, [1])),
            "ACK of nothing": [0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "ACK of what was never sent": [0, 0] + ack,
            "ACK with a gap of zero": [0, 0, 2, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
            "ACK that goes below zero": [0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
            "repeated number": packet(number: 0, data(length: 1, offset: 0, [1])),
        ]
        let packet = cases[name] ?? []
        if name == "repeated number" { link.receive(packet.span.bytes, now: .zero) }
        link.receive(packet.span.bytes, now: .zero)
        let dropped = link.statistics.packetsDropped
        #expect(dropped == 1)
    }

    @Test("Bytes at random, alone and in place of a packet's, neither trap nor hold memory", arguments: UInt64(1)...30)
    func noise(_ seed: UInt64) {
        var entropy = Entropy(seed: seed)
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        var bulk = PacketBuffer()
        bulk.append(maximumLength: 5000) { _ in 5000 }
        link.enqueue(&bulk, flow: 1)
        var now = Timestamp.zero
        for _ in 0..<500 {
            now += .microseconds(Int64(entropy.next() % 4000))
            let offset = entropy.next() % 3 == 0 ? entropy.next() : entropy.next() % 70000
            var bytes: [UInt8] = [0, 1]
            switch entropy.next() % 3 {
            case 0:
                bytes = packet(
                    number: UInt32(entropy.next() % 64),
                    data(length: 40, offset: offset, .init(repeating: 7, count: 40)))
            case 1:
                bytes = [0, 0, 2, UInt8(entropy.next() % 4)]
                for _ in 0..<40 {
                    bytes.append(entropy.next() % 8 == 0 ? UInt8(truncatingIfNeeded: entropy.next()) : 0)
                }
            default:
                for _ in 0..<entropy.next() % 60 { bytes.append(UInt8(truncatingIfNeeded: entropy.next())) }
            }
            if entropy.next() % 2 == 0 {
                bytes[Int(entropy.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: entropy.next())
            }
            link.receive(bytes.span.bytes, now: now)
            link.takePackets(flow: 0) { _ in }
            link.takePackets(flow: 1) { _ in }
            link.handleTimeout(now: now)
            link.transmit(into: &out, now: now)
            #expect(out.count < 200, "seed \(seed)")
            out.removeAll()
        }
    }

    @Test("A peer that leaves a hole after every byte is refused at some point")
    func holes() {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        for number in UInt32(0)..<6000 {
            let bytes = packet(number: number, data(length: 1, offset: UInt64(number) * 2 + 1, [1]))
            link.receive(bytes.span.bytes, now: .zero)
        }
        let dropped = link.statistics.packetsDropped
        #expect(dropped == 6000 - 4096)
    }

    @Test("Numbers are completed to the nearest", arguments: [
        (UInt32(5), UInt64(3), UInt64(5)), (0xFFFF_FFFF, 0x1_0000_0001, 0xFFFF_FFFF), (1, 0xFFFF_FFFE, 0x1_0000_0001),
        (7, 0x5_0000_0000, 0x5_0000_0007),
    ])
    func expansion(_ truncated: UInt32, _ expected: UInt64, _ full: UInt64) {
        #expect(RecoveryHeader.expand(truncated, near: expected) == full)
    }
}
