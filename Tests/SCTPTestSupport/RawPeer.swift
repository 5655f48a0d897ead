// SPDX-License-Identifier: Apache-2.0
public import SCTP
public import Wire

/// The far end of an association that is up, without a stack behind it: it says what it is told to, under the right ports,
/// verification tag, checksum and, where wanted, transmission sequence number.
public struct RawPeer {
    private var tag: UInt32 = 0
    /// The number that its next DATA chunk should have.
    public var nextTSN: UInt32 = 0
    /// The next number of its requests to reset streams, which start like the others (RFC 6525 §4.1).
    public private(set) var nextRequest: UInt32 = 0
    /// The newest number that the victim sent.
    public private(set) var newestSeen: UInt32 = 0

    /// Has `victim`, which is not connected yet, shake hands with an honest stack, and goes on in that one's place. `nil`
    /// where the handshake does not end at once.
    public init?(connecting victim: inout DataChannelMultiplexer) {
        Timeline.enter()
        let role: DataChannelMultiplexer.Role = victim.configuration.role == .client ? .server : .client
        guard var honest = try? DataChannelMultiplexer(configuration: .init(role: role)),
            (try? victim.connect()) != nil, (try? honest.connect()) != nil
        else { return nil }
        var message = MessageBuffer()
        var packets = PacketBuffer()
        for _ in 0..<6 {
            packets.removeAll()
            honest.takeOutgoing(into: &packets)
            for index in 0..<packets.count {
                let packet = [UInt8](copying: packets[index])
                // An INIT has none.
                if Self.number(packet, 4) != 0 { tag = Self.number(packet, 4) }
                if Self.isInit(packet) { nextTSN = Self.number(packet, 28) }
            }
            victim.receive(batch: packets)
            while victim.nextEvent(into: &message) != nil {}
            packets.removeAll()
            victim.takeOutgoing(into: &packets)
            note(packets)
            honest.receive(batch: packets)
            while honest.nextEvent(into: &message) != nil {}
        }
        honest.abort()
        nextRequest = nextTSN
        guard victim.isUp, tag != 0 else { return nil }
    }

    /// Notes the newest DATA chunk of the victim's packets.
    public mutating func note(_ packets: borrowing PacketBuffer) {
        for index in 0..<packets.count {
            let packet = [UInt8](copying: packets[index])
            if Self.isInit(packet) { newestSeen = Self.number(packet, 28) &- 1 }
            if packet.count >= 28, packet[12] == 0 { newestSeen = Self.number(packet, 16) }
        }
    }

    /// A packet with these chunks.
    public func packet(_ chunks: [UInt8]) -> [UInt8] {
        var packet = [0x13, 0x88, 0x13, 0x88] + Self.bytes(tag) + [0, 0, 0, 0] + chunks
        while packet.count < 16 || packet.count % 4 != 0 { packet.append(0) }
        let checksum = Self.crc32c(packet)
        withUnsafeBytes(of: checksum.littleEndian) { packet.replaceSubrange(8..<12, with: $0) }
        return packet
    }

    /// A DATA chunk (RFC 9260 §3.3.1); the flags are U = 4, B = 2, E = 1.
    public func data(
        tsn: UInt32, flags: UInt8 = 3, stream: UInt16, sequence: UInt16 = 0, ppid: UInt8, _ bytes: [UInt8]
    ) -> [UInt8] {
        let chunk =
            [0, flags] + Self.bytes(UInt16(clamping: 16 + bytes.count)) + Self.bytes(tsn) + Self.bytes(stream)
            + Self.bytes(sequence) + [0, 0, 0, ppid] + bytes
        return chunk + [UInt8](repeating: 0, count: (4 - chunk.count % 4) % 4)
    }

    /// A message in one chunk, with the next number.
    public mutating func message(
        stream: UInt16, flags: UInt8 = 3, sequence: UInt16 = 0, ppid: UInt8, _ bytes: [UInt8]
    ) -> [UInt8] {
        defer { nextTSN &+= 1 }
        return packet(data(tsn: nextTSN, flags: flags, stream: stream, sequence: sequence, ppid: ppid, bytes))
    }

    /// A request to reset the peer's outgoing streams, with the next number (RFC 6525 §4.1).
    public mutating func reset(streams: [UInt16]) -> [UInt8] {
        defer { nextRequest &+= 1 }
        let parameter =
            [0, 13] + Self.bytes(UInt16(16 + 2 * streams.count)) + Self.bytes(nextRequest)
            + Self.bytes(UInt32(0)) + Self.bytes(nextTSN &- 1) + streams.flatMap { Self.bytes($0) }
        return packet([130, 0] + Self.bytes(UInt16(4 + parameter.count)) + parameter)
    }

    /// A SACK of all that was seen, with a window (RFC 9260 §3.3.4).
    public func acknowledgement(window: UInt32) -> [UInt8] {
        packet([3, 0, 0, 16] + Self.bytes(newestSeen) + Self.bytes(window) + [0, 0, 0, 0])
    }

    /// INIT and INIT ACK carry the first number (RFC 9260 §3.3.2).
    private static func isInit(_ packet: [UInt8]) -> Bool { packet.count >= 32 && (packet[12] == 1 || packet[12] == 2) }

    private static func number(_ packet: [UInt8], _ offset: Int) -> UInt32 {
        packet[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    private static func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { [UInt8]($0) }
    }

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { crc, _ in crc >> 1 ^ (crc & 1 == 1 ? 0x82F6_3B78 : 0) }
    }

    /// RFC 9260 Appendix A.
    private static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(0xFFFF_FFFF) { table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] ^ $0 >> 8 }
    }
}
