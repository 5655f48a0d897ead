// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing
import Wire

@Suite struct RobustnessTests {
    /// OpenSSL 3.0.20, Debian 12's before its security updates, ends a session at the first record with a wrong tag.
    private static let dropsWrongTags = !DTLSTransport.libraryVersion.hasPrefix("OpenSSL 3.0.20 ")

    @Test(
        "garbage at any moment is dropped and counted, and never ends a session",
        .enabled(if: dropsWrongTags, "OpenSSL 3.0.20 ends a session at a record with a wrong tag; update libssl3"),
        arguments: 1...30)
    func garbage(seed: Int) throws {
        var pair = try makePair(link: Link(latency: .milliseconds(20), jitter: .milliseconds(30)), seed: UInt64(seed))
        var entropy = Entropy(seed: UInt64(seed) &+ 1000)
        pair.start()
        for _ in 0..<200 {
            for side in [Pair.Side.client, .server] {
                pair.deliver(garbage(&entropy, pair.log.map(\.bytes)), to: side)
            }
            pair.run(for: .milliseconds(1))
        }
        pair.run { $0.isConnected }
        for _ in 0..<200 {
            for side in [Pair.Side.client, .server] {
                pair.deliver(garbage(&entropy, pair.log.map(\.bytes)), to: side)
            }
        }
        let states = (pair.client.state, pair.server.state)
        #expect(states == (.connected, .connected), "seed \(seed)")
        try pair.client.send(bytes(1).span.bytes)
        pair.run(for: .seconds(5))
        #expect(pair.received[1] == [[1]], "seed \(seed)")
        let dropped = pair.server.statistics.datagramsDropped
        #expect(dropped > 0)
    }

    /// Random bytes, random bytes behind a header of application data or of a later epoch, and pieces of true
    /// datagrams.
    private func garbage(_ entropy: inout Entropy, _ sent: [[UInt8]]) -> [UInt8] {
        let count = Int.random(in: 0...80, using: &entropy)
        switch Int.random(in: 0..<5, using: &entropy) {
        case 0: return entropy.bytes(count)
        case 1:
            let type = UInt8.random(in: 18...30, using: &entropy)
            return [type, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0] + entropy.bytes(2) + [0, UInt8(count)] + entropy.bytes(count)
        case 2:
            return [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, UInt8(count)] + entropy.bytes(count).map { $0 | 0x40 }
        case 3:
            guard let datagram = sent.randomElement(using: &entropy), !datagram.isEmpty else { return [] }
            return Array(datagram.prefix(Int.random(in: 0..<min(datagram.count, 25), using: &entropy)))
        default:
            // A protected record of the session with a bit turned over.
            guard var datagram = sent.last(where: { $0.count > 4 && $0[4] == 1 && $0[0] == 23 }) else { return [] }
            datagram[Int.random(in: 13..<datagram.count, using: &entropy)] ^=
                1 << UInt8.random(in: 0..<8, using: &entropy)
            return datagram
        }
    }

    @Test("a repeated record is delivered once")
    func replay() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        try pair.client.send(bytes(1).span.bytes)
        pair.run()
        let record = try #require(pair.log.last?.bytes)
        for _ in 0..<3 { pair.deliver(record, to: .server) }
        #expect(pair.received[1] == [[1]])
    }

    @Test("several records in one datagram are all delivered")
    func severalRecords() throws {
        var pair = try makePair()
        pair.start()
        pair.run { $0.isConnected }
        let start = pair.log.count
        for value in 1...4 { try pair.client.send(bytes(UInt8(value)).span.bytes) }
        pair.drain()
        let datagram = pair.log[start...].flatMap(\.bytes)
        pair.dropInFlight()
        pair.deliver(datagram + [23, 0xFE], to: .server)
        #expect(pair.received[1] == [[1], [2], [3], [4]])
    }

    @Test("datagrams before the start and after the end are ignored")
    func outsideLife() throws {
        var pair = try makePair()
        var plaintext = PacketBuffer()
        pair.client.receive(bytes(22, 0xFE, 0xFD).span.bytes, now: .zero, plaintext: &plaintext)
        pair.start()
        pair.run { $0.isConnected }
        try pair.client.send(bytes(1).span.bytes)
        pair.server.close()
        pair.run()
        #expect(pair.received[1] == [])
        #expect(pair.events[0].last == .closed)
        #expect(pair.events[1].count == 1)
    }
}
