// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import SCTP

@Suite
struct ChecksumTests {
    @Test("the checksum of a packet agrees with a bit by bit computation, in hardware and without")
    func agrees() {
        var random = Entropy(seed: 1)
        for length in Array(12...400) + [767, 768, 769, 780, 781, 1160, 1500, 16_384] {
            var packet = random.bytes(length)
            let expected = Self.bitwise(packet)
            packet.withUnsafeBytes { bytes in
                #expect(SCTPChecksum.of(bytes, hardware: false) == expected)
                if SCTPChecksum.hasHardware { #expect(SCTPChecksum.of(bytes, hardware: true) == expected) }
            }
            packet.withUnsafeMutableBytes { SCTPChecksum.write(into: $0) }
            #expect(packet.withUnsafeBytes { SCTPChecksum.isCorrect($0) })
            packet[length - 1] ^= 1
            #expect(!packet.withUnsafeBytes { SCTPChecksum.isCorrect($0) })
        }
    }

    @Test("the polynomial is that of RFC 3720's vectors")
    func vector() {
        // 32 bytes of zeros have 0x8A9136AA.
        #expect(Self.crc(Array(repeating: 0, count: 32)) == 0x8A91_36AA)
    }

    static func bitwise(_ packet: [UInt8]) -> UInt32 {
        crc(packet.enumerated().map { (8..<12).contains($0) ? 0 : $1 })
    }

    private static func crc(_ bytes: [UInt8]) -> UInt32 {
        var crc: UInt32 = 0xFFFF_FFFF
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0x82F6_3B78 : 0) }
        }
        return ~crc
    }
}

extension SCTPSuite {
    @Suite(.serialized)
    struct MalformedPacketTests {
        @Test("a packet with a wrong checksum is dropped and counted")
        func checksum() throws {
            let pair = try ChannelPair()
            #expect(pair.run { $0.a.isUp && $0.b.isUp })
            var packet = [UInt8](repeating: 0, count: 32)
            packet[8] = 1
            pair.inject(packet, to: .a)
            pair.inject([1, 2, 3], to: .a)
            pair.inject([], to: .a)
            #expect(pair.a.associationCounters.checksumErrors == 1)
            #expect(pair.a.associationCounters.packetsDropped == 2)
            let before = pair.a.associationCounters.packetsReceived
            packet.withUnsafeMutableBytes { SCTPChecksum.write(into: $0) }
            pair.inject(packet, to: .a)
            #expect(pair.a.associationCounters.packetsReceived == before + 1)
        }

        @Test(
            "packets that are changed on the way, checksum made right again, do no harm but to their association",
            arguments: 1...40 as ClosedRange<UInt64>)
        func mutated(seed: UInt64) throws {
            var random = Entropy(seed: seed)
            let pair = try ChannelPair(seed: seed) {
                $0.association.minRTO = 50
                $0.association.initialRTO = 50
                $0.association.maxRTO = 100
            }
            var seen: [(ChannelPair.Side, [UInt8])] = []
            pair.filter = { side, packet in
                if seen.count < 500 { seen.append((side, packet)) }
                return true
            }
            let id = try pair.a.open(
                label: "fuzz", ordered: seed % 2 == 0, reliability: seed % 3 == 0 ? .maxRetransmits(1) : .reliable)
            for index in 0..<20 {
                try? pair.a.send(id, pattern(index * 300, index).span.bytes)
                _ = pair.run(ticks: 1)
            }
            for round in 0..<150 {
                guard let (side, original) = seen.randomElement(using: &random) else { break }
                var packet = original
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    switch Int.random(in: 0..<5, using: &random) {
                    case 0:
                        packet[Int.random(in: 12..<packet.count, using: &random)] = UInt8.random(
                            in: 0...255, using: &random)
                    case 1: packet = Array(packet.prefix(Int.random(in: 16...packet.count, using: &random)))
                    case 2: packet += random.bytes(Int.random(in: 1...64, using: &random))
                    case 3: if packet.count >= 16 { packet[14] = 0xFF }
                    default: packet[12] = UInt8.random(in: 0...255, using: &random)
                    }
                }
                packet.withUnsafeMutableBytes { SCTPChecksum.write(into: $0) }
                pair.inject(packet, to: side == .a ? .b : .a)
                if round % 10 == 0 {
                    try? pair.a.send(id, pattern(5000, round).span.bytes)
                    pair.tick()
                }
            }
            _ = pair.run(ticks: 50)
            #expect(pair.b.associationCounters.packetsReceived > 0)
        }

        @Test("random bytes on a fresh association, checksum right or not", arguments: 1...20 as ClosedRange<UInt64>)
        func random(seed: UInt64) throws {
            var random = Entropy(seed: seed)
            let pair = try ChannelPair(seed: seed)
            for _ in 0..<200 {
                var packet = random.bytes(Int.random(in: 0...200, using: &random))
                if packet.count >= 16 {
                    // Ports and the first chunk's type and length are plausible, for more to be reached.
                    packet.replaceSubrange(0..<4, with: [0x13, 0x88, 0x13, 0x88])
                    packet[12] = UInt8.random(in: 0...15, using: &random)
                    packet[14] = 0
                    packet[15] = UInt8(packet.count - 12)
                    packet.withUnsafeMutableBytes { SCTPChecksum.write(into: $0) }
                }
                pair.inject(packet, to: Bool.random(using: &random) ? .a : .b)
            }
            _ = pair.run(ticks: 20)
        }

        @Test(
            "any bytes are a DCEP message or none, and what is one is written back the same",
            arguments: 1...200 as ClosedRange<UInt64>)
        func dcep(seed: UInt64) {
            var random = Entropy(seed: seed)
            var bytes = random.bytes(Int.random(in: 0...40, using: &random))
            if bytes.count >= 12 {
                bytes[0] = 3
                bytes[1] &= 0x83
                bytes[8] = 0
                bytes[9] = UInt8(bytes.count - 12) / 2
                bytes[10] = 0
                bytes[11] = UInt8(bytes.count - 12) - bytes[9]
                for index in 12..<bytes.count { bytes[index] &= 0x7F }
                if bytes[1] & 3 == 0 { bytes.replaceSubrange(4..<8, with: [0, 0, 0, 0]) }
            }
            guard let message = DCEPMessage(bytes.span.bytes) else { return }
            // What follows an ACK means nothing.
            #expect(message.encoded == (message == .ack ? [2] : bytes))
        }
    }
}
