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

    @Test("a ClientHello of DTLS 1.3 size, in two datagrams in either order, is answered", arguments: [false, true])
    func largeClientHello(reversed: Bool) throws {
        var server = try DTLSTransport(
            role: .server, certificate: Certificates.server, expectedFingerprints: nil)
        server.start(now: .zero)
        let fragments = ClientHello.dtls13InTwo()
        var plaintext = PacketBuffer()
        for fragment in reversed ? fragments.reversed() : fragments {
            server.receive(fragment.span.bytes, now: .zero, plaintext: &plaintext)
        }
        var flight = PacketBuffer()
        server.takeOutgoing(into: &flight)
        let first = flight.count > 0 ? [UInt8](copying: flight[0]) : []
        #expect(first.first == 22)  // handshake
        #expect(first.dropFirst(13).first == 2)  // server_hello
        let state = server.state
        #expect(state == .handshaking)
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

/// A ClientHello as browsers with DTLS 1.3 send it: with a post-quantum key share it no longer fits one datagram.
enum ClientHello {
    static func dtls13InTwo() -> [[UInt8]] {
        func vector16(_ bytes: [UInt8]) -> [UInt8] { [UInt8(bytes.count >> 8), UInt8(bytes.count & 255)] + bytes }
        func ext(_ type: UInt16, _ body: [UInt8]) -> [UInt8] { [UInt8(type >> 8), UInt8(type & 255)] + vector16(body) }
        var extensions: [UInt8] = []
        extensions += ext(0x0017, [])  // extended_master_secret
        extensions += ext(0xFF01, [0])  // renegotiation_info
        extensions += ext(0x000A, vector16([0x11, 0xEC, 0, 0x1D, 0, 0x17]))  // X25519MLKEM768, x25519, P-256
        extensions += ext(0x000B, [1, 0])  // uncompressed points
        extensions += ext(0x000D, vector16([4, 3, 8, 4, 4, 1]))  // signature algorithms
        extensions += ext(0x000E, vector16([0, 7, 0, 1]) + [0])  // use_srtp
        extensions += ext(0x002B, [4, 0xFE, 0xFC, 0xFE, 0xFD])  // supported_versions: DTLS 1.3, 1.2
        let share = [UInt8](repeating: 0x5A, count: 1216)
        extensions += ext(0x0033, vector16([0x11, 0xEC] + vector16(share)))  // key_share
        var body: [UInt8] = [0xFE, 0xFD] + [UInt8](repeating: 0x42, count: 32) + [0, 0]
        body += vector16([0x13, 0x01, 0xC0, 0x2B, 0xC0, 0x2F]) + [1, 0] + vector16(extensions)

        let cut = 1000
        return [(0, body[..<cut]), (1, body[cut...])].map { number, part in
            let offset = number == 0 ? 0 : cut
            func uint24(_ value: Int) -> [UInt8] { [UInt8(value >> 16), UInt8(value >> 8 & 255), UInt8(value & 255)] }
            let message = [1] + uint24(body.count) + [0, 0] + uint24(offset) + uint24(part.count) + Array(part)
            return [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, UInt8(number)] + vector16(message)
        }
    }
}
