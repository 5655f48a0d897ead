// SPDX-License-Identifier: Apache-2.0
import DTLS
import Testing
import Wire

/// ClientHellos that come in several datagrams, as browsers with post-quantum key shares send them (RFC 6347 §4.2.3).
@Suite struct FragmentationTests {
    /// In which order fragments reach the server; a negative one is lost.
    static let orders: [[Int]] = [
        [0, 1], [1, 0], [0, 0, 1, 1], [1, 1, 0], [0, 1, 0, 1], [-1, 1, 0], [0, -1, 1], [-1, -1, 0, 1], [1, -1, 0],
    ]

    @Test(
        "a ClientHello of DTLS 1.3 size is answered once both halves are there, however they come",
        arguments: FragmentationTests.orders)
    func crafted(order: [Int]) throws {
        var server = try DTLSTransport(role: .server, certificate: Certificates.server, expectedFingerprints: nil)
        server.start(now: .zero)
        var plaintext = PacketBuffer()
        var seen: Set<Int> = []
        var answer: [[UInt8]] = []
        for (place, index) in order.enumerated() where index >= 0 {
            // What comes again comes as a new record (RFC 6347 §4.2.4).
            let repeats = order[..<place].count { $0 == index }
            let fragment = ClientHello.dtls13InTwo(firstRecord: UInt8(2 * repeats))[index]
            server.receive(fragment.span.bytes, now: .zero, plaintext: &plaintext)
            if seen.count < 2 { #expect(answer.isEmpty) }
            seen.insert(index)
            answer += Self.take(&server)
        }
        let first = try #require(answer.first)
        #expect(first.first == 22)  // handshake
        #expect(first.dropFirst(13).first == 2)  // server_hello
        let (state, held) = (server.state, plaintext.count)
        #expect(state == .handshaking)
        #expect(held == 0)
    }

    @Test(
        "a handshake whose ClientHello was cut in pieces completes, however those come",
        arguments: FragmentationTests.orders, [2, 3, 9])
    func complete(order: [Int], pieces: Int) throws {
        var client = try DTLSTransport(
            role: .client, certificate: Certificates.client, expectedFingerprints: [Certificates.server.fingerprint])
        var server = try DTLSTransport(
            role: .server, certificate: Certificates.server, expectedFingerprints: [Certificates.client.fingerprint])
        server.start(now: .zero)
        client.start(now: .zero)
        let hello = try #require(Self.take(&client).first)
        // As many pieces in this order, and at last all of them that were lost.
        let fragments = ClientHello.cut(hello, into: pieces)
        var sequence = order.flatMap { index in
            index < 0 ? [] : Array(fragments[(index * fragments.count / 2)..<((index + 1) * fragments.count / 2)])
        }
        sequence += fragments
        var record: UInt8 = 0
        var plaintext = PacketBuffer()
        for fragment in sequence {
            var datagram = fragment
            datagram[10] = record
            record += 1
            server.receive(datagram.span.bytes, now: .zero, plaintext: &plaintext)
        }
        // The rest goes without loss; the client's clear records come after those of the pieces.
        for _ in 0..<4 {
            for datagram in Self.take(&server) {
                client.receive(datagram.span.bytes, now: .zero, plaintext: &plaintext)
            }
            for datagram in Self.take(&client) {
                let shifted = Records.split(datagram).flatMap { Records.renumbered($0, by: 100) }
                server.receive(shifted.span.bytes, now: .zero, plaintext: &plaintext)
            }
        }
        let states = (client.state, server.state)
        #expect(states == (.connected, .connected))
    }

    private static func take(_ transport: inout DTLSTransport) -> [[UInt8]] {
        var buffer = PacketBuffer()
        transport.takeOutgoing(into: &buffer)
        return (0..<buffer.count).map { [UInt8](copying: buffer[$0]) }
    }
}

/// Taking datagrams apart.
enum Records {
    /// The records of a datagram.
    static func split(_ datagram: [UInt8]) -> [[UInt8]] {
        var records: [[UInt8]] = []
        var offset = 0
        while offset + 13 <= datagram.count {
            let end = min(offset + 13 + (Int(datagram[offset + 11]) << 8 | Int(datagram[offset + 12])), datagram.count)
            records.append(Array(datagram[offset..<end]))
            offset = end
        }
        return records
    }

    /// A record with another number, if it is unprotected: then nobody can tell.
    static func renumbered(_ record: [UInt8], by offset: UInt8) -> [UInt8] {
        guard record.count >= 13, record[3] == 0, record[4] == 0 else { return record }
        var record = record
        record[10] += offset
        return record
    }
}

/// A ClientHello as browsers with DTLS 1.3 send it: with a post-quantum key share it no longer fits one datagram.
enum ClientHello {
    /// Its two datagrams, with records that are numbered from here.
    static func dtls13InTwo(firstRecord: UInt8) -> [[UInt8]] {
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

        return pieces(of: body, at: [0, 1000, body.count], type: 1).enumerated().map { index, message in
            record(message, number: firstRecord + UInt8(index))
        }
    }

    /// A datagram with one ClientHello in one record, cut in so many; record numbers are left to the caller.
    static func cut(_ datagram: [UInt8], into count: Int) -> [[UInt8]] {
        let body = Array(datagram.dropFirst(13 + 12))
        return pieces(of: body, at: (0...count).map { body.count * $0 / count }, type: datagram[13])
            .map { record($0, number: 0) }
    }

    /// Fragments of a handshake message (RFC 6347 §4.2.2): type, length, message number 0, offset, length of the fragment.
    private static func pieces(of body: [UInt8], at borders: [Int], type: UInt8) -> [[UInt8]] {
        func uint24(_ value: Int) -> [UInt8] { [UInt8(value >> 16), UInt8(value >> 8 & 255), UInt8(value & 255)] }
        return zip(borders, borders.dropFirst()).map { start, end in
            [type] + uint24(body.count) + [0, 0] + uint24(start) + uint24(end - start) + body[start..<end]
        }
    }

    private static func record(_ fragment: [UInt8], number: UInt8) -> [UInt8] {
        [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, number] + [UInt8(fragment.count >> 8), UInt8(fragment.count & 255)]
            + fragment
    }
}
