// SPDX-License-Identifier: Apache-2.0
internal import CUSRSCTP

/// CRC32c of packets (RFC 9260 §6.8 and Appendix A). usrsctp neither computes nor verifies it here.
enum SCTPChecksum {
    /// Whether the processor has instructions for it.
    static let hasHardware = cusrsctp_has_hardware_crc32c() != 0

    /// The checksum of a packet of at least 12 bytes, whatever stands in its field.
    static func of(_ packet: UnsafeRawBufferPointer, hardware: Bool = hasHardware) -> UInt32 {
        cusrsctp_packet_checksum(packet.baseAddress, packet.count, hardware ? 1 : 0)
    }

    /// Whether the field of a packet of at least 12 bytes holds its checksum.
    static func isCorrect(_ packet: UnsafeRawBufferPointer) -> Bool {
        of(packet) == cusrsctp_read_checksum(packet.baseAddress)
    }

    /// Writes the checksum into a packet of at least 12 bytes.
    static func write(into packet: UnsafeMutableRawBufferPointer) {
        cusrsctp_write_checksum(packet.baseAddress, of(UnsafeRawBufferPointer(packet)))
    }
}
