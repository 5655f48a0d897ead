// SPDX-License-Identifier: Apache-2.0
public import Wire

//   section header ─ interface ─ interface ─ … ─ secrets ─ packet ─ packet ─ interface ─ packet ─ …
//
//   0                   1                   2                   3
//   | block type                                                    |   draft-ietf-opsawg-pcapng §3.1; all numbers here
//   | total length, a multiple of 4                                 |   are little-endian, which the section header tells
//   | body, padded ...                                              |
//   | options: code, length, value padded, ..., 0, 0                |
//   | total length again                                            |

/// A capture file in the pcapng format, which Wireshark opens: UDP datagrams at named places, each with an optional
/// comment.
///
/// Files hold whole IP packets without a link layer. Their headers are made from addresses, with right checksums.
/// Secrets of DTLS must stand before the packets that they decrypt.
///
///     var capture = PCAPNG(application: "dreamer")
///     let router = capture.addInterface("router, outside")
///     capture.add(datagram, at: now, interface: router, comment: "dropped by the filter")
///     write(capture.bytes)
public struct PCAPNG: Sendable {
    /// draft-ietf-opsawg-pcapng §4: types of blocks.
    private enum Block: UInt32 {
        case sectionHeader = 0x0A0D_0D0A
        case interfaceDescription = 1
        case enhancedPacket = 6
        case decryptionSecrets = 10
    }

    /// draft-ietf-opsawg-pcapng §3.5, §4.1, §4.2: codes of options.
    private enum Option: UInt16 {
        case end = 0
        case comment = 1
        case name = 2
        case description = 3
        /// In the section header: the application. In an interface's description it would be another one.
        case application = 4
        case timeResolution = 9
    }

    /// Told in the section header so that a reader finds out the order of bytes.
    private static let byteOrderMagic: UInt32 = 0x1A2B_3C4D
    /// LINKTYPE_RAW: an IPv4 or IPv6 packet.
    private static let rawIP: UInt16 = 101
    /// draft-ietf-opsawg-pcapng §4.7: "TLSK", lines as NSS writes them to the file that SSLKEYLOGFILE names.
    private static let tlsKeyLog: UInt32 = 0x544C_534B
    /// The longest comment, in bytes: an option's length has 16 bits.
    private static let longestComment = 65_000

    /// The file so far, but for what ``takeBytes()`` took; it ends with a whole block after every call.
    public private(set) var bytes: [UInt8]
    /// How many interfaces have been added.
    public private(set) var interfaceCount = 0
    /// What time zero of the packets is, in nanoseconds since 1970.
    private let epoch: Int64

    /// A file without packets. `epoch` is the time, in nanoseconds since 1970, that the packets' timestamps count from.
    public init(application: String = "dreamer", epoch: Int64 = 0) {
        self.epoch = epoch
        var body = ByteWriter(capacity: 64)
        body.write(littleEndian: PCAPNG.byteOrderMagic)
        // Version 1.0, and a section of unknown length.
        body.write(littleEndian: UInt16(1))
        body.write(littleEndian: UInt16(0))
        body.write(littleEndian: Int64(-1))
        PCAPNG.write(.application, Array(application.utf8), to: &body)
        PCAPNG.endOptions(&body)
        bytes = []
        append(.sectionHeader, body)
    }

    /// Adds a place where packets are seen; answers the number by which packets name it.
    @discardableResult
    public mutating func addInterface(_ name: String, description: String? = nil) -> Int {
        var body = ByteWriter(capacity: 64)
        body.write(littleEndian: PCAPNG.rawIP)
        body.write(littleEndian: UInt16(0))
        // Packets are never cut short.
        body.write(littleEndian: UInt32(0))
        PCAPNG.write(.name, Array(name.utf8), to: &body)
        if let description { PCAPNG.write(.description, Array(description.utf8), to: &body) }
        // Times are in units of 10⁻⁹ seconds.
        PCAPNG.write(.timeResolution, [9], to: &body)
        PCAPNG.endOptions(&body)
        append(.interfaceDescription, body)
        interfaceCount += 1
        return interfaceCount - 1
    }

    /// Adds what decrypts DTLS: lines as they stand in a file that SSLKEYLOGFILE names.
    public mutating func addSecrets(keyLog: [UInt8]) {
        var body = ByteWriter(capacity: keyLog.count + 16)
        body.write(littleEndian: PCAPNG.tlsKeyLog)
        body.write(littleEndian: UInt32(keyLog.count))
        body.write(keyLog)
        body.writeZeros(PCAPNG.padding(keyLog.count))
        append(.decryptionSecrets, body)
    }

    /// Adds a datagram as an IP packet with a UDP header.
    public mutating func add(
        _ datagram: Datagram, at time: Timestamp, interface: Int, timeToLive: UInt8 = 64, comment: String? = nil
    ) {
        add(
            packet: RawIPPacket.udp(datagram, timeToLive: timeToLive), at: time, interface: interface, comment: comment)
    }

    /// Adds a whole IP packet.
    public mutating func add(packet: [UInt8], at time: Timestamp, interface: Int, comment: String? = nil) {
        precondition((0..<interfaceCount).contains(interface), "a packet is seen at an interface of the file")
        var body = ByteWriter(capacity: packet.count + 64)
        let stamp = UInt64(bitPattern: epoch &+ time.nanoseconds)
        body.write(littleEndian: UInt32(interface))
        body.write(littleEndian: UInt32(truncatingIfNeeded: stamp >> 32))
        body.write(littleEndian: UInt32(truncatingIfNeeded: stamp))
        body.write(littleEndian: UInt32(packet.count))
        body.write(littleEndian: UInt32(packet.count))
        body.write(packet)
        body.writeZeros(PCAPNG.padding(packet.count))
        if let comment {
            PCAPNG.write(.comment, Array(comment.utf8.prefix(PCAPNG.longestComment)), to: &body)
            PCAPNG.endOptions(&body)
        }
        append(.enhancedPacket, body)
    }

    /// Takes away what is there so far, to be written behind what was taken before: so that a long capture stays small
    /// here.
    public mutating func takeBytes() -> [UInt8] {
        defer { bytes = [] }
        return bytes
    }

    // MARK: - Blocks

    private mutating func append(_ block: Block, _ body: ByteWriter) {
        var writer = ByteWriter(capacity: body.count + 12)
        let length = UInt32(body.count + 12)
        writer.write(littleEndian: block.rawValue)
        writer.write(littleEndian: length)
        writer.write(body.bytes)
        writer.write(littleEndian: length)
        bytes += writer.bytes
    }

    private static func write(_ option: Option, _ value: [UInt8], to body: inout ByteWriter) {
        let value = value.prefix(Int(UInt16.max))
        body.write(littleEndian: option.rawValue)
        body.write(littleEndian: UInt16(value.count))
        body.write(value)
        body.writeZeros(padding(value.count))
    }

    private static func endOptions(_ body: inout ByteWriter) { write(.end, [], to: &body) }

    private static func padding(_ count: Int) -> Int { (4 - count & 3) & 3 }
}
