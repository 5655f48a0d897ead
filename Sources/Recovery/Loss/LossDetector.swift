// SPDX-License-Identifier: Apache-2.0

/// Which packets arrived and which did not (RFC 9002 §6): a packet is lost when one sent well after it was
/// acknowledged, by count or by time.
struct LossDetector: ~Copyable, Sendable {
    /// RFC 9002 §6.1.1.
    private static let initialReorderingThreshold: UInt64 = 3
    /// Where reordering is common, the threshold grows up to this.
    private static let largestReorderingThreshold: UInt64 = 300

    /// Holes that are remembered although they count as lost.
    private static let holeLimit = 1024

    /// What an acknowledgement said that was not known.
    struct Outcome {
        /// Bytes that arrived, as the path counts them.
        var ackedBytes = 0
        /// Bytes that are taken for lost.
        var lostBytes = 0
        var lostPackets = 0
        /// The packet acknowledged that was sent last.
        var newest: SentPacket?
        /// Whether the packet with the largest number of the frame is newly acknowledged, and when it was sent.
        var largestSentAt: Int64?
    }

    private(set) var sent = SentPackets()
    /// Packets below the largest acknowledged that are in flight or were taken for lost a short while ago, in order.
    private var holes: [UInt64] = []
    private(set) var largestAcked: UInt64?
    /// Bytes in flight.
    private(set) var inFlight = 0
    private var reorderingThreshold = LossDetector.initialReorderingThreshold
    /// When the oldest hole will count as lost.
    private(set) var lossTime: Int64?
    /// Packets that had been taken for lost and arrived.
    private(set) var spuriousLosses: UInt64 = 0

    init() {}

    /// Notes a packet that was sent; its number was ``SentPackets/next``.
    mutating func packetSent(_ packet: SentPacket) {
        sent.append(packet)
        inFlight += Int(packet.size)
    }

    /// Takes an ACK frame. False for one that acknowledges what was never sent.
    mutating func receive(
        _ ack: AckRanges, outcome: inout Outcome, onAcked: (SentPacket) -> Void
    ) -> Bool {
        guard ack.largest < sent.next else { return false }
        // Holes that are closed now.
        if !holes.isEmpty {
            var kept = 0
            var index = ack.ranges.count - 1
            for place in holes.indices {
                let number = holes[place]
                while index >= 0, ack.ranges[index].upperBound <= number { index -= 1 }
                if index >= 0, ack.ranges[index].contains(number) {
                    acknowledge(number, &outcome, onAcked)
                } else {
                    holes[kept] = number
                    kept += 1
                }
            }
            holes.removeLast(holes.count - kept)
        }
        // What lies above the largest so far.
        var number = largestAcked.map { $0 + 1 } ?? sent.first
        if number <= ack.largest {
            for range in ack.ranges.reversed() where range.upperBound > number {
                while number < range.lowerBound {
                    holes.append(number)
                    number += 1
                }
                while number < range.upperBound {
                    acknowledge(number, &outcome, onAcked)
                    number += 1
                }
            }
            largestAcked = ack.largest
            if sent.first <= ack.largest { outcome.largestSentAt = sent[ack.largest].sentAt }
        }
        return true
    }

    private mutating func acknowledge(_ number: UInt64, _ outcome: inout Outcome, _ onAcked: (SentPacket) -> Void) {
        let packet = sent[number]
        switch packet.state {
        case .acknowledged:
            return
        case .inFlight:
            inFlight -= Int(packet.size)
        case .lost:
            // It was late, not lost: such lateness is borne from now on.
            spuriousLosses += 1
            let lateness = (largestAcked ?? number) - min(number, largestAcked ?? number)
            reorderingThreshold = min(
                Self.largestReorderingThreshold, max(reorderingThreshold, lateness + 1))
        }
        sent.setState(.acknowledged, of: number)
        outcome.ackedBytes += Int(packet.size)
        if outcome.newest.map({ packet.sentAt >= $0.sentAt }) ?? true { outcome.newest = packet }
        onAcked(packet)
    }

    /// Finds what is lost, after an acknowledgement or at ``lossTime``.
    mutating func detectLosses(
        now: Int64, rtt: RoundTripTime, outcome: inout Outcome, onLost: (SentPacket) -> Void
    ) {
        lossTime = nil
        if let largestAcked {
            let lossDelay = rtt.lossDelay
            var kept = 0
            // Of those taken for lost long ago the oldest are forgotten, so that no peer makes this walk long.
            let oldest = holes.count - Self.holeLimit
            for place in holes.indices {
                let number = holes[place]
                let packet = sent[number]
                if packet.state == .inFlight {
                    if largestAcked - number >= reorderingThreshold || packet.sentAt <= now - lossDelay {
                        declareLost(number, packet, &outcome, onLost)
                    } else {
                        lossTime = min(lossTime ?? .max, packet.sentAt + lossDelay)
                    }
                } else if packet.state == .lost, packet.sentAt < now - 3 * lossDelay || place < oldest {
                    continue
                }
                holes[kept] = number
                kept += 1
            }
            holes.removeLast(holes.count - kept)
            sent.forget(before: holes.first ?? (largestAcked + 1))
        }
    }

    private mutating func declareLost(
        _ number: UInt64, _ packet: SentPacket, _ outcome: inout Outcome, _ onLost: (SentPacket) -> Void
    ) {
        inFlight -= Int(packet.size)
        outcome.lostBytes += Int(packet.size)
        outcome.lostPackets += 1
        sent.setState(.lost, of: number)
        onLost(packet)
    }

    /// When the newest packet in flight was sent, for the probe timer; `nil` with nothing in flight.
    var newestSentAt: Int64? {
        inFlight > 0 && !sent.isEmpty ? sent[sent.next - 1].sentAt : nil
    }
}
