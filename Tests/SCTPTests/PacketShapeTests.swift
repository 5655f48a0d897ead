// SPDX-License-Identifier: Apache-2.0
import Testing
import SCTPTestSupport
import Wire

@testable import SCTP

/// A common header and chunks of these types and lengths (RFC 9260 §3), counted up to tell them apart.
private func packet(_ chunks: [(type: UInt8, length: Int)], tag: UInt8 = 1) -> [UInt8] {
    var bytes: [UInt8] = [0x13, 0x88, 0x13, 0x88, 0, 0, 0, tag, 0, 0, 0, 0]
    for (type, length) in chunks {
        let chunk =
            [type, 0, UInt8(length >> 8), UInt8(length & 255)] + (4..<length).map { UInt8(truncatingIfNeeded: $0) }
        bytes += chunk + Array(repeating: 0, count: -length & 3)
    }
    return bytes
}

@Suite
struct PacketShapeTests {
    /// Joins packets and answers what comes out, and where a packet was refused.
    private func join(_ packets: [[UInt8]], maxPackets: Int = 64) -> (joined: [UInt8]?, refused: [Int]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: PacketJoiner.capacity, alignment: 16)
        defer { memory.deallocate() }
        var joiner = PacketJoiner(into: memory, maxPackets: maxPackets)
        var refused: [Int] = []
        for (index, packet) in packets.enumerated() where !packet.withUnsafeBytes({ joiner.append($0) }) {
            refused.append(index)
        }
        return (joiner.take().map { Array($0) }, refused)
    }

    @Test("DATA is joined under one header, and asks for a SACK at once")
    func joinsData() {
        let (joined, refused) = join([packet([(0, 20)]), packet([(0, 21), (0, 33)])])
        var expected = packet([(0, 20), (0, 21), (0, 33)])
        expected[12 + 20 + 24 + 1] = 8
        #expect(refused == [])
        #expect(joined == expected)
    }

    @Test("one packet comes out as it went in")
    func single() {
        #expect(join([packet([(3, 16), (0, 20)])]).joined == packet([(3, 16), (0, 20)]))
    }

    @Test("SACKs go before DATA, and are refused after it")
    func order() {
        #expect(join([packet([(3, 16)]), packet([(3, 20), (0, 20)])]).refused == [])
        #expect(join([packet([(0, 20)]), packet([(3, 16)]), packet([(0, 20)])]).refused == [1])
    }

    @Test("nothing else is joined, and only what belongs together")
    func refuses() {
        for chunks in [[(1, 20)], [(0, 16)], [(0, 20), (4, 8)], [(6, 4)], [(3, 12)]] as [[(type: UInt8, length: Int)]] {
            #expect(join([packet(chunks)]).refused == [0])
        }
        #expect(join([packet([(0, 20)]), packet([(0, 20)], tag: 2)]).refused == [1])
        #expect(join([packet([(0, 20)]) + [0, 0, 0]]).refused == [0])
        #expect(join([Array(packet([(0, 40)]).dropLast(4))]).refused == [0])
        #expect(join([packet([(0, 20)]), packet([(0, 20)]), packet([(0, 20)])], maxPackets: 2).refused == [2])
    }

    @Test("any bytes can be tried", arguments: 1...50 as ClosedRange<UInt64>)
    func anything(seed: UInt64) {
        var random = Entropy(seed: seed)
        let packets = (0..<200).map { _ in
            var bytes = random.bytes(Int.random(in: 0...100, using: &random))
            if bytes.count > 16 { bytes.replaceSubrange(0..<15, with: packet([])[0..<12] + [0, 0, 0]) }
            return bytes
        }
        _ = join(packets)
    }

    @Test("a SACK with more gap blocks than fit keeps the first ones")
    func longSACK() {
        let outbox = SCTPOutbox()
        let handle = SCTPHandle(slot: 0, generation: 1)
        var settings = SCTPAssociation.Configuration()
        settings.maxPacketSize = 100
        outbox.state.withLock { $0.reset(owner: handle, for: settings) }
        // 40 gap blocks and 3 duplicates: 16 + 43 × 4 bytes.
        var bytes = packet([(3, 188)])
        bytes.replaceSubrange(24..<28, with: [0, 40, 0, 3])
        #expect(bytes.withUnsafeBytes { outbox.append($0, from: handle) })
        var packets = PacketBuffer()
        outbox.take(into: &packets)
        let expected = Array(bytes[12..<100])
        let got = Array([UInt8](copying: packets[0]).dropFirst(12))
        // 18 blocks fit.
        #expect(packets.count == 1 && got.count == 88)
        #expect(got[2...3] == [0, 88] && got[12...15] == [0, 18, 0, 0])
        #expect(got[16...] == expected[16...])
    }

    @Test("bundles are cut between chunks into packets that fit, each with its checksum")
    func splits() {
        let outbox = SCTPOutbox()
        let handle = SCTPHandle(slot: 0, generation: 1)
        var settings = SCTPAssociation.Configuration()
        settings.maxPacketSize = 100
        outbox.state.withLock { $0.reset(owner: handle, for: settings) }
        let bundle = packet([(3, 16), (0, 40), (0, 30), (0, 17), (0, 200), (0, 20)])
        #expect(bundle.withUnsafeBytes { outbox.append($0, from: handle) })
        #expect(!bundle.withUnsafeBytes { outbox.append($0, from: SCTPHandle(slot: 0, generation: 2)) })
        var packets = PacketBuffer()
        outbox.take(into: &packets)
        var chunks: [UInt8] = []
        for index in 0..<packets.count {
            let bytes = [UInt8](copying: packets[index])
            #expect(bytes.count <= 100 || bytes.count == 212)
            #expect(bytes.withUnsafeBytes { SCTPChecksum.isCorrect($0) })
            #expect(bytes.prefix(8) == bundle.prefix(8))
            chunks += bytes.dropFirst(12)
        }
        #expect(packets.count == 4)
        #expect(chunks == Array(bundle.dropFirst(12)))
    }
}

extension SCTPSuite {
    @Suite(.serialized, .enabled(if: Timeline.isVirtual, "the tests' clock does not reach usrsctp"))
    struct BundleTests {
        @Test("with larger bundles packets stay as short, and everything arrives", arguments: [1, 2, 7])
        func bundles(packets: Int) throws {
            let pair = try ChannelPair(seed: 3, weather: Weather(loss: 0.02, reorder: 0.1, delay: 1)) {
                $0.association.packetsPerBundle = packets
                $0.association.minRTO = 100
            }
            let id = try pair.a.open(label: "x")
            for index in 0..<20 { try pair.a.send(id, pattern(100_000, index).span.bytes) }
            #expect(pair.run(ticks: 10_000) { $0.messages[1].count == 20 })
            #expect(pair.messages[1].map(\.bytes) == (0..<20).map { pattern(100_000, $0) })
            #expect(pair.longestPacket <= 1160)
            #expect(pair.a.bufferedAmount(id) == 0)
        }
    }
}
