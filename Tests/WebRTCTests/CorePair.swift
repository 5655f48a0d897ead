// SPDX-License-Identifier: Apache-2.0
import DTLS
import SCTP
import SCTPTestSupport
import SDP
import WebRTC
import Wire

/// Two cores and a link between them on virtual time: nothing here waits for real.
struct CorePair: ~Copyable {
    struct Packet {
        let due: Timestamp
        let order: Int
        let datagram: Datagram
    }

    static let addresses = (
        SocketAddress(ip: .v4(0x0A00_0001), port: 1001), SocketAddress(ip: .v4(0x0A00_0002), port: 2002)
    )

    /// A second address of the offerer, for when the first is lost.
    static let otherAddress = SocketAddress(ip: .v4(0x0A00_0003), port: 1001)

    var offerer: PeerCore
    var answerer: PeerCore
    var now: Timestamp
    var latency = Duration.milliseconds(10)
    var loss = 0.0
    /// The part of the packets that arrive twice, and the most that one may take longer than another.
    var duplication = 0.0
    var jitter = Duration.zero
    /// A relay of the offerer's, which answers a packet with another. With one no packet goes straight.
    var relay: ((Datagram) -> Datagram?)?
    /// The port of the offerer's socket toward it.
    static let relayPort: UInt16 = 1003
    /// Packets from and to these addresses are lost.
    var deadAddresses: Set<SocketAddress> = []
    var entropy: Entropy
    var packets: [Packet] = []
    var sent = 0
    var nextTick: Timestamp
    /// A channel of the offerer's.
    var channel: PeerCore.ChannelKey?
    /// Events and messages of both sides.
    var events: ([PeerCore.Event], [PeerCore.Event]) = ([], [])
    var messages: ([[UInt8]], [[UInt8]]) = ([], [])
    private var outbox = PeerOutbox()
    private var deadlines: (Timestamp?, Timestamp?) = (nil, nil)

    init(seed: UInt64, configure: (inout PeerCore.Configuration) -> Void = { _ in }) throws {
        let certificates = (try DTLSCertificate.generate(), try DTLSCertificate.generate())
        entropy = Entropy(seed: seed)
        now = Timeline.now
        nextTick = now
        func configuration(_ certificate: DTLSCertificate) -> PeerCore.Configuration {
            var configuration = PeerCore.Configuration(certificate: certificate)
            configure(&configuration)
            return configuration
        }
        offerer = PeerCore(configuration: configuration(certificates.0), entropy: entropy.split())
        answerer = PeerCore(configuration: configuration(certificates.1), entropy: entropy.split())
    }

    /// Exchanges descriptions; `change` may falsify the answer.
    mutating func signal(change: (inout SessionDescription) -> Void = { _ in }) throws {
        try offerer.start(as: .offerer, localAddresses: [Self.addresses.0], servers: [], now: now)
        try answerer.start(as: .answerer, localAddresses: [Self.addresses.1], servers: [], now: now)
        try answerer.setRemoteDescription(try offerer.localDescription, now: now)
        var answer = try answerer.localDescription
        change(&answer)
        try offerer.setRemoteDescription(answer, now: now)
    }

    /// Lets virtual time pass until `isDone`, for `limit` at most. Answers whether it was.
    mutating func run(for limit: Duration, until isDone: (borrowing CorePair) -> Bool) -> Bool {
        let end = now + limit
        while now <= end {
            drain()
            if isDone(self) { return true }
            let next = [packets.map(\.due).min(), deadlines.0, deadlines.1, nextTick].compactMap { $0 }.min() ?? end
            now = max(now, next)
            if now >= nextTick {
                // usrsctp has one clock for the whole process; it ticks with this link's.
                _ = Timeline.tick()
                offerer.associationTimersRan()
                answerer.associationTimersRan()
                nextTick = nextTick + SCTPRuntime.tickInterval
            }
            offerer.handleTimeout(now: now)
            answerer.handleTimeout(now: now)
            deliver()
        }
        return false
    }

    private mutating func deliver() {
        let due = packets.filter { $0.due <= now }.sorted { ($0.due, $0.order) < ($1.due, $1.order) }
        packets.removeAll { $0.due <= now }
        for packet in due {
            let (source, destination) = (packet.datagram.source, packet.datagram.destination)
            if let relay, ![Self.addresses.0.ip, Self.addresses.1.ip].contains(destination.ip) {
                if let answer = relay(packet.datagram) { send(answer) }
            } else if destination.port == Self.relayPort {
                offerer.receive(packet.datagram.payload.span.bytes, from: source, to: destination, now: now)
            } else if relay != nil, source == Self.addresses.0 || source == Self.addresses.1 {
                continue
            } else if destination == Self.addresses.0 || destination == Self.otherAddress {
                offerer.receive(packet.datagram.payload.span.bytes, from: source, to: destination, now: now)
            } else {
                answerer.receive(packet.datagram.payload.span.bytes, from: source, to: destination, now: now)
            }
        }
    }

    private mutating func drain() {
        var more = true
        while more {
            outbox.removeAll()
            offerer.drain(into: &outbox, includingEvents: true, readsMessages: true, now: now)
            let first = take(isOfferer: true)
            outbox.removeAll()
            answerer.drain(into: &outbox, includingEvents: true, readsMessages: true, now: now)
            more = take(isOfferer: false) || first
        }
    }

    private mutating func take(isOfferer: Bool) -> Bool {
        for datagram in outbox.datagrams { send(datagram) }
        for case .open(let link, .udp, _, _, _) in outbox.relayRequests where isOfferer {
            let local = SocketAddress(ip: Self.addresses.0.ip, port: Self.relayPort)
            offerer.relayOpened(link, local: local, now: now)
        }
        for index in 0..<outbox.packets.count {
            guard let route = outbox.route else { break }
            send(
                Datagram(
                    source: route.source, destination: route.destination,
                    payload: [UInt8](copying: outbox.packets[index])))
        }
        var message: [UInt8]?
        if outbox.arrival != nil { outbox.withMessage { message = [UInt8](copying: $0) } }
        if isOfferer {
            events.0 += outbox.events
            deadlines.0 = outbox.deadline
            if let message { messages.0.append(message) }
        } else {
            events.1 += outbox.events
            deadlines.1 = outbox.deadline
            if let message { messages.1.append(message) }
        }
        return outbox.hasMore
    }

    mutating func send(_ datagram: Datagram) {
        sent += 1
        guard Double.random(in: 0..<1, using: &entropy) >= loss,
            deadAddresses.isDisjoint(with: [datagram.source, datagram.destination])
        else { return }
        for _ in 0..<(duplication > 0 && Double.random(in: 0..<1, using: &entropy) < duplication ? 2 : 1) {
            let late = jitter == .zero ? .zero : jitter * Double.random(in: 0..<1, using: &entropy)
            packets.append(Packet(due: now + latency + late, order: sent, datagram: datagram))
        }
    }

    /// The last state that each side told.
    var states: (PeerCore.State?, PeerCore.State?) {
        func last(_ events: [PeerCore.Event]) -> PeerCore.State? {
            for case .stateChanged(let state, _) in events.reversed() { return state }
            return nil
        }
        return (last(events.0), last(events.1))
    }

    var areConnected: Bool { states.0 == .connected && states.1 == .connected }

    /// Why the side failed.
    static func failure(_ events: [PeerCore.Event]) -> PeerConnectionError? {
        for case .stateChanged(.failed, let failure) in events { return failure }
        return nil
    }
}
