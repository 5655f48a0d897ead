// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// The network of an encounter, with a digest of all that passes through it: two runs are the same where it is.
struct LabWire: Sendable {
    /// The network.
    var network: VirtualNetwork
    /// FNV-1a of everything that was sent and that arrived, datagrams and bytes of streams, with times and addresses.
    private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325

    init(_ network: VirtualNetwork) { self.network = network }

    /// Sends a datagram with the hops that it asks for.
    mutating func send(_ datagram: Datagram, from host: VirtualNetwork.HostID, now: Timestamp) {
        note(datagram, at: now, host)
        network.send(
            datagram, from: host, timeToLive: datagram.hopLimit ?? VirtualNetwork.defaultTimeToLive, now: now)
    }

    /// Sends bytes over a stream.
    mutating func send(
        _ bytes: [UInt8], on stream: VirtualNetwork.StreamID, from host: VirtualNetwork.HostID, now: Timestamp
    ) {
        note(UInt64(bitPattern: now.nanoseconds))
        note(UInt64(stream.index) << 32 | UInt64(host.index))
        note(bytes)
        network.send(bytes, on: stream, from: host, now: now)
    }

    /// What arrives next, if that is by `limit`.
    mutating func nextArrival(until limit: Timestamp) -> VirtualNetwork.Arrival? {
        guard let arrival = network.nextArrival(until: limit) else { return nil }
        switch arrival.event {
        case .datagram(let datagram):
            note(datagram, at: arrival.time, arrival.host)
        case .unreachable(let source, let destination):
            note(UInt64(bitPattern: arrival.time.nanoseconds))
            note(source)
            note(destination)
        case .stream(let stream, let event):
            note(UInt64(bitPattern: arrival.time.nanoseconds))
            note(UInt64(stream.index) << 32 | UInt64(arrival.host.index))
            if case .received(let bytes) = event { note(bytes) }
        }
        return arrival
    }

    private mutating func note(_ datagram: Datagram, at time: Timestamp, _ host: VirtualNetwork.HostID) {
        note(UInt64(bitPattern: time.nanoseconds))
        note(UInt64(host.index))
        note(datagram.source)
        note(datagram.destination)
        note(datagram.payload)
    }

    private mutating func note(_ address: SocketAddress) {
        note(address.ip.high)
        note(address.ip.low)
        note(UInt64(address.port))
    }

    private mutating func note(_ bytes: [UInt8]) {
        for byte in bytes { digest = (digest ^ UInt64(byte)) &* Self.prime }
        note(UInt64(bytes.count))
    }

    private mutating func note(_ word: UInt64) { digest = (digest ^ word) &* Self.prime }

    private static let prime: UInt64 = 0x0000_0100_0000_01B3
}
