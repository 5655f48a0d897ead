// SPDX-License-Identifier: Apache-2.0
public import Wire

// Between DTLS and SCTP, for peers that both ask for it:
//
//     association of flow 0 ─┐ SCTP packets                       ┌─▶ association of flow 0
//     association of flow 1 ─┤                                    ├─▶ association of flow 1
//                            ▼                                    │
//                       SendStream ──▶ packets ~~ path ~~▶ ReceiveStream
//                            ▲             │  ◀~~ ACK ~~
//                     lost ──┴─ LossDetector ──▶ RateController (window, pacing)
//
// SCTP sees a path that loses nothing and reorders nothing, so its own congestion control (Reno's) never acts; how much
// leaves is decided here, once for all flows, from the path's delivery rate.

/// A link that loses nothing, over one DTLS session: it numbers packets, acknowledges, repairs and paces them, and
/// carries the SCTP packets of a few associations, each in order, the first before the others.
///
/// It does no I/O. Feed it with ``receive(_:now:)`` and ``enqueue(_:flow:)``; after any call take ``takePackets(flow:_:)``
/// and ``transmit(into:now:)``, and call ``handleTimeout(now:)`` at ``nextDeadline``.
public struct ReliableLink: ~Copyable, Sendable {
    /// How a link is set up.
    public struct Configuration: Hashable, Sendable {
        /// The longest packet, the plaintext of one DTLS record, in bytes.
        public var maxPacketSize: Int
        /// What a record and its datagram add to a packet on the path, in bytes.
        public var overhead = 65
        /// A first guess of the round trip; RFC 9002 §6.2.2 has 333 ms.
        public var roundTrip: Duration = .milliseconds(333)

        /// A configuration for packets of this size.
        public init(maxPacketSize: Int) {
            self.maxPacketSize = maxPacketSize
        }
    }

    /// How many flows there are; the lower comes first.
    public static let flowCount = 2

    /// What became of packets.
    public struct Statistics: Hashable, Sendable {
        /// Packets with a number, repetitions included.
        public var packetsSent: UInt64 = 0
        /// Packets that arrived, duplicates excluded.
        public var packetsReceived: UInt64 = 0
        /// Packets taken for lost.
        public var packetsLost: UInt64 = 0
        /// Of these, those that arrived after all.
        public var spuriousLosses: UInt64 = 0
        /// Packets that broke a rule, or did not fit, and were dropped.
        public var packetsDropped: UInt64 = 0
        /// Probes sent because nothing came back.
        public var probes: UInt64 = 0
        /// SCTP packets that were dropped because too much waited.
        public var overflows: UInt64 = 0
        /// What the path was seen to deliver, in bytes a second, overhead included; 0 before it is known.
        public var deliveryRate: Double = 0
        /// The smoothed round-trip time, queues included; `nil` before the first sample.
        public var smoothedRoundTrip: Duration?
        /// The least round-trip time of the last seconds; `nil` before the first sample.
        public var leastRoundTrip: Duration?
        /// Bytes in flight, overhead included.
        public var bytesInFlight = 0
        /// How many bytes may be in flight.
        public var congestionWindow = 0
    }

    private let configuration: Configuration
    // `flowCount` of each.
    private var outgoing = InlineArray<2, SendStream> { _ in SendStream() }
    private var incoming = InlineArray<2, ReceiveStream> { _ in ReceiveStream() }

    private var detector = LossDetector()
    private var received = ReceivedNumbers()
    private var ack = AckRanges()
    private var rtt: RoundTripTime
    private var controller: RateController

    /// Bytes that arrived at the peer, as the path counts them, and when the last of them did.
    private var delivered: UInt64 = 0
    private var deliveredAt: Int64 = 0
    private var firstSentAt: Int64 = 0
    /// Until so much is delivered, samples show what the application had, not what the path can.
    private var appLimitedUntil: UInt64 = 0
    /// When pacing lets the next packet go.
    private var nextSendAt: Int64 = 0
    /// Probes in a row without an answer, and how many packets may leave outside of the window for them.
    private var probeCount = 0
    private var probesDue = 0
    private var lastActivity: Int64 = 0
    /// Since when packets take the present path; older ones say nothing about it.
    private var pathSince = Int64.min
    /// Bytes of the first flow that were sent in a round trip, and in which.
    private var urgentBytes = 0
    private var urgentRound: UInt64 = 0
    /// Whether pacing or the window, not a lack of data, ended the last transmission.
    private var isPaced = false
    private var counts = Statistics()

    /// A link on which nothing was sent.
    public init(configuration: Configuration) {
        self.configuration = configuration
        let roundTrip = max(1, configuration.roundTrip.nanoseconds)
        rtt = RoundTripTime(initial: roundTrip)
        controller = RateController(
            packetSize: configuration.maxPacketSize + configuration.overhead, roundTrip: roundTrip)
    }

