// SPDX-License-Identifier: Apache-2.0
import ICE
import TestSupport
import Testing
import Wire

/// Multicast DNS as far as it finds a peer's address (RFC 6762, RFC 1035).
struct MDNSTests {
    private static let name = "4a4b9e1f-0d7e-4c2a.local"

    /// A response with records, each a name (as bytes), a type, a class, a lifetime and data.
    private static func response(
        flags: UInt16 = 0x8400, questions: [[UInt8]] = [],
        _ records: [(name: [UInt8], type: UInt16, class: UInt16, lifetime: UInt32, data: [UInt8])],
        counted: UInt16? = nil
    ) -> [UInt8] {
        var writer = ByteWriter()
        for field: UInt16 in [0, flags, UInt16(questions.count), counted ?? UInt16(records.count), 0, 0] {
            writer.write(bigEndian: field)
        }
        for question in questions {
            writer.write(question)
            writer.write([0, 1, 0, 1])
        }
        for record in records {
            writer.write(record.name)
            writer.write(bigEndian: record.type)
            writer.write(bigEndian: record.class)
            writer.write(bigEndian: record.lifetime)
            writer.write(bigEndian: UInt16(record.data.count))
            writer.write(record.data)
        }
        return writer.bytes
    }

    private static func labels(_ name: String) -> [UInt8] {
        name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
    }

    private func addresses(_ bytes: [UInt8], of name: String = MDNSTests.name) -> [IPAddress] {
        MDNSMessage.addresses(of: name, in: bytes.span.bytes)
    }

