// SPDX-License-Identifier: Apache-2.0
import NATLab
import Recovery
import Wire

/// Two links over an emulated path, with a flow of TCP beside them where wanted, on virtual time.
struct PathSimulation: ~Copyable {
    enum Packet {
        case ours([UInt8])
        case tcp(Int)
    }

    /// SCTP packets as an association with a large window would make them.
    static let bulkPacketSize = 16_000
    /// What a DTLS record in a UDP datagram over IPv4 adds.
    static let overhead = 65

    var sender: ReliableLink
    var receiver: ReliableLink
    var forward: EmulatedLink<Packet>
    var backward: EmulatedLink<Packet>
    var cubic: CubicFlow?
    var now = Timestamp.zero
    /// Whether the sender always has something of flow 1 to send.
    var isSaturated = true
    /// Which flow that is.
    var saturatedFlow = 1
    /// How often the sender's loop comes to it; `nil` for as often as something happens.
    var senderTurn: Duration?
    private var nextTurn = Timestamp.zero
    /// Bytes of SCTP packets that arrived, by flow.
    var arrived = [0, 0]
    private var produced = [UInt64(0), 0]
    private var consumed = [UInt64(0), 0]
    /// Whether every SCTP packet came once, in order, unchanged.
    private(set) var isIntact = true
    /// When the probes of flow 0 left, and how long they took.
    private var probesSent: [Timestamp] = []
    private(set) var probeDelays: [Double] = []
    private(set) var queueDelays: [Double] = []

    init(forward: LinkConditions, backward: LinkConditions, seed: UInt64) {
        var entropy = Entropy(seed: seed)
        var settings = ReliableLink.Configuration(maxPacketSize: 1163)
        settings.overhead = Self.overhead
        settings.roundTrip = forward.delay + backward.delay
        sender = ReliableLink(configuration: settings)
        receiver = ReliableLink(configuration: settings)
        self.forward = EmulatedLink(forward, entropy: entropy.split())
        self.backward = EmulatedLink(backward, entropy: entropy.split())
    }

    /// A path of 25 MB/s whose queue holds one product of bandwidth and round trip (or `queue` of them).
    static func path(
        milliseconds: Int, loss: Double = 0, rate: Int = 25_000_000, queue: Double = 1, seed: UInt64
    ) -> PathSimulation {
        var there = LinkConditions()
        there.rate = rate
        there.delay = .microseconds(milliseconds * 500)
        there.queueLimit = max(20_000, Int(Double(rate * milliseconds / 1000) * queue))
        if loss > 0 { there.loss = .random(loss) }
        var back = LinkConditions()
        back.delay = there.delay
        if loss > 0 { back.loss = .random(loss) }
        return PathSimulation(forward: there, backward: back, seed: seed)
    }

    /// Gives the sender one packet of a flow: its number, then bytes that follow from it.
    mutating func produce(flow: Int, count: Int) {
        let number = produced[flow]
        produced[flow] += 1
        var packets = PacketBuffer(capacity: count)
        packets.append(maximumLength: count + 2) { room in
            room.storeBytes(of: UInt16(count).bigEndian, as: UInt16.self)
            for index in 8..<count { room[index + 2] = UInt8(truncatingIfNeeded: number &+ UInt64(index)) }
            room.storeBytes(of: number, toByteOffset: 2, as: UInt64.self)
            return count + 2
        }
        sender.enqueue(&packets, flow: flow)
    }

    /// Sends a small packet of flow 0 whose delay is measured.
    mutating func probe() {
        probesSent.append(now)
        produce(flow: 0, count: 64)
    }