    // MARK: - Facts

    /// What became of packets, and what the path is like.
    public var statistics: Statistics {
        var statistics = counts
        statistics.deliveryRate = controller.deliveryRate
        if rtt.hasSample {
            statistics.smoothedRoundTrip = .nanoseconds(rtt.smoothed)
            statistics.leastRoundTrip = .nanoseconds(controller.leastRoundTrip)
        }
        statistics.bytesInFlight = detector.inFlight
        statistics.congestionWindow = controller.window
        return statistics
    }

    /// Whether the round trip is so short that no queue on the path matters.
    public var isShort: Bool { controller.isShort }

    /// How much an association should hold for sending so that this link never runs dry, in bytes: twice what is under way,
    /// and more while it is not known how much that will be. Over a short path the round trip is made of our own buffers.
    /// `nil` before anything is known.
    public var usefulBuffer: Int? {
        guard rtt.hasSample else { return nil }
        let roundTrip = controller.isShort ? controller.leastRoundTrip : rtt.smoothed
        let trips = controller.phase == .startup ? 4.0 : 2.0
        return Int(min(trips * controller.deliveryRate * Double(roundTrip) * 1e-9, 1e9))
    }

    /// Bytes of a flow that wait to be sent for the first time.
    public func queuedBytes(flow: Int) -> Int { outgoing[flow].unsent }

    // MARK: - SCTP's side

    /// Takes SCTP packets of a flow, each behind its length in two bytes (most significant first), and leaves `packets`
    /// empty.
    public mutating func enqueue(_ packets: inout PacketBuffer, flow: Int) {
        let count = packets.count
        let fits = outgoing[flow].append(&packets)
        if !fits { counts.overflows &+= UInt64(count) }
    }

    /// Whether ``takePackets(flow:_:)`` may have something.
    public func hasPackets(flow: Int) -> Bool { incoming[flow].hasBytes }

    /// Hands out the SCTP packets of a flow that are whole, in order.
    public mutating func takePackets(flow: Int, _ body: (RawSpan) -> Void) {
        incoming[flow].takePackets { body(RawSpan(_unsafeBytes: $0)) }
    }
}

// MARK: - Receiving

extension ReliableLink {
    /// Whether the plaintext of a record belongs to this layer.
    public static func owns(_ record: RawSpan) -> Bool {
        record.byteCount > 0 && record.unsafeLoad(as: UInt8.self) == RecoveryHeader.marker
    }

    /// Takes the plaintext of a record that ``owns(_:)`` names. What breaks a rule is dropped and counted.
    public mutating func receive(_ record: RawSpan, now: Timestamp) {
        let now = now.nanoseconds
        var reader = ByteReader(record)
        do throws(WireError) {
            if try !receive(&reader, now) { counts.packetsDropped &+= 1 }
        } catch {
            counts.packetsDropped &+= 1
        }
    }

    private mutating func receive(_ reader: inout ByteReader, _ now: Int64) throws(WireError) -> Bool {
        _ = try reader.readUInt8()
        let flags = try reader.readUInt8()
        guard flags & ~RecoveryHeader.knownBits == 0 else { return false }
        var number: UInt64?
        if flags & RecoveryHeader.numbered != 0 {
            let full = RecoveryHeader.expand(
                try reader.readUInt32(), near: received.largest.map { $0 + 1 } ?? 0)
            // DTLS drops replays, so this is a path that duplicates before it or a peer that repeats itself.
            guard !received.contains(full) else { return false }
            number = full
        }
        lastActivity = now
        var hasAck = false
        while reader.remaining > 0 {
            switch try reader.readUInt8() {
            case RecoveryHeader.dataFrame:
                let flow = Int(try reader.readUInt8())
                let length = Int(try reader.readUInt16())
                let offset = try reader.readUInt64()
                let bytes = try reader.readSpan(length)
                guard number != nil, flow < Self.flowCount else { return false }
                guard bytes.withUnsafeBytes({ incoming[flow].insert($0, at: offset) }) else { return false }
            case RecoveryHeader.ackFrame:
                // One a packet: each costs a walk over what is in flight.
                guard !hasAck else { return false }
                hasAck = true
                guard try ack.read(from: &reader, expected: detector.largestAcked.map { $0 + 1 } ?? 0),
                    acknowledge(now)
                else { return false }
            case RecoveryHeader.pingFrame:
                break
            default:
                return false
            }
        }
        guard let number else { return true }
        received.insert(number, now: now)
        counts.packetsReceived &+= 1
        return true
    }

