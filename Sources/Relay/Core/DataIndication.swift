// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import ICE
internal import Wire

/// Send and Data indications (RFC 8656 §11), read and written in place: they carry every packet of clients that bind no
/// channels.
enum DataIndication {
    /// What stands in a Send indication.
    struct Sent {
        let peer: SocketAddress
        /// Where the payload lies.
        let data: Range<Int>
        let dontFragment: Bool
    }

    /// The first two bytes: method 6, class indication.
    private static let sendType: UInt16 = 0x0016
    /// Method 7, class indication.
    private static let dataType: UInt16 = 0x0017

    /// Whether `bytes` begin like a Send indication.
    @inline(__always)
    static func isSend(_ bytes: RawSpan) -> Bool {
        bytes.byte(at: 0) == 0 && bytes.byte(at: 1) == UInt8(sendType) && STUNMessage.isSTUN(bytes)
    }

    /// Reads a Send indication; `nil` for one that is malformed, lacks a part, or holds what must be understood and is
    /// not.
    static func readSend(_ bytes: RawSpan) -> Sent? {
        guard let id = STUNMessage.transactionID(in: bytes) else { return nil }
        var reader = ByteReader(bytes)
        var peer: SocketAddress?
        var data: Range<Int>?
        var dontFragment = false
        do throws(WireError) {
            try reader.skip(2)
            guard Int(try reader.readUInt16()) == bytes.byteCount - STUNMessage.headerLength, bytes.byteCount & 3 == 0
            else { return nil }
            try reader.skip(16)
            var isProtected = true
            while reader.remaining > 0 {
                let start = reader.offset
                let kind = STUNAttribute.Kind(rawValue: try reader.readUInt16())
                let length = Int(try reader.readUInt16())
                let value = reader.offset..<reader.offset + length
                try reader.skip((length + 3) & ~3)
                switch kind {
                case .fingerprint:
                    guard length == 4, reader.remaining == 0 else { return nil }
                    var claimed = ByteReader(bytes.extracting(value))
                    // RFC 8489 §14.7.
                    guard try claimed.readUInt32() == CRC32.checksum(bytes.extracting(0..<start)) ^ 0x5354_554E else {
                        return nil
                    }
                case _ where !isProtected:
                    break
                case .messageIntegrity, .messageIntegritySHA256:
                    // Indications are not authenticated; what stands behind such an attribute does not count (RFC 8489
                    // §14.5).
                    isProtected = false
                case .xorPeerAddress:
                    if peer == nil {
                        guard let address = PeerAddress.read(bytes.extracting(value), id) else { return nil }
                        peer = address
                    }
                case .data:
                    if data == nil { data = value }
                case .dontFragment:
                    dontFragment = true
                default:
                    if kind.isComprehensionRequired { return nil }
                }
            }
        } catch {
            return nil
        }
        guard let peer, let data else { return nil }
        return Sent(peer: peer, data: data, dontFragment: dontFragment)
    }

    /// Bytes before the payload of a Data indication.
    static func headerLength(_ family: IPAddress.Family) -> Int {
        STUNMessage.headerLength + 4 + PeerAddress.length(family) + 4
    }

    /// Writes a Data indication, whose payload may be empty, and answers how long it is.
    static func writeData(
        _ data: RawSpan, from peer: SocketAddress, _ id: STUNTransactionID, into room: UnsafeMutableRawBufferPointer
    ) -> Int {
        let padded = (data.byteCount + 3) & ~3
        var offset = writeHeader(from: peer, following: 4 + padded, id, into: room)
        room.store(STUNAttribute.Kind.data.rawValue, at: offset)
        room.store(UInt16(truncatingIfNeeded: data.byteCount), at: offset + 2)
        offset += 4
        data.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: room[offset...]).copyMemory(from: $0) }
        for index in data.byteCount..<padded { room[offset + index] = 0 }
        return offset + padded
    }

    /// Writes a Data indication that tells of an ICMP error instead (RFC 8656 §18.13): seven bits of type, nine of
    /// code.
    static func writeError(
        type: UInt8, code: UInt8, information: UInt32, about peer: SocketAddress, _ id: STUNTransactionID,
        into room: UnsafeMutableRawBufferPointer
    ) -> Int {
        let offset = writeHeader(from: peer, following: 12, id, into: room)
        room.store(STUNAttribute.Kind.icmp.rawValue, at: offset)
        room.store(UInt16(8), at: offset + 2)
        room.store(UInt16(0), at: offset + 4)
        room.store(UInt16(type & 127) << 9 | UInt16(code), at: offset + 6)
        room.store(information, at: offset + 8)
        return offset + 12
    }

    private static func writeHeader(
        from peer: SocketAddress, following: Int, _ id: STUNTransactionID, into room: UnsafeMutableRawBufferPointer
    ) -> Int {
        let addressLength = PeerAddress.length(peer.ip.family)
        room.store(dataType, at: 0)
        room.store(UInt16(truncatingIfNeeded: 4 + addressLength + following), at: 2)
        room.store(STUNMessage.magicCookie, at: 4)
        room.store(id.high, at: 8)
        room.store(id.low, at: 12)
        room.store(STUNAttribute.Kind.xorPeerAddress.rawValue, at: 20)
        room.store(UInt16(addressLength), at: 22)
        PeerAddress.write(peer, id, into: room, at: 24)
        return 24 + addressLength
    }
}
