// SPDX-License-Identifier: Apache-2.0
public import Wire

/// The two messages of multicast DNS that finding a peer's `….local` name takes: a question for the addresses of a
/// name, and a response that has them (RFC 6762, in the format of RFC 1035 §4).
public enum MDNSMessage {
    /// The record types that hold addresses.
    public enum RecordType: UInt16, CaseIterable, Sendable {
        /// An IPv4 address (RFC 1035 §3.4.1).
        case a = 1
        /// An IPv6 address (RFC 3596 §2.1).
        case aaaa = 28
    }

    /// Where queries go and responses come from (RFC 6762 §3).
    public static let port: UInt16 = 5353
    /// The link's group for IPv4 (RFC 6762 §3).
    public static let group = IPAddress.v4(0xE000_00FB)

    /// The class of the Internet; its top bit says in answers that caches are to be flushed (RFC 6762 §10.2).
    private static let internet: UInt16 = 1
    private static let classBits: UInt16 = 0x7FFF
    /// RFC 1035 §4.1.1: QR, opcode and RCODE of a response without error (RFC 6762 §18.2, §18.3, §18.11).
    private static let flagBits: UInt16 = 0xF80F
    private static let response: UInt16 = 0x8000
    /// More records than a response about one name has.
    private static let mostRecords = 64

    /// A question for one name and one type; `nil` for what is no name (RFC 1035 §3.1). One question a message: there
    /// are responders that read no more.
    public static func query(for name: String, _ type: RecordType) -> [UInt8]? {
        guard let labels = encode(name) else { return nil }
        var writer = ByteWriter(capacity: 12 + labels.count + 4)
        // RFC 6762 §18.1: the identifier is zero; so are all flags of a query.
        for field in [0, 0, 1, 0, 0, 0] as [UInt16] { writer.write(bigEndian: field) }
        writer.write(labels)
        writer.write(bigEndian: type.rawValue)
        writer.write(bigEndian: internet)
        return writer.bytes
    }

    /// The addresses that a response gives for a name, each once. Empty for anything but such a response; records that
    /// say good-bye (RFC 6762 §10.1) are left out.
    public static func addresses(of name: String, in bytes: RawSpan) -> [IPAddress] {
        guard let wanted = encode(name) else { return [] }
        var found: [IPAddress] = []
        // What is cut off or broken ends the reading; what was read before it counts.
        try? read(bytes, wanted: wanted, into: &found)
        return found
    }

    private static func read(
        _ bytes: RawSpan, wanted: [UInt8], into found: inout [IPAddress]
    ) throws(WireError) {
        var reader = ByteReader(bytes)
        try reader.skip(2)
        guard try reader.readUInt16() & flagBits == response else { return }
        let questions = try reader.readUInt16()
        var records = 0
        for _ in 0..<3 { records += Int(try reader.readUInt16()) }
        for _ in 0..<min(Int(questions), mostRecords) {
            guard try readName(&reader, bytes) != nil else { return }
            try reader.skip(4)
        }
        for _ in 0..<min(records, mostRecords) {
            guard let name = try readName(&reader, bytes) else { return }
            let type = try reader.readUInt16()
            let `class` = try reader.readUInt16()
            let lifetime = try reader.readUInt32()
            let data = try reader.readBytes(Int(try reader.readUInt16()))
            guard name == wanted, `class` & classBits == internet, lifetime > 0,
                let address = address(RecordType(rawValue: type), data), !found.contains(address)
            else { continue }
            found.append(address)
        }
    }

    private static func address(_ type: RecordType?, _ data: [UInt8]) -> IPAddress? {
        func number(_ range: Range<Int>) -> UInt64 { data[range].reduce(0) { $0 << 8 | UInt64($1) } }
        return switch (type, data.count) {
        case (.a, 4): .v4(UInt32(truncatingIfNeeded: number(0..<4)))
        case (.aaaa, 16): .v6(high: number(0..<8), low: number(8..<16))
        default: nil
        }
    }

    // MARK: Names

    /// A name as labels with their lengths, in small letters (RFC 6762 §16: case does not count).
    static func encode(_ name: String) -> [UInt8]? {
        var bytes: [UInt8] = []
        for label in name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard (1...63).contains(label.count) else { return nil }
            bytes.append(UInt8(label.count))
            bytes += label.map(lowercased)
        }
        bytes.append(0)
        return bytes.count <= 255 ? bytes : nil
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }

    /// Reads a name, compressed or not (RFC 1035 §4.1.4), in the form of ``encode(_:)``; `nil` for a broken one.
    /// Pointers lead only backwards, so that every chain ends.
    static func readName(_ reader: inout ByteReader, _ message: RawSpan) throws(WireError) -> [UInt8]? {
        var name: [UInt8] = []
        var limit = reader.offset
        var position = limit
        /// Where reading goes on: after the first pointer, or the name's end.
        var end: Int?
        while let length = message.byte(at: position), name.count < 255 {
            if length >= 0xC0 {
                guard let low = message.byte(at: position + 1) else { return nil }
                end = end ?? position + 2
                position = Int(length & 0x3F) << 8 | Int(low)
                guard position < limit else { return nil }
                limit = position
            } else if length == 0 {
                try reader.skip((end ?? position + 1) - reader.offset)
                return name + [0]
            } else {
                guard length < 0x40, position + 1 + Int(length) <= message.byteCount else { return nil }
                name.append(length)
                for index in 1...Int(length) { name.append(lowercased(message.byte(at: position + index) ?? 0)) }
                position += 1 + Int(length)
            }
        }
        return nil
    }
}
