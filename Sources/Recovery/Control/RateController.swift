// SPDX-License-Identifier: Apache-2.0

//  startup ──rate no longer grows──▶ drain ──in flight ≤ product──▶ cruise ◀──▶ probe ──▶ yield ──▶ cruise …
//                                                                     │ ▲
//                                               least round trip is old ▼ │
//                                                              probeRoundTrip

/// How much may be in flight and how fast it may leave, from a model of the path: its delivery rate and its round trip
/// without a queue. A loss by itself says nothing about the rate; many of them in one round trip do.
///
/// The idea is BBR's (draft-cardwell-iccrg-bbr-congestion-control); what differs is how it shares: the window stays
/// below what would fill a queue of one product of bandwidth and delay, so that a flow that fills queues gets its part.
struct RateController {
    /// What the controller does at the moment.
    enum Phase: Hashable, Sendable {
        /// The rate doubles each round trip.
        case startup
        /// What start-up left in the queue drains.
        case drain
        /// As fast as the path was seen to deliver.
        case cruise
        /// A little faster, to see whether there is more.
        case probe
        /// A little slower, to drain what probing left.
        case yield
        /// Little in flight for a moment, to see the round trip without a queue.
        case probeRoundTrip
    }

    /// The rate grows by this factor in start-up: the least that doubles deliveries each round trip (4 · ln 2).
    private static let startupGain = 2.77
    private static let drainGain = 0.5
    private static let probeGain = 1.25
    private static let yieldGain = 0.75
    /// The window in start-up, in products of bandwidth and delay.
    private static let startupWindowGain = 2.0
    /// The window later.
    private static let windowGain = 1.25
    /// Round trips between probes.
    private static let cruiseRounds = 6
    /// How long the least round trip is believed (nanoseconds).
    private static let roundTripLifetime: Int64 = 10_000_000_000
    /// How long little is in flight while it is looked for (nanoseconds).
    private static let roundTripProbeTime: Int64 = 200_000_000
    /// Below this round trip no queue is worth looking for (nanoseconds).
    private static let shortRoundTrip: Int64 = 2_000_000
    /// The window counts on a round trip of this at least (nanoseconds): hosts wake up late.
    private static let leastModelRoundTrip: Int64 = 1_000_000
    /// Losses of a round trip that mean a full queue where the round trip grew, as a part of what was sent …
    private static let congestionLoss = 0.03
    /// … and where it did not, as with a policer or a short queue.
    private static let blindCongestionLoss = 0.12
    /// Packets lost in a round trip that mean nothing.
    private static let harmlessLosses = 8
    /// Packets in the first window. RFC 9002 §7.2 has 10 for senders that do not pace; ours are spread over the round trip
    /// that ICE measured.
    private static let initialPackets = 64
    private static let leastPackets = 4

    private let packetSize: Int
    private(set) var phase = Phase.startup
    private(set) var window: Int
    private(set) var pacingRate: Double
    private var bandwidth = BandwidthFilter()
    /// The least round trip in its lifetime, in nanoseconds.
    private(set) var leastRoundTrip: Int64
    private var leastRoundTripAt: Int64 = .min

    private(set) var round: UInt64 = 0
    private var roundEndsAt: UInt64 = 0
    private var roundLost = 0
    private var roundLostPackets = 0
    private var roundAcked = 0
    private var roundLeastRTT: Int64 = .max

    private var fullRate = 0.0
    private var fullRounds = 0
    private var phaseBegan: Int64 = 0
    /// What may be in flight at most, after a queue was seen to overflow.
    private var inFlightLimit = Int.max
    private var windowBeforeProbe = 0
    private var aggregation = AckAggregation()
    /// The least round trip since the last probe began.
    private var cycleLeastRTT: Int64 = .max
    /// The window that is kept while others keep the queue full, 0 while nobody does.
    private var competingWindow = 0

    /// A controller for packets of so many bytes; `roundTrip` in nanoseconds is a first guess.
    init(packetSize: Int, roundTrip: Int64) {
        self.packetSize = packetSize
        leastRoundTrip = roundTrip
        window = Self.initialPackets * packetSize
        pacingRate = Self.startupGain * Double(window) / (Double(max(roundTrip, 1)) * 1e-9)
    }

    /// The delivery rate that the path was seen to have, in bytes a second; 0 before it is known.
    var deliveryRate: Double { bandwidth.value }

