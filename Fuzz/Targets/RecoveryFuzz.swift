// SPDX-License-Identifier: Apache-2.0
import Recovery
import Wire

/// A link gets records, sends, and time passes.
enum RecoveryFuzz {
    static func run(_ bytes: [UInt8]) {
        var link = ReliableLink(configuration: .init(maxPacketSize: 1163))
        var out = PacketBuffer()
        var now = Timestamp.zero
        var number: UInt32 = 0
        var steps = Steps(bytes)
        while let (kind, body) = steps.next() {
            switch kind % 6 {
            case 0:
                link.receive(body.span.bytes, now: now)
            case 1:
                // The next number, then frames.
                link.receive(([0, 1] + bigEndian(number) + body).span.bytes, now: now)
                number &+= 1
            case 2:
                link.receive(([0, 0] + body).span.bytes, now: now)
            case 3:
                var packets = PacketBuffer()
                let count = 2 + body.count * 64
                packets.append(maximumLength: count) { _ in count }
                link.enqueue(&packets, flow: Int(kind / 6 % 2))
            case 4:
                now += .microseconds(Int64(body.first ?? 1) * 1000)
                link.handleTimeout(now: now)
            default:
                // The peer has everything up to here.
                let largest = UInt32(truncatingIfNeeded: link.statistics.packetsSent)
                guard largest > 0 else { continue }
                let ack = [0, 0, 2, 1] + bigEndian(largest - 1) + [0, 0, 0, body.first ?? 0] + bigEndian(largest)
                link.receive(ack.span.bytes, now: now)
            }
            link.takePackets(flow: 0) { _ in }
            link.takePackets(flow: 1) { _ in }
            out.removeAll()
            link.transmit(into: &out, now: now)
            precondition(out.count < 4096, "more than a window at once")
            precondition(link.statistics.bytesInFlight >= 0, "fewer than no bytes in flight")
            if let deadline = link.nextDeadline { precondition(deadline.nanoseconds > -1 << 40, "a deadline long ago") }
        }
    }

    static var seeds: [[UInt8]] {
        let data: [UInt8] = [1, 1] + bigEndian(UInt16(5)) + bigEndian(UInt64(0)) + [0, 3, 7, 7, 7]
        let ahead: [UInt8] = [1, 0] + bigEndian(UInt16(2)) + bigEndian(UInt64(900)) + [0, 0]
        let ack: [UInt8] =
            [2, 2] + bigEndian(UInt32(5)) + bigEndian(UInt32(10)) + bigEndian(UInt32(1))
            + bigEndian(UInt32(2)) + bigEndian(UInt32(2))
        return [
            Steps.write([(1, data), (1, ahead), (4, [20])]),
            Steps.write([(3, [UInt8](repeating: 0, count: 200)), (4, [10]), (2, ack), (4, [255]), (4, [255]), (5, [1])]
            ),
            Steps.write([(9, [UInt8](repeating: 0, count: 90)), (5, [0]), (3, [1]), (4, [9]), (5, [9]), (1, [3])]),
            Steps.write([(0, [0, 1, 0, 0, 0, 9, 3]), (2, ack + ack), (1, data + ahead + [3])]),
        ]
    }
}