    private mutating func acknowledge(_ now: Int64) -> Bool {
        var outcome = LossDetector.Outcome()
        let wasLargest = detector.largestAcked
        guard
            detector.receive(
                ack, outcome: &outcome,
                onAcked: { packet in
                    outgoing[Int(packet.flow)].acknowledge(packet.range)
                })
        else { return false }
        guard outcome.ackedBytes > 0 else { return true }
        var roundTrip: Int64?
        if let sentAt = outcome.largestSentAt, sentAt > pathSince, wasLargest.map({ ack.largest > $0 }) ?? true {
            rtt.update(sample: now - sentAt, ackDelay: ack.delay)
            roundTrip = max(1, rtt.latest - min(ack.delay, ReceivedNumbers.maxAckDelay))
        }
        delivered += UInt64(outcome.ackedBytes)
        deliveredAt = now
        if let newest = outcome.newest { firstSentAt = newest.sentAt }
        if let newest = outcome.newest, newest.sentAt <= pathSince { outcome.newest = nil }
        probeCount = 0
        probesDue = 0
        findLosses(now, &outcome)
        counts.spuriousLosses = detector.spuriousLosses
        controller.acknowledged(
            outcome, roundTrip: roundTrip, delivered: delivered, inFlight: detector.inFlight, now: now)
        return true
    }

    private mutating func findLosses(_ now: Int64, _ outcome: inout LossDetector.Outcome) {
        detector.detectLosses(now: now, rtt: rtt, outcome: &outcome) { packet in
            outgoing[Int(packet.flow)].markLost(packet.range)
        }
        counts.packetsLost &+= UInt64(outcome.lostPackets)
    }
}

// MARK: - Sending

extension ReliableLink {
    /// Puts what may leave now behind the packets of `buffer`, each for one DTLS record.
    public mutating func transmit(into buffer: inout PacketBuffer, now: Timestamp) {
        let now = now.nanoseconds
        nextSendAt = max(nextSendAt, now - (isPaced ? Self.latenessCredit : Self.pacingCredit))
        nextSendAt = min(nextSendAt, now + max(rtt.smoothed, Self.latenessCredit))
        isPaced = false
        let limit = controller.window
        if urgentRound != controller.round {
            urgentRound = controller.round
            urgentBytes = 0
        }
        let urgentLimit = max(Self.urgentPackets * (configuration.maxPacketSize + configuration.overhead), limit / 10)
        while true {
            let flow = outgoing[0].hasData ? 0 : 1
            let isProbe = probesDue > 0
            guard isProbe || outgoing[flow].hasData else { break }
            // A little of the first flow waits for nothing; the rest of it is like any other data.
            let isUrgent = flow == 0 && urgentBytes < urgentLimit && detector.inFlight < 2 * limit
            if !isProbe, !isUrgent, detector.inFlight >= limit || nextSendAt > now {
                isPaced = true
                break
            }
            let size = send(flow: flow, into: &buffer, now)
            if flow == 0 { urgentBytes += size }
            if isProbe { probesDue -= 1 }
        }
        if !isPaced, detector.inFlight < limit {
            appLimitedUntil = max(1, delivered + UInt64(detector.inFlight))
        }
        if received.isDue(now: now) { sendAck(into: &buffer, now) }
    }

    /// Sends one packet and answers its size on the path.
    private mutating func send(flow: Int, into buffer: inout PacketBuffer, _ now: Int64) -> Int {
        let limit = configuration.maxPacketSize
        if detector.inFlight == 0 {
            firstSentAt = now
            deliveredAt = now
        }
        var packet = SentPacket(
            sentAt: now, offset: 0, length: 0, size: 0, delivered: delivered, deliveredAt: deliveredAt,
            firstSentAt: firstSentAt, flow: UInt8(flow), state: .inFlight,
            isAppLimited: delivered < appLimitedUntil)
        let number = detector.sent.next
        buffer.append(maximumLength: limit) { room in
            room[0] = RecoveryHeader.marker
            room[1] = RecoveryHeader.numbered
            room.storeBytes(
                of: UInt32(truncatingIfNeeded: number).bigEndian, toByteOffset: 2, as: UInt32.self)
            var used = RecoveryHeader.numberedLength
            if received.isWaiting, received.frameLength <= limit / 2 {
                let length = received.frameLength
                received.write(into: UnsafeMutableRawBufferPointer(rebasing: room[used...]), now: now)
                used += length
            }
            let space = limit - used - RecoveryHeader.dataFrameOverhead
            guard let range = outgoing[flow].take(space) else {
                room[used] = RecoveryHeader.pingFrame
                return used + 1
            }
            packet.offset = range.lowerBound
            packet.length = UInt32(range.count)
            room[used] = RecoveryHeader.dataFrame
            room[used + 1] = UInt8(flow)
            room.storeBytes(of: UInt16(range.count).bigEndian, toByteOffset: used + 2, as: UInt16.self)
            room.storeBytes(of: range.lowerBound.bigEndian, toByteOffset: used + 4, as: UInt64.self)
            used += RecoveryHeader.dataFrameOverhead
            let bytes = UnsafeMutableRawBufferPointer(rebasing: room[used..<used + range.count])
            outgoing[flow].read(range, into: bytes)
            return used + range.count
        }
        let size = buffer[buffer.count - 1].byteCount + configuration.overhead
        packet.size = UInt32(size)
        detector.packetSent(packet)
        counts.packetsSent &+= 1
        lastActivity = now
        nextSendAt += Int64(min(Double(size) * 1e9 / controller.pacingRate, 1e9))
        return size
    }

