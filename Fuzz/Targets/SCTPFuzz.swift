// SPDX-License-Identifier: Apache-2.0
import SCTP
import SCTPTestSupport
import Wire

/// Data channels over an association that is up get chunks and messages of a peer that obeys nothing but the common
/// header (RFC 9260 §3.1), which DTLS has no part in: port, verification tag and checksum are right.
enum SCTPFuzz {
    static func run(_ bytes: [UInt8]) {
        Timeline.enter()
        guard var victim = try? DataChannelMultiplexer(configuration: .init(role: .server)) else { return }
        defer { victim.abort() }
        guard let peer = RawPeer(connecting: &victim) else { return }
        attack(&victim, peer, bytes)
    }

    private static func attack(_ victim: inout DataChannelMultiplexer, _ start: RawPeer, _ bytes: [UInt8]) {
        var peer = start
        var message = MessageBuffer()
        var packets = PacketBuffer()
        var steps = Steps(bytes)
        while let (kind, body) = steps.next() {
            switch kind % 6 {
            case 0:
                victim.receive(peer.packet(body).span.bytes)
            case 1:
                // A whole message: stream, payload protocol, bytes.
                guard body.count > 2 else { continue }
                let packet = peer.message(stream: UInt16(body[0]), ppid: body[1], Array(body[2...]))
                victim.receive(packet.span.bytes)
            case 2:
                // DATA with flags and a number of its own: parts, holes, repetitions.
                guard body.count > 4 else { continue }
                let tsn = peer.nextTSN &+ UInt32(body[3]) &- 8
                let chunk = peer.data(
                    tsn: tsn, flags: body[2], stream: UInt16(body[0]), ppid: body[1], Array(body[4...]))
                victim.receive(peer.packet(chunk).span.bytes)
            case 3:
                // A SACK up to what was seen, or beyond, with what follows as gaps.
                let cumulative = peer.newestSeen &+ UInt32(body.first ?? 0) &- 1
                let rest = Array(body.dropFirst())
                let chunk: [UInt8] =
                    [3, 0] + bigEndian(UInt16(clamping: 16 + rest.count)) + bigEndian(cumulative)
                    + bigEndian(UInt32(kind) << 12) + bigEndian(UInt16(rest.count / 4)) + [0, 0] + rest
                victim.receive(peer.packet(chunk).span.bytes)
            case 4:
                if let id = try? victim.open(
                    label: "x", ordered: kind & 1 == 0, reliability: kind & 2 == 0 ? .reliable : .maxRetransmits(1))
                {
                    try? victim.send(id, body.span.bytes)
                    if kind & 4 != 0 { victim.close(id) }
                }
            default:
                _ = Timeline.tick()
                victim.handleTimers()
            }
            var events = 0
            while victim.nextEvent(into: &message) != nil { events += 1 }
            precondition(events < 2048, "more events than streams")
            packets.removeAll()
            victim.takeOutgoing(into: &packets)
            precondition(packets.count < 4096, "an answer that is too long")
            peer.note(packets)
        }
    }

    static var seeds: [[UInt8]] {
        let open = DCEPMessage.open(DataChannelInfo(label: "a")).encoded
        // RE-CONFIG with an outgoing reset request (RFC 6525 §4.1), FORWARD-TSN (RFC 3758 §3.2), HEARTBEAT, SHUTDOWN.
        let reset: [UInt8] = [130, 0, 0, 22, 0, 13, 0, 18] + [UInt8](repeating: 0, count: 12) + [0, 0, 0, 0]
        let forward: [UInt8] = [192, 0, 0, 8, 0, 0, 0, 1]
        let heartbeat: [UInt8] = [4, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4]
        return [
            Steps.write([(1, [0, 50] + open), (1, [0, 51] + [72, 105]), (1, [0, 52, 1]), (1, [0, 53, 1]), (5, [])]),
            Steps.write([(4, [1, 2, 3]), (3, [2]), (1, [1, 50, 2]), (3, [3, 0, 2, 0, 3]), (5, []), (0, reset)]),
            Steps.write([
                (2, [2, 53, 2, 9, 1, 1]), (2, [2, 53, 1, 10, 2, 2]), (2, [2, 53, 0, 8, 3, 3]), (0, forward),
            ]),
            Steps.write([
                (0, heartbeat), (6, []), (10, [UInt8](repeating: 1, count: 3000)), (0, [7, 0, 0, 8, 0, 0, 0, 0]),
            ]),
            Steps.write([(22, [5]), (0, [6, 0, 0, 4]), (4, [1]), (5, [])]),
        ]
    }
}
