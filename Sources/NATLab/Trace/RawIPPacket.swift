// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// IP packets made from what a datagram says.
enum RawIPPacket {
    /// RFC 768: UDP's number among the protocols above IP.
    private static let protocolNumber: UInt8 = 17

    /// A datagram as an IPv4 (RFC 791) or IPv6 (RFC 8200) packet with a UDP header (RFC 768), checksums included. A
    /// payload that IP cannot carry is cut short.
    static func udp(_ datagram: Datagram, timeToLive: UInt8) -> [UInt8] {
        let isV6 = datagram.source.ip.family == .v6
        let headers = isV6 ? 48 : 28
        // Both lengths have 16 bits; that of IPv4 counts the IP header.
        let payload = datagram.payload.prefix(65_535 - headers)
        let length = UInt16(payload.count + 8)
        let addresses = datagram.source.ip.bytes + datagram.destination.ip.bytes
        var writer = ByteWriter(capacity: headers + payload.count)
        if isV6 {
            // Version 6, no traffic class, no flow.
            writer.write(bigEndian: UInt32(6) << 28)
            writer.write(bigEndian: length)
            writer.write(protocolNumber)
            writer.write(timeToLive)
        } else {
            // Version 4 and five words of header.
            writer.write(UInt8(0x45))
            writer.write(UInt8(0))
            writer.write(bigEndian: length + 20)
            // No identification; don't fragment.
            writer.write(bigEndian: UInt32(0x4000))
            writer.write(timeToLive)
            writer.write(protocolNumber)
            writer.write(bigEndian: UInt16(0))
        }
        writer.write(addresses)
        if !isV6 { writer.overwrite(bigEndian: checksum(writer.bytes), at: 10) }
        let start = writer.count
        writer.write(bigEndian: datagram.source.port)
        writer.write(bigEndian: datagram.destination.port)
        writer.write(bigEndian: length)
        writer.write(bigEndian: UInt16(0))
        writer.write(payload)
        // The pseudo header; its length and protocol count alike in IPv4's and IPv6's form.
        var pseudo = ByteWriter(capacity: addresses.count + 8 + Int(length))
        pseudo.write(addresses)
        pseudo.write(bigEndian: UInt32(length))
        pseudo.write(bigEndian: UInt32(protocolNumber))
        pseudo.write(writer.bytes[start...])
        let sum = checksum(pseudo.bytes)
        // RFC 768: a sum of zero is sent as all ones, since zero means none.
        writer.overwrite(bigEndian: sum == 0 ? 0xFFFF : sum, at: start + 6)
        return writer.bytes
    }

    /// The Internet checksum (RFC 1071) of bytes.
    static func checksum(_ bytes: [UInt8]) -> UInt16 {
        var sum: UInt64 = 0
        for index in stride(from: 0, to: bytes.count, by: 2) {
            let low = index + 1 < bytes.count ? bytes[index + 1] : 0
            sum += UInt64(bytes[index]) << 8 | UInt64(low)
        }
        while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(truncatingIfNeeded: sum)
    }
}