    private mutating func sendAck(into buffer: inout PacketBuffer, _ now: Int64) {
        let length = RecoveryHeader.unnumberedLength + received.frameLength
        buffer.append(maximumLength: length) { room in
            room[0] = RecoveryHeader.marker
            room[1] = 0
            received.write(
                into: UnsafeMutableRawBufferPointer(rebasing: room[RecoveryHeader.unnumberedLength...]), now: now)
            return length
        }
    }
}

// MARK: - Time

extension ReliableLink {
    /// How long pacing gathers credit before it asks to be called (nanoseconds): a train of packets at once costs far
    /// less than as many calls, and half a millisecond's worth is a queue that nobody notices.
    private static let pacingStep: Int64 = 500_000
    /// How much credit a pause leaves (nanoseconds).
    fileprivate static let pacingCredit: Int64 = 1_000_000
    /// How late a loop may come to a packet that waited for its time without that slowing the flow down (nanoseconds). What
    /// was missed would otherwise be taken for what the path can deliver.
    fileprivate static let latenessCredit: Int64 = 25_000_000
    /// Packets of the first flow that wait for nothing, each round trip.
    fileprivate static let urgentPackets = 16
    /// How long an idle link keeps its memory (nanoseconds).
    private static let idleTime: Int64 = 1_000_000_000
    /// Probes in a row after which the path is taken for stalled (RFC 9002 §7.6.1: three).
    private static let stallProbes = 3
    /// The longest wait between probes (nanoseconds); ICE notices a dead path after 30 s (RFC 7675).
    private static let longestProbeTimeout: Int64 = 3_000_000_000

    /// When ``handleTimeout(now:)`` is due, `nil` while nothing waits.
    public var nextDeadline: Timestamp? {
        var deadline = Int64.max
        if let ackAt = received.deadline { deadline = min(deadline, ackAt) }
        if let lossTime = detector.lossTime { deadline = min(deadline, lossTime) }
        if let probeAt { deadline = min(deadline, probeAt) }
        if isPaced, detector.inFlight < controller.window { deadline = min(deadline, nextSendAt + Self.pacingStep) }
        return deadline == .max ? nil : Timestamp(nanoseconds: deadline)
    }

    private var probeAt: Int64? {
        guard detector.lossTime == nil, let sentAt = detector.newestSentAt else { return nil }
        let timeout = rtt.probeTimeout << Int64(min(probeCount, 10))
        return sentAt + min(timeout, max(Self.longestProbeTimeout, 2 * rtt.smoothed))
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        let now = now.nanoseconds
        if let lossTime = detector.lossTime, now >= lossTime {
            var outcome = LossDetector.Outcome()
            findLosses(now, &outcome)
            controller.acknowledged(
                outcome, roundTrip: nil, delivered: delivered, inFlight: detector.inFlight, now: now)
        } else if let probeAt, now >= probeAt {
            probeCount += 1
            probesDue = 2
            counts.probes &+= 1
            for flow in 0..<Self.flowCount where !outgoing[0].hasData {
                if !outgoing[flow].hasData { outgoing[flow].markOldestLost(configuration.maxPacketSize) }
            }
            if probeCount == Self.stallProbes { controller.pathStalled() }
        }
    }

    /// The datagrams take another way from here on, whose round trip is `roundTrip`: what was learnt of the old one says
    /// nothing about it (RFC 9000 §9.4).
    public mutating func pathChanged(roundTrip: Duration?, now: Timestamp) {
        pathSince = now.nanoseconds
        let initial = max(1, (roundTrip ?? configuration.roundTrip).nanoseconds)
        rtt = RoundTripTime(initial: initial)
        controller = RateController(packetSize: configuration.maxPacketSize + configuration.overhead, roundTrip: initial)
        pathReturned()
    }

    /// The path carries datagrams again: a probe finds out at once what was lost meanwhile.
    public mutating func pathReturned() {
        probeCount = 0
        if detector.inFlight > 0 { probesDue = 2 }
    }

    /// Gives back memory that an idle link holds. Call it now and then.
    public mutating func trim(now: Timestamp) {
        guard now.nanoseconds - lastActivity > Self.idleTime else { return }
        for flow in 0..<Self.flowCount { incoming[flow].trim() }
    }
}
