// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A packet on its way through a virtual network.
struct VirtualPacket: Sendable {
    /// Which one: copies share the number.
    let number: UInt64
    /// Whether it is an ICMP error: about a packet that went the other way, from `destination` to `source`.
    let isError: Bool
    var source: SocketAddress
    var destination: SocketAddress
    var timeToLive: Int
    let payload: [UInt8]

    /// The length of the IP packet: a UDP datagram's headers have 28 bytes with IPv4 and 48 with IPv6 (RFC 768, 791,
    /// 8200); an ICMP error repeats them behind as many of its own.
    var byteCount: Int {
        let headers = destination.ip.family == .v6 ? 48 : 28
        return isError ? 2 * headers : payload.count + headers
    }
}

/// The packets that wait on links, each under a number: links move numbers, not packets.
struct PacketStore: Sendable {
    private struct Place: Sendable {
        var packet: VirtualPacket
        /// How many times the number will come out again.
        var copies: Int
    }

    private var places: [Place] = []
    private var free: [Int] = []

    /// The number that the next packet stored gets.
    var nextNumber: Int { free.last ?? places.count }

    /// Keeps a packet of which `copies` will come out.
    mutating func store(_ packet: VirtualPacket, copies: Int) {
        let place = Place(packet: packet, copies: copies)
        if let number = free.popLast() { places[number] = place } else { places.append(place) }
    }

    /// Takes one copy out.
    mutating func take(_ number: Int) -> VirtualPacket {
        places[number].copies -= 1
        if places[number].copies == 0 { free.append(number) }
        return places[number].packet
    }
}
