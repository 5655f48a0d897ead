// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// A message of multicast DNS, to who asks for a name and to who answers for it, on the link and from elsewhere.
enum MDNSFuzz {
    private static let name = "4a4b9e1f-0d7e-4c2a-8a55-0123456789ab.local"
    private static let own = SocketAddress(ip: .v4(0x0A00_0001), port: MDNSMessage.port)
    private static let hosts = [
        HostName(name: name, address: .v4(0x0A00_0001)), HostName(name: "b.local", address: .v6(high: 1, low: 2)),
    ]

    static func run(_ bytes: [UInt8]) {
        let span = bytes.span.bytes
        let found = MDNSMessage.addresses(of: name, in: span)
        precondition(found.count <= 64, "a response with too many addresses")
        var lookup = MDNSLookup(name: name, sources: [own], now: .zero)
        var responder = MDNSResponder(sources: [own])
        for host in hosts { responder.add(host, now: .zero) }
        var told = 0
        for (port, time) in [(5353, 0), (5353, 1), (40_000, 2)] as [(UInt16, Int64)] {
            let source = SocketAddress(ip: .v4(0x0A00_0002), port: port)
            let now = Timestamp(nanoseconds: time * 1_000_000_000)
            lookup.receive(span, from: source, to: own, now: now)
            responder.receive(span, from: source, to: own, now: now)
            responder.handleTimeout(now: now)
            draining: while true {
                switch responder.nextOutput() {
                case .transmit(let datagram):
                    told += 1
                    precondition(datagram.payload.count < 512, "an answer that is too long")
                case .event: break
                case .wait: break draining
                }
            }
        }
        // Three announcements, and an answer to each of a few questions, three times.
        precondition(told <= 60, "a responder that says too much")
        draining: while true {
            if case .wait = lookup.nextOutput() { break draining }
        }
    }

    static var seeds: [[UInt8]] {
        var messages = MDNSMessage.RecordType.allCases.compactMap { MDNSMessage.query(for: name, $0) }
        messages += [MDNSMessage.response(hosts), MDNSMessage.response([hosts[0]], lifetime: 0)].compactMap { $0 }
        return messages
    }
}