    /// Whether no queue on the path is worth looking for.
    var isShort: Bool { leastRoundTrip <= Self.shortRoundTrip }

    /// The product of bandwidth and delay in bytes.
    private var product: Double {
        bandwidth.value * Double(max(leastRoundTrip, Self.leastModelRoundTrip)) * 1e-9
    }

    /// What may leave at once without a pause: a millisecond's worth.
    var quantum: Int { max(2 * packetSize, Int(min(pacingRate * 0.001, 1e9))) }

    /// Takes what an acknowledgement said.
    ///
    /// - Parameters:
    ///   - delivered: all bytes that arrived so far.
    ///   - inFlight: what is in flight now.
    mutating func acknowledged(
        _ outcome: LossDetector.Outcome, roundTrip: Int64?, delivered: UInt64, inFlight: Int, now: Int64
    ) {
        roundLost += outcome.lostBytes
        roundLostPackets += outcome.lostPackets
        roundAcked += outcome.ackedBytes
        if let roundTrip {
            roundLeastRTT = min(roundLeastRTT, roundTrip)
            cycleLeastRTT = min(cycleLeastRTT, roundTrip)
        }
        let isRoundStart = noteRound(outcome.newest, delivered)
        noteBandwidth(outcome.newest, delivered, now)
        aggregation.update(acked: outcome.ackedBytes, rate: bandwidth.value, round: round, now: now)
        if isRoundStart {
            compete()
            judgeLosses(now)
            checkFullPipe(outcome.newest?.isAppLimited ?? true, now)
            roundLost = 0
            roundLostPackets = 0
            roundAcked = 0
            roundLeastRTT = .max
        }
        advance(inFlight, now)
        noteRoundTrip(roundTrip, now)
        setRate()
        setWindow(outcome.ackedBytes, delivered)
    }

    private mutating func noteRound(_ newest: SentPacket?, _ delivered: UInt64) -> Bool {
        guard let newest, newest.delivered >= roundEndsAt else { return false }
        roundEndsAt = delivered
        round += 1
        return true
    }

    private mutating func noteBandwidth(_ newest: SentPacket?, _ delivered: UInt64, _ now: Int64) {
        guard let newest else { return }
        let interval = max(newest.sentAt - newest.firstSentAt, now - newest.deliveredAt)
        // A shorter interval than a round trip says nothing (a batch of acknowledgements).
        guard interval > 0, interval >= leastRoundTrip || phase == .startup else { return }
        let rate = Double(delivered - newest.delivered) / (Double(interval) * 1e-9)
        if !newest.isAppLimited || rate >= bandwidth.value { bandwidth.update(rate, round: round) }
    }

    /// Draws conclusions from the losses of the round trip that ended.
    private mutating func judgeLosses(_ now: Int64) {
        let part = Double(roundLost) / Double(max(1, roundLost + roundAcked))
        let hasQueue = roundLeastRTT != .max
            && roundLeastRTT > leastRoundTrip + max(leastRoundTrip / 10, Self.shortRoundTrip)
        guard roundLostPackets > Self.harmlessLosses,
            part > (hasQueue ? Self.congestionLoss : Self.blindCongestionLoss)
        else { return }
        inFlightLimit = max(Int(product), window * 7 / 10, Self.leastPackets * packetSize)
        if phase == .startup { begin(.drain, now) }
        if phase == .probe { begin(.yield, now) }
    }

    /// Beside flows that fill the queue a window of one product would shrink with each round trip that they stretch. So it
    /// shrinks to half at most, and then grows and falls as Reno's does (RFC 5681 §3.1), but with CUBIC's decrease (RFC
    /// 9438 §4.6), until the queue empties.
    private mutating func compete() {
        guard competingWindow > 0 else { return }
        if roundLostPackets > 0 {
            competingWindow = max(competingWindow * 7 / 10, Self.leastPackets * packetSize)
        } else {
            competingWindow += packetSize
        }
    }

    /// Whether the queue emptied since the last probe, although we left room for that.
    private mutating func judgeQueue() {
        let hasQueue = cycleLeastRTT != .max
            && cycleLeastRTT > leastRoundTrip + max(leastRoundTrip / 8, Self.shortRoundTrip)
        competingWindow = hasQueue ? max(competingWindow, window / 2) : 0
        cycleLeastRTT = .max
    }

