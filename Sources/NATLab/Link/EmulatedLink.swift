// SPDX-License-Identifier: Apache-2.0
public import Wire

//   enqueue ──▶ too long? ──▶ no room? ──▶ queue ──▶ wire (rate) ──▶ lost? ──▶ delay, jitter ──▶ dequeue
//               oversized     overflowed                             lost      held back, copied
//
// A first-in-first-out queue needs no event of its own: when a packet comes in, everything before it decides when its last
// byte leaves, and so when it arrives. What waits for its arrival stands in a heap.

/// One direction of a link on whatever clock the caller has: packets go in with the time, and come out when they would have
/// arrived.
///
/// It is a value without I/O, clock or randomness of its own: the same conditions, seed and calls give the same packets at
/// the same times. Times must not go back from call to call. `Payload` is what a packet is to the caller: bytes, or a number
/// that names them; its length is told beside it.
///
///     var link = EmulatedLink<[UInt8]>(
///         LinkConditions(rate: 25_000_000, delay: .milliseconds(25), queueLimit: 1_250_000, loss: .random(0.001)),
///         entropy: Entropy(seed: 1))
///     link.enqueue(packet, byteCount: packet.count, now: now)
///     while let packet = link.dequeue(now: now) { … }      // then sleep until link.nextDeadline
public struct EmulatedLink<Payload> {
    fileprivate struct Flight {
        let arrival: Timestamp
        /// The order of what arrives at the same time.
        let sequence: UInt64
        let byteCount: Int
        let payload: Payload

        func isBefore(_ other: Flight) -> Bool {
            arrival == other.arrival ? sequence < other.sequence : arrival < other.arrival
        }
    }

    /// What the link does. Changes hold for packets that come in later; what is on its way keeps its times.
    public var conditions: LinkConditions
    /// What happened so far.
    public private(set) var counters = LinkCounters()
    private var entropy: Entropy
    /// What arrives and when, as a binary heap, the earliest first.
    private var flights: [Flight] = []
    private var sequence: UInt64 = 0
    /// When the last byte that was taken in has left.
    private var busyUntil = Timestamp.zero
    /// By how much `busyUntil` was rounded down, in nanoseconds times the rate: so that no rate drifts.
    private var remainder: Int64 = 0
    /// No packet arrives before this one that was sent earlier, unless that one is held back.
    private var lastArrival = Timestamp.zero
    private var isInBurst = false

    /// A link that is idle, with its own stream of randomness.
    public init(_ conditions: LinkConditions, entropy: Entropy) {
        self.conditions = conditions
        self.entropy = entropy
    }

    /// When ``dequeue(now:)`` has something next; `nil` while nothing is on its way.
    public var nextDeadline: Timestamp? { flights.first?.arrival }

    /// How many packets, copies included, are waiting or on their way.
    public var packetsUnderway: Int { flights.count }

    /// How long a packet that came in now would wait for those before it.
    public func queueDelay(now: Timestamp) -> Duration { busyUntil > now ? busyUntil - now : .zero }

    /// How many bytes wait, the rest of the packet on the wire included.
    public func queuedBytes(now: Timestamp) -> Int {
        guard let rate = conditions.rate else { return 0 }
        let (seconds, rest) = queueDelay(now: now).nanoseconds.quotientAndRemainder(dividingBy: 1_000_000_000)
        let (whole, overflow) = Int(seconds).multipliedReportingOverflow(by: rate)
        guard !overflow else { return .max }
        // Rounded up: a byte of which a part is sent still waits.
        return whole + (Int(rest) * rate + 999_999_999) / 1_000_000_000
    }

    /// Takes in a packet of `byteCount` bytes. Answers how many copies of it will come out: none where it is dropped or
    /// lost, two where it is duplicated.
    @discardableResult
    public mutating func enqueue(_ packet: Payload, byteCount: Int, now: Timestamp) -> Int {
        precondition(byteCount >= 0, "a packet has a length")
        counters.offered += 1
        counters.offeredBytes += byteCount
        if let mtu = conditions.mtu, byteCount > mtu {
            counters.oversized += 1
            return 0
        }
        let wait = queueDelay(now: now)
        if let limit = conditions.queueLimit, wait > .zero, queuedBytes(now: now) + byteCount > limit {
            counters.overflowed += 1
            return 0
        }
        counters.longestWait = max(counters.longestWait, wait)
        let departure = send(byteCount, now: now)
        guard !isLost() else {
            counters.lost += 1
            return 0
        }
        var arrival = departure + conditions.delay
        if conditions.jitter > .zero {
            arrival += .nanoseconds(Int64(entropy.unit() * Double(conditions.jitter.nanoseconds)))
        }
        arrival = max(arrival, lastArrival)
        if entropy.happens(conditions.reorder) {
            counters.reordered += 1
            arrival += conditions.reorderDelay
        } else {
            lastArrival = arrival
        }
        fly(packet, byteCount, arrival)
        guard entropy.happens(conditions.duplication) else { return 1 }
        counters.duplicated += 1
        fly(packet, byteCount, arrival)
        return 2
    }

    /// The next packet that has arrived by `now`, in the order of arrival; `nil` when there is none (yet).
    public mutating func dequeue(now: Timestamp) -> Payload? {
        guard let first = flights.first, first.arrival <= now else { return nil }
        let last = flights.removeLast()
        if !flights.isEmpty {
            flights[0] = last
            sink()
        }
        counters.delivered += 1
        counters.deliveredBytes += first.byteCount
        return first.payload
    }

    /// When the last byte of a packet leaves.
    private mutating func send(_ byteCount: Int, now: Timestamp) -> Timestamp {
        if busyUntil < now {
            busyUntil = now
            remainder = 0
        }
        guard let rate = conditions.rate else { return busyUntil }
        precondition((1...1_000_000_000).contains(rate), "the rate of a link is 1 to 10⁹ bytes a second")
        let work = Int64(byteCount) * 1_000_000_000 + remainder
        busyUntil += .nanoseconds(work / Int64(rate))
        remainder = work % Int64(rate)
        return busyUntil
    }

    private mutating func isLost() -> Bool {
        switch conditions.loss {
        case .none: return false
        case .random(let share): return entropy.happens(share)
        case .bursts(let bursts):
            if entropy.happens(isInBurst ? bursts.exit : bursts.entry) { isInBurst.toggle() }
            return entropy.happens(isInBurst ? bursts.lossWhenBad : bursts.lossWhenGood)
        }
    }

    private mutating func fly(_ packet: Payload, _ byteCount: Int, _ arrival: Timestamp) {
        sequence += 1
        flights.append(Flight(arrival: arrival, sequence: sequence, byteCount: byteCount, payload: packet))
        var place = flights.count - 1
        while place > 0, flights[place].isBefore(flights[(place - 1) / 2]) {
            flights.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    private mutating func sink() {
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < flights.count && flights[child].isBefore(flights[least]) {
                least = child
            }
            guard least != place else { return }
            flights.swapAt(place, least)
            place = least
        }
    }
}

extension EmulatedLink.Flight: Sendable where Payload: Sendable {}
extension EmulatedLink: Sendable where Payload: Sendable {}

extension Entropy {
    /// A number from 0 up to but not including 1.
    fileprivate mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Whether something of this probability happens. What never or always happens takes nothing from the stream.
    fileprivate mutating func happens(_ probability: Double) -> Bool {
        guard probability > 0 else { return false }
        return probability >= 1 || unit() < probability
    }
}
