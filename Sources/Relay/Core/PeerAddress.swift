// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// The value of address attributes: a byte of nothing, the family, the port, the address (RFC 8489 §14.1), in the
/// masked form (§14.2) exclusive-or'd with the cookie and the transaction.
enum PeerAddress {
    private static let portMask = UInt16(truncatingIfNeeded: STUNMessage.magicCookie >> 16)

    /// Bytes of a value.
    static func length(_ family: IPAddress.Family) -> Int { family == .v4 ? 8 : 20 }

    /// The value as it is.
    static func plain(_ address: SocketAddress) -> [UInt8] {
        var writer = ByteWriter(capacity: 20)
        writer.write(UInt16(address.ip.family == .v4 ? 1 : 2).bigEndianBytes)
        writer.write(bigEndian: address.port)
        writer.write(address.ip.bytes)
        return writer.bytes
    }

    /// Reads a masked value; `nil` for one of another length or family.
    static func read(_ value: RawSpan, _ id: STUNTransactionID) -> SocketAddress? {
        var reader = ByteReader(value)
        guard (try? reader.skip(1)) != nil, let family = try? reader.readUInt8(), let port = try? reader.readUInt16()
        else { return nil }
        let cookie = STUNMessage.magicCookie
        switch (family, value.byteCount) {
        case (1, 8):
            guard let bits = try? reader.readUInt32() else { return nil }
            return SocketAddress(ip: .v4(bits ^ cookie), port: port ^ portMask)
        case (2, 20):
            guard let high = try? reader.readUInt64(), let low = try? reader.readUInt64() else { return nil }
            let mask = UInt64(cookie) << 32 | UInt64(id.high)
            return SocketAddress(ip: .v6(high: high ^ mask, low: low ^ id.low), port: port ^ portMask)
        default:
            return nil
        }
    }

    /// Writes a masked value at `offset`.
    static func write(
        _ address: SocketAddress, _ id: STUNTransactionID, into room: UnsafeMutableRawBufferPointer, at offset: Int
    ) {
        let cookie = STUNMessage.magicCookie
        room.store(UInt16(address.ip.family == .v4 ? 1 : 2), at: offset)
        room.store(address.port ^ portMask, at: offset + 2)
        if let bits = address.ip.v4Bits {
            room.store(bits ^ cookie, at: offset + 4)
        } else {
            room.store(address.ip.high ^ (UInt64(cookie) << 32 | UInt64(id.high)), at: offset + 4)
            room.store(address.ip.low ^ id.low, at: offset + 12)
        }
    }
}

extension UnsafeMutableRawBufferPointer {
    /// Writes a number in network order.
    @inline(__always)
    func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: offset, as: T.self)
    }
}

extension UInt16 {
    fileprivate var bigEndianBytes: [UInt8] { [UInt8(truncatingIfNeeded: self >> 8), UInt8(truncatingIfNeeded: self)] }
}