    private mutating func checkFullPipe(_ isAppLimited: Bool, _ now: Int64) {
        guard phase == .startup, !isAppLimited else { return }
        if bandwidth.value >= fullRate * 1.25 {
            fullRate = bandwidth.value
            fullRounds = 0
            return
        }
        fullRounds += 1
        if fullRounds >= 3 { begin(.drain, now) }
    }

    private mutating func advance(_ inFlight: Int, _ now: Int64) {
        let elapsed = now - phaseBegan
        let trip = max(leastRoundTrip, Self.leastModelRoundTrip)
        switch phase {
        case .startup, .probeRoundTrip:
            break
        case .drain:
            if Double(inFlight) <= product || elapsed > 4 * trip { begin(.cruise, now) }
        case .cruise:
            if elapsed > Int64(Self.cruiseRounds) * trip {
                judgeQueue()
                begin(.probe, now)
            }
        case .probe:
            if elapsed > trip, Double(inFlight) >= Self.probeGain * product || roundLost > 0 || elapsed > 2 * trip {
                // Nothing overflowed, so the limit gives way.
                if inFlightLimit != .max {
                    inFlightLimit = inFlightLimit > 4 * window ? .max : inFlightLimit + inFlightLimit / 4
                }
                begin(.yield, now)
            }
        case .yield:
            if elapsed > trip || Double(inFlight) <= product { begin(.cruise, now) }
        }
    }

    private mutating func begin(_ phase: Phase, _ now: Int64) {
        self.phase = phase
        phaseBegan = now
    }

    private mutating func noteRoundTrip(_ roundTrip: Int64?, _ now: Int64) {
        var isOld = leastRoundTripAt != .min && now - leastRoundTripAt > Self.roundTripLifetime
        if let roundTrip, isOld, roundTrip <= leastRoundTrip + leastRoundTrip / 32 { isOld = false }
        if let roundTrip {
            if roundTrip <= leastRoundTrip || isOld || leastRoundTripAt == .min {
                leastRoundTrip = max(1, roundTrip)
                leastRoundTripAt = now
            } else if roundTrip <= leastRoundTrip + leastRoundTrip / 32 {
                // The queue was as good as empty, so the least is still true.
                leastRoundTripAt = now
            }
        }
        if isOld, phase != .probeRoundTrip, phase != .startup, leastRoundTrip > Self.shortRoundTrip {
            windowBeforeProbe = window
            begin(.probeRoundTrip, now)
        }
        if phase == .probeRoundTrip, now - phaseBegan > Self.roundTripProbeTime + leastRoundTrip {
            leastRoundTripAt = now
            window = max(window, windowBeforeProbe)
            begin(.cruise, now)
        }
    }

    private var gain: Double {
        switch phase {
        case .startup: Self.startupGain
        case .drain: Self.drainGain
        case .cruise, .probeRoundTrip: 1
        case .probe: Self.probeGain
        case .yield: Self.yieldGain
        }
    }

    private mutating func setRate() {
        guard bandwidth.value > 0 else { return }
        let rate = gain * bandwidth.value
        pacingRate = phase == .startup ? max(pacingRate, rate) : max(rate, competingRate)
    }

    /// What the window of competition lets out in a round trip.
    private var competingRate: Double {
        competingWindow > 0 && cycleLeastRTT != .max ? Double(competingWindow) / (Double(cycleLeastRTT) * 1e-9) : 0
    }

    private mutating func setWindow(_ acked: Int, _ delivered: UInt64) {
        let least = Self.leastPackets * packetSize
        if phase == .probeRoundTrip {
            window = max(least, Int(min(0.5 * product, 1e12)))
            return
        }
        let windowGain = phase == .startup ? Self.startupWindowGain : Self.windowGain
        let target = Int(min(windowGain * product, 1e12)) + quantum
            + min(aggregation.extra, Int(min(product, 1e12)))
        if phase == .startup {
            if window < target || delivered < UInt64(Self.initialPackets * packetSize) { window += acked }
        } else {
            window = min(window + acked, target)
        }
        window = max(least, competingWindow, min(window, inFlightLimit))
    }

    /// Nothing came back for several probes: begin again carefully.
    mutating func pathStalled() {
        window = Self.leastPackets * packetSize
    }
}