    private mutating func consume(flow: Int) {
        var isIntact = self.isIntact
        var number = consumed[flow]
        var bytes = 0
        receiver.takePackets(flow: flow) { packet in
            bytes += packet.byteCount
            isIntact = isIntact && packet.byteCount >= 8 && packet.unsafeLoadUnaligned(as: UInt64.self) == number
                && packet.unsafeLoad(fromByteOffset: packet.byteCount - 1, as: UInt8.self)
                    == (packet.byteCount == 8
                        ? 0 : UInt8(truncatingIfNeeded: number &+ UInt64(packet.byteCount - 1)))
            number += 1
        }
        if flow == 0 {
            for index in Int(consumed[0])..<Int(number) where index < probesSent.count {
                probeDelays.append((now - probesSent[index]).seconds)
            }
        }
        consumed[flow] = number
        arrived[flow] += bytes
        self.isIntact = isIntact
    }

    /// Whether everything that was given has arrived.
    var isDone: Bool { produced == consumed }

    private mutating func exchange() {
        var packets = PacketBuffer(capacity: 4096)
        if isSaturated {
            while sender.queuedBytes(flow: saturatedFlow) < 256 * 1024 {
                produce(flow: saturatedFlow, count: Self.bulkPacketSize)
            }
        }
        if isSendersTurn { sender.transmit(into: &packets, now: now) }
        for index in 0..<packets.count {
            forward.enqueue(
                .ours([UInt8](copying: packets[index])), byteCount: packets[index].byteCount + Self.overhead, now: now)
        }
        packets.removeAll()
        receiver.transmit(into: &packets, now: now)
        for index in 0..<packets.count {
            backward.enqueue(
                .ours([UInt8](copying: packets[index])), byteCount: packets[index].byteCount + Self.overhead, now: now)
        }
        if cubic != nil {
            for number in cubic?.send(now: now) ?? [] {
                forward.enqueue(.tcp(number), byteCount: CubicFlow.packetSize, now: now)
            }
        }
    }

    /// Runs for so long.
    mutating func run(seconds: Double, probeEvery: Double? = nil) {
        let end = now + .nanoseconds(Int64(seconds * 1e9))
        var nextProbe = probeEvery.map { now + .nanoseconds(Int64($0 * 1e9)) }
        var nextSample = now
        exchange()
        while now < end {
            var next = end
            for time in [
                forward.nextDeadline, backward.nextDeadline, senderDeadline, receiver.nextDeadline, nextProbe,
            ] {
                if let time { next = min(next, time) }
            }
            now = max(now, next)
            if let time = nextProbe, now >= time, let probeEvery {
                probe()
                nextProbe = now + .nanoseconds(Int64(probeEvery * 1e9))
            }
            if now >= nextSample {
                queueDelays.append(forward.queueDelay(now: now).seconds)
                nextSample = now + .milliseconds(1)
            }
            while let packet = forward.dequeue(now: now) {
                switch packet {
                case .ours(let bytes):
                    receiver.receive(bytes.span.bytes, now: now)
                    consume(flow: 0)
                    consume(flow: 1)
                case .tcp(let number):
                    backward.enqueue(.tcp(number), byteCount: 52, now: now)
                }
            }
            while let packet = backward.dequeue(now: now) {
                switch packet {
                case .ours(let bytes): sender.receive(bytes.span.bytes, now: now)
                case .tcp(let number): cubic?.acknowledged(number, now: now)
                }
            }
            if isSendersTurn { sender.handleTimeout(now: now) }
            receiver.handleTimeout(now: now)
            exchange()
            if let senderTurn, isSendersTurn { nextTurn = now + senderTurn }
        }
    }

    /// A sender that is late learns of its deadlines at its next turn.
    private var senderDeadline: Timestamp? {
        guard senderTurn != nil else { return sender.nextDeadline }
        return sender.nextDeadline.map { max($0, nextTurn) }
    }

    private var isSendersTurn: Bool { senderTurn == nil || now >= nextTurn }

    mutating func forgetSamples() {
        queueDelays = []
        probeDelays = []
    }

    static func quantile(_ values: [Double], _ part: Double) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? .nan : sorted[min(sorted.count - 1, Int(part * Double(sorted.count)))]
    }
}