    @Test("a question is written as RFC 1035 has it, without identifier and flags")
    func query() throws {
        let bytes = try #require(MDNSMessage.query(for: "Ab.local", .aaaa))
        #expect(
            bytes == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0x61, 0x62, 5] + Array("local".utf8) + [0, 0, 28, 0, 1])
        #expect(MDNSMessage.query(for: "a..local", .a) == nil)
        #expect(MDNSMessage.query(for: String(repeating: "a", count: 64) + ".local", .a) == nil)
        #expect(MDNSMessage.query(for: Array(repeating: "abcdefghi", count: 30).joined(separator: "."), .a) == nil)
    }

    @Test("addresses are read, whatever the case of the name and with the cache-flush bit")
    func answer() {
        let bytes = Self.response([
            (Self.labels("other.local"), 1, 1, 120, [10, 0, 0, 9]),
            (Self.labels(Self.name.uppercased()), 1, 0x8001, 120, [10, 0, 0, 1]),
            (Self.labels(Self.name), 28, 1, 120, [0xFD] + [UInt8](repeating: 0, count: 14) + [1]),
            (Self.labels(Self.name), 1, 1, 120, [10, 0, 0, 1]),
            (Self.labels(Self.name), 47, 1, 120, [1, 2, 3]),
        ])
        #expect(addresses(bytes) == [.v4(0x0A00_0001), .v6(high: 0xFD00_0000_0000_0000, low: 1)])
    }

    @Test("names may be compressed, after the question or after each other")
    func compression() {
        // At 12 the question's name; "local" is its second label.
        let local = UInt8(12 + 1 + Self.name.utf8.count - ".local".utf8.count)
        let own = Array(Self.labels(Self.name).dropLast(7))
        let bytes = Self.response(
            questions: [Self.labels(Self.name)],
            [([0xC0, 12], 1, 1, 120, [10, 0, 0, 1]), (own + [0xC0, local], 1, 1, 120, [10, 0, 0, 2])])
        #expect(addresses(bytes) == [.v4(0x0A00_0001), .v4(0x0A00_0002)])
    }

    @Test("queries, errors, good-byes, other classes and addresses of a wrong length give nothing")
    func nothing() {
        let record = (Self.labels(Self.name), UInt16(1), UInt16(1), UInt32(120), [UInt8]([10, 0, 0, 1]))
        #expect(addresses(Self.response(flags: 0, [record])).isEmpty)
        #expect(addresses(Self.response(flags: 0x8403, [record])).isEmpty)
        #expect(addresses(Self.response([(record.0, 1, 1, 0, record.4)])).isEmpty)
        #expect(addresses(Self.response([(record.0, 1, 3, 120, record.4)])).isEmpty)
        #expect(addresses(Self.response([(record.0, 1, 1, 120, [10, 0, 0])])).isEmpty)
        #expect(addresses(Self.response([record]), of: "else.local").isEmpty)
    }

    @Test("pointers that lead forward, to themselves or out of the message end the reading")
    func pointers() {
        for target in [12, 13, 14, 200] as [UInt8] {
            let bytes = Self.response([([0xC0, target], 1, 1, 120, [10, 0, 0, 1])])
            #expect(addresses(bytes).isEmpty)
        }
        // A chain of labels that would be longer than a name can be.
        let long = [UInt8](repeating: 0, count: 0) + (0..<5).flatMap { _ in [63] + [UInt8](repeating: 0x61, count: 63) }
        #expect(addresses(Self.response([(long + [0], 1, 1, 120, [10, 0, 0, 1])])).isEmpty)
    }

    @Test("what is cut short, changed or invented neither traps nor hangs", arguments: [UInt64(1), 2, 3])
    func malformed(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        let good = Self.response(
            questions: [Self.labels(Self.name)],
            [
                ([0xC0, 12], 1, 1, 120, [10, 0, 0, 1]),
                (Self.labels(Self.name), 28, 1, 120, [UInt8](repeating: 1, count: 16)),
            ])
        for end in 0..<good.count { #expect(addresses(Array(good[..<end])).count <= 1, "seed \(seed)") }
        for _ in 0..<5000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...8, using: &entropy) {
                bytes[Int.random(in: 0..<bytes.count, using: &entropy)] = UInt8(truncatingIfNeeded: entropy.next())
            }
            #expect(addresses(bytes).count <= 2, "seed \(seed)")
            _ = addresses(entropy.bytes(Int.random(in: 0..<80, using: &entropy)))
        }
        // More records are announced than there are.
        _ = addresses(Self.response([(Self.labels("a.local"), 1, 1, 120, [10, 0, 0, 1])], counted: 0xFFFF))
    }

    // MARK: - The lookup

    private static let source = SocketAddress(ip: .v4(0x0A00_0002), port: 5353)
    private static let start = Timestamp(nanoseconds: 1_000_000_000)

    private func drain(_ lookup: inout MDNSLookup) -> (sent: [Datagram], events: [MDNSLookup.Event], next: Timestamp?) {
        var (sent, events): ([Datagram], [MDNSLookup.Event]) = ([], [])
        while true {
            switch lookup.nextOutput() {
            case .transmit(let datagram): sent.append(datagram)
            case .event(let event): events.append(event)
            case .wait(let until): return (sent, events, until)
            }
        }
    }

    @Test("questions for both kinds of address go out at 0, 1 and 3 seconds, and 5 seconds are enough")
    func schedule() {
        var lookup = MDNSLookup(name: Self.name, sources: [Self.source], now: Self.start)
        var sent: [Duration] = []
        var now = Self.start
        while true {
            let (datagrams, events, next) = drain(&lookup)
            #expect(
                datagrams.allSatisfy { $0.source == Self.source && $0.destination.description == "224.0.0.251:5353" })
            sent += datagrams.map { _ in now - Self.start }
            guard let next else {
                #expect(events == [.notFound] && now - Self.start == .seconds(5))
                break
            }
            now = next
            lookup.handleTimeout(now: now)
        }
        #expect(sent == [0, 0, 1, 1, 3, 3].map { .seconds($0) })
    }

    @Test("the first useful response from port 5353 counts, once")
    func found() {
        var lookup = MDNSLookup(name: Self.name, sources: [Self.source], now: Self.start)
        _ = drain(&lookup)
        let bytes = Self.response([(Self.labels(Self.name), 1, 1, 120, [10, 0, 0, 1])])
        let peer = SocketAddress(ip: .v4(0x0A00_0001), port: 5353)
        let now = Self.start + .milliseconds(30)
        lookup.receive(bytes.span.bytes, from: .init(ip: peer.ip, port: 5354), to: Self.source, now: now)
        #expect(drain(&lookup).events.isEmpty)
        lookup.receive(bytes.span.bytes, from: peer, to: Self.source, now: now)
        lookup.receive(bytes.span.bytes, from: peer, to: Self.source, now: now)
        let (_, events, next) = drain(&lookup)
        #expect(events == [.found([.v4(0x0A00_0001)])] && next == nil)
        lookup.handleTimeout(now: now + .seconds(60))
        #expect(drain(&lookup).events.isEmpty)
    }

    @Test("without a link, or for what is no name, nothing is found at once")
    func nowhere() {
        var lookup = MDNSLookup(name: Self.name, sources: [], now: Self.start)
        #expect(drain(&lookup).events == [.notFound])
        var other = MDNSLookup(name: "..", sources: [Self.source], now: Self.start)
        #expect(drain(&other).events == [.notFound])
    }
}
