// SPDX-License-Identifier: Apache-2.0
internal import Wire

// The other side of multicast DNS: reading questions and writing answers.
extension MDNSMessage {
    /// A question for an address.
    public struct Question: Hashable, Sendable {
        /// The name as labels with their lengths, in small letters.
        let name: [UInt8]
        /// The type asked for; `nil` for any (RFC 1035 §3.2.3).
        public let type: RecordType?
        /// Whether an answer to the asker alone is wanted (RFC 6762 §5.4).
        public let wantsUnicast: Bool
    }

    /// Seconds that caches may keep an address: RFC 6762 §10 for records with a host's name.
    static let lifetime: UInt32 = 120
    /// The same toward who is no multicast DNS (RFC 6762 §6.7).
    static let legacyLifetime: UInt32 = 10
    /// Any type (RFC 1035 §3.2.3).
    private static let anyType: UInt16 = 255
    /// The top bit of a class: in questions an answer to the asker alone is wanted, in answers caches are to be flushed
    /// (RFC 6762 §5.4, §10.2).
    private static let topBit: UInt16 = 0x8000

    /// The questions for addresses in a query, a few of them, and its identifier; `nil` for anything but a query.
    public static func questions(in bytes: RawSpan) -> (id: UInt16, questions: [Question])? {
        var found: [Question] = []
        var reader = ByteReader(bytes)
        do throws(WireError) {
            let id = try reader.readUInt16()
            // RFC 6762 §18.2 to §18.3: QR and opcode are zero; truncated known answers do not matter here.
            guard try reader.readUInt16() & 0xF800 == 0 else { return nil }
            let count = try reader.readUInt16()
            try reader.skip(6)
            questions: for _ in 0..<min(Int(count), mostQuestions) {
                guard let name = try readName(&reader, bytes) else { break questions }
                let type = try reader.readUInt16()
                let `class` = try reader.readUInt16()
                // RFC 6762 §6: class 1, or any.
                guard `class` & ~topBit == 1 || `class` & ~topBit == 255,
                    type == anyType || RecordType(rawValue: type) != nil
                else { continue }
                found.append(
                    Question(name: name, type: RecordType(rawValue: type), wantsUnicast: `class` & topBit != 0))
            }
            return (id, found)
        } catch {
            // What was read before the end counts.
            return found.isEmpty ? nil : (0, found)
        }
    }

    /// More questions than a query for addresses has.
    private static let mostQuestions = 16

    /// A response that tells what names stand for. `lifetime` 0 says good-bye (RFC 6762 §10.1). `nil` where there is
    /// nothing to tell.
    public static func response(_ hosts: [HostName], lifetime: UInt32 = 120) -> [UInt8]? {
        write(hosts, id: 0, question: nil, lifetime: lifetime, flushes: true)
    }

    /// The answer to a query that came from another port than that of multicast DNS: with its identifier and question,
    /// and no demand on caches (RFC 6762 §6.7).
    static func legacyResponse(_ host: HostName, id: UInt16, question: Question) -> [UInt8]? {
        write([host], id: id, question: question, lifetime: legacyLifetime, flushes: false)
    }

    private static func write(
        _ hosts: [HostName], id: UInt16, question: Question?, lifetime: UInt32, flushes: Bool
    ) -> [UInt8]? {
        let records = hosts.compactMap { host in encode(host.name).map { (name: $0, address: host.address) } }
        guard !records.isEmpty else { return nil }
        var writer = ByteWriter(capacity: 12 + 80 * records.count)
        writer.write(bigEndian: id)
        // RFC 6762 §18.2, §18.4: a response that is authoritative.
        writer.write(bigEndian: UInt16(0x8400))
        for count in [question == nil ? 0 : 1, records.count, 0, 0] { writer.write(bigEndian: UInt16(count)) }
        if let question {
            writer.write(question.name)
            writer.write(bigEndian: question.type?.rawValue ?? anyType)
            writer.write(bigEndian: UInt16(1))
        }
        for record in records {
            let type: RecordType = record.address.family == .v4 ? .a : .aaaa
            writer.write(record.name)
            writer.write(bigEndian: type.rawValue)
            writer.write(bigEndian: flushes ? 1 | topBit : 1)
            writer.write(bigEndian: lifetime)
            writer.write(bigEndian: UInt16(record.address.bytes.count))
            writer.write(record.address.bytes)
        }
        return writer.bytes
    }
}
