// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension PCAPNG {
    /// LINKTYPE_ETHERNET.
    private static let ethernet: UInt32 = 1
    /// IEEE 802.3: two addresses and a type.
    private static let ethernetHeader = 14
    /// The types of IPv4 and IPv6.
    private static let internetTypes: Set<UInt16> = [0x0800, 0x86DD]
    /// What a file with times in microseconds begins with, and one with times in nanoseconds
    /// (draft-ietf-opsawg-pcap §4).
    private static let magics: [UInt32: Int64] = [0xA1B2_C3D4: 1000, 0xA1B2_3C4D: 1]

    /// Adds the IP packets of a file that libpcap wrote on a host of the same order of bytes, as seen at one place;
    /// frames of other protocols are left out, and what is cut off at the end. Throws where it is no such file.
    public mutating func add(libpcap file: [UInt8], at place: String) throws {
        var reader = ByteReader(file.span.bytes)
        guard let magic = try? reader.readUInt32LE(), let unit = Self.magics[magic], (try? reader.skip(16)) != nil,
            let link = try? reader.readUInt32LE(), link == Self.ethernet
        else { throw KernelNetwork.Failure("what was captured at \(place) is no libpcap file of Ethernet frames") }
        let interface = addInterface(place)
        while let seconds = try? reader.readUInt32LE(), let fraction = try? reader.readUInt32LE(),
            let count = try? reader.readUInt32LE(), (try? reader.skip(4)) != nil,
            let frame = try? reader.readBytes(Int(count))
        {
            guard frame.count > Self.ethernetHeader,
                Self.internetTypes.contains(UInt16(frame[12]) << 8 | UInt16(frame[13]))
            else { continue }
            add(
                packet: Array(frame[Self.ethernetHeader...]),
                at: Timestamp(nanoseconds: Int64(seconds) * 1_000_000_000 + Int64(fraction) &* unit),
                interface: interface)
        }
    }
}
