// SPDX-License-Identifier: Apache-2.0
import NATLab
import Testing
import Wire

/// A link with a log of what came out of it.
struct LoggedLink {
    struct Arrival: Hashable {
        let packet: Int
        let time: Timestamp
    }

    var link: EmulatedLink<Int>

    init(_ conditions: LinkConditions, seed: UInt64 = 1) {
        link = EmulatedLink(conditions, entropy: Entropy(seed: seed))
    }

    /// Lets everything arrive at its time.
    mutating func drain() -> [Arrival] {
        var arrivals: [Arrival] = []
        while let deadline = link.nextDeadline {
            if deadline.nanoseconds > 0 {
                let early = link.dequeue(now: Timestamp(nanoseconds: deadline.nanoseconds - 1))
                #expect(early == nil, "nothing arrives before its time")
            }
            while let packet = link.dequeue(now: deadline) { arrivals.append(.init(packet: packet, time: deadline)) }
        }
        return arrivals
    }

    /// Sends `count` packets of `byteCount` bytes, one every `interval`; answers the arrivals.
    mutating func run(_ count: Int, byteCount: Int = 1000, every interval: Duration = .zero) -> [Arrival] {
        var now = Timestamp.zero
        for packet in 0..<count {
            link.enqueue(packet, byteCount: byteCount, now: now)
            now += interval
        }
        return drain()
    }
}

private func microseconds(_ count: Int64) -> Timestamp { Timestamp(nanoseconds: count * 1000) }

@Suite("Emulated link")
struct EmulatedLinkTests {
    @Test("a perfect wire takes no time and keeps order")
    func perfect() {
        var link = LoggedLink(LinkConditions())
        #expect(link.run(3) == (0..<3).map { .init(packet: $0, time: .zero) })
        #expect(link.link.nextDeadline == nil)
        #expect(link.link.dequeue(now: .distantFuture) == nil)
    }

    @Test("packets leave at the link's rate and arrive after the delay")
    func rate() {
        var link = LoggedLink(LinkConditions(rate: 1_000_000, delay: .milliseconds(10)))
        #expect(link.run(3).map(\.time) == [microseconds(11_000), microseconds(12_000), microseconds(13_000)])
    }

    @Test("a link that was idle begins afresh")
    func idle() {
        var link = LoggedLink(LinkConditions(rate: 1_000_000, delay: .milliseconds(10)))
        #expect(
            link.run(3, every: .milliseconds(5)).map(\.time)
                == [microseconds(11_000), microseconds(16_000), microseconds(21_000)])
    }

    @Test("a rate that does not divide a second does not drift")
    func fractions() {
        var link = LoggedLink(LinkConditions(rate: 3))
        #expect(
            link.run(6, byteCount: 1).map(\.time.nanoseconds)
                == [333_333_333, 666_666_666, 1_000_000_000, 1_333_333_333, 1_666_666_666, 2_000_000_000])
        // A prime rate and an odd size: the last packet is late by no more than the last rounding.
        var prime = EmulatedLink<Void>(LinkConditions(rate: 24_999_983), entropy: Entropy(seed: 1))
        for _ in 0..<100_000 { prime.enqueue((), byteCount: 1237, now: .zero) }
        let exact = 123_700_000 * 1e9 / 24_999_983
        #expect(abs(Double(prime.queueDelay(now: .zero).nanoseconds) - exact) <= 1)
    }

    @Test("what finds no room in the queue is dropped, and the queue empties at the link's rate")
    func dropTail() {
        var link = EmulatedLink<Int>(
            LinkConditions(rate: 1_000_000, queueLimit: 3000), entropy: Entropy(seed: 1))
        #expect((0..<5).map { link.enqueue($0, byteCount: 1000, now: .zero) } == [1, 1, 1, 0, 0])
        #expect(link.queuedBytes(now: .zero) == 3000)
        #expect(link.queueDelay(now: .zero) == .milliseconds(3))
        // Half of the first packet is sent: 500 bytes fit, 501 do not.
        #expect(link.queuedBytes(now: microseconds(500)) == 2500)
        #expect(link.enqueue(5, byteCount: 501, now: microseconds(500)) == 0)
        #expect(link.enqueue(6, byteCount: 500, now: microseconds(500)) == 1)
        #expect(link.enqueue(7, byteCount: 1, now: microseconds(500)) == 0)
        #expect(link.enqueue(8, byteCount: 1000, now: microseconds(1500)) == 1)
        var log = LoggedLink(LinkConditions())
        log.link = link
        #expect(
            log.drain() == [
                .init(packet: 0, time: microseconds(1000)), .init(packet: 1, time: microseconds(2000)),
                .init(packet: 2, time: microseconds(3000)), .init(packet: 6, time: microseconds(3500)),
                .init(packet: 8, time: microseconds(4500)),
            ])
        #expect(log.link.counters.overflowed == 4)
        #expect(log.link.counters.longestWait == .microseconds(2500))
    }

    @Test("an idle link takes a packet that is longer than its queue")
    func longPacket() {
        var link = EmulatedLink<Int>(LinkConditions(rate: 1000, queueLimit: 100), entropy: Entropy(seed: 1))
        #expect(link.enqueue(0, byteCount: 1000, now: .zero) == 1)
        #expect(link.enqueue(1, byteCount: 1, now: .zero) == 0)
    }

    @Test("a packet longer than the MTU does not pass and takes no time")
    func mtu() {
        var link = LoggedLink(LinkConditions(rate: 1_000_000, mtu: 1500))
        #expect(link.link.enqueue(0, byteCount: 1501, now: .zero) == 0)
        #expect(link.link.enqueue(1, byteCount: 1500, now: .zero) == 1)
        #expect(link.drain() == [.init(packet: 1, time: microseconds(1500))])
        #expect(link.link.counters.oversized == 1)
    }

    @Test("a lost packet takes its time on the wire")
    func lostTakesTime() {
        var link = LoggedLink(LinkConditions(rate: 1_000_000, loss: .random(1)))
        #expect(link.link.enqueue(0, byteCount: 1000, now: .zero) == 0)
        link.link.conditions.loss = .none
        link.link.enqueue(1, byteCount: 1000, now: .zero)
        #expect(link.drain() == [.init(packet: 1, time: microseconds(2000))])
    }

    @Test("random loss is as frequent as it should be", arguments: [0.0, 0.001, 0.01, 0.1, 0.5, 1])
    func randomLoss(share: Double) {
        let count = 20_000
        var link = LoggedLink(LinkConditions(loss: .random(share)), seed: 42)
        let arrived = Double(link.run(count).count)
        let expected = Double(count) * (1 - share)
        // Five standard deviations of the binomial distribution.
        let bound = 5 * (Double(count) * share * (1 - share)).squareRoot()
        #expect(abs(arrived - expected) <= bound)
        #expect(link.link.counters.lost == count - Int(arrived))
        #expect(abs(link.link.counters.lossShare - share) <= bound / Double(count))
    }

    @Test("bursts have the asked-for share and length", arguments: [(0.01, 5.0), (0.05, 1.5), (0.2, 20.0)])
    func burstLoss(average: Double, meanLength: Double) {
        let count = 40_000
        let model = BurstLoss(average: average, meanLength: meanLength)
        #expect(abs(model.average - average) < 1e-12)
        #expect(abs(LossModel.bursts(model).average - average) < 1e-12)
        var link = LoggedLink(LinkConditions(loss: .bursts(model)), seed: 7)
        var next = 0
        var bursts: [Int] = []
        for arrival in link.run(count) {
            if arrival.packet > next { bursts.append(arrival.packet - next) }
            next = arrival.packet + 1
        }
        let lost = bursts.reduce(0, +)
        #expect(abs(Double(lost) / Double(count) / average - 1) < 0.25)
        // Lengths are geometric: the mean of n has a standard deviation of at most meanLength / √n.
        let mean = Double(lost) / Double(bursts.count)
        #expect(abs(mean - meanLength) < 5 * meanLength / Double(bursts.count).squareRoot())
    }

    @Test("a copy arrives with its packet")
    func duplication() {
        var link = LoggedLink(LinkConditions(rate: 1_000_000, delay: .milliseconds(1), duplication: 1))
        #expect(link.link.enqueue(0, byteCount: 1000, now: .zero) == 2)
        #expect(link.link.enqueue(1, byteCount: 1000, now: .zero) == 2)
        #expect(link.link.packetsUnderway == 4)
        let arrivals = link.drain()
        #expect(arrivals.map(\.packet) == [0, 0, 1, 1])
        #expect(
            arrivals.map(\.time)
                == [microseconds(2000), microseconds(2000), microseconds(3000), microseconds(3000)])
        #expect(link.link.counters.duplicated == 2)
        #expect(link.link.counters.deliveredBytes == 4000)
        var half = LoggedLink(LinkConditions(duplication: 0.25), seed: 3)
        let count = half.run(20_000).count
        // 5 standard deviations: √(20,000 · 0.25 · 0.75) = 61.
        #expect(abs(count - 25_000) < 306)
    }

    @Test("jitter delays, stays in its bounds and keeps order")
    func jitter() {
        var link = LoggedLink(LinkConditions(delay: .milliseconds(10), jitter: .milliseconds(4)), seed: 5)
        let arrivals = link.run(10_000, every: .milliseconds(1))
        #expect(arrivals.map(\.packet) == Array(0..<10_000))
        let delays = arrivals.map { ($0.time - microseconds(Int64($0.packet) * 1000)).nanoseconds }
        #expect(delays.allSatisfy { (10_000_000...14_000_000).contains($0) })
        #expect(Set(delays).count > 5000)
    }

    @Test("a packet that is held back is overtaken, and nobody else is late for it")
    func reorder() {
        var link = LoggedLink(LinkConditions(delay: .milliseconds(10), reorder: 0.1, reorderDelay: .milliseconds(3)))
        let arrivals = link.run(10_000, every: .milliseconds(1))
        let delays = arrivals.map { ($0.time - microseconds(Int64($0.packet) * 1000)).nanoseconds }
        let late = delays.count { $0 == 13_000_000 }
        #expect(late == link.link.counters.reordered)
        #expect(delays.count { $0 == 10_000_000 } == 10_000 - late)
        #expect((850...1150).contains(late))
        #expect(arrivals.map(\.packet).sorted() == Array(0..<10_000))
        #expect(arrivals.map(\.packet) != Array(0..<10_000))
    }

    @Test("the same seed gives the same packets at the same times")
    func determinism() {
        func log(_ seed: UInt64) -> [LoggedLink.Arrival] {
            var link = LoggedLink(
                LinkConditions(
                    rate: 1_000_003, delay: .milliseconds(20), jitter: .milliseconds(7), queueLimit: 20_000,
                    loss: .bursts(BurstLoss(average: 0.05, meanLength: 3)), duplication: 0.1, reorder: 0.1,
                    mtu: 1500),
                seed: seed)
            var sizes = Entropy(seed: 99)
            var now = Timestamp.zero
            var arrivals: [LoggedLink.Arrival] = []
            for packet in 0..<5000 {
                link.link.enqueue(packet, byteCount: Int(sizes.next() % 1600), now: now)
                now += .microseconds(Int64(sizes.next() % 1500))
                while let packet = link.link.dequeue(now: now) { arrivals.append(.init(packet: packet, time: now)) }
            }
            return arrivals + link.drain()
        }
        #expect(log(1) == log(1))
        #expect(log(1) != log(2))
    }

    @Test("every packet is accounted for, and no more arrives than the rate allows", arguments: [1, 2, 3] as [UInt64])
    func accounting(seed: UInt64) {
        var random = Entropy(seed: seed)
        var link = LoggedLink(
            LinkConditions(
                rate: 500_000, delay: .milliseconds(3), queueLimit: 10_000, loss: .random(0.1), duplication: 0.1,
                reorder: 0.05, mtu: 1400),
            seed: seed)
        var now = Timestamp.zero
        var copies = 0
        for packet in 0..<5000 {
            copies += link.link.enqueue(packet, byteCount: Int(random.next() % 1500), now: now)
            #expect(link.link.queuedBytes(now: now) <= 10_000, "seed \(seed)")
            now += .microseconds(Int64(random.next() % 2000))
        }
        let end = now + link.link.queueDelay(now: now)
        let arrivals = link.drain()
        let counters = link.link.counters
        #expect(arrivals.count == copies && counters.delivered == copies, "seed \(seed)")
        #expect(counters.offered == 5000)
        #expect(
            counters.offered - counters.overflowed - counters.oversized - counters.lost + counters.duplicated == copies,
            "seed \(seed)")
        #expect(counters.overflowed > 0 && counters.oversized > 0 && counters.lost > 0)
        // Copies take no time on the wire.
        #expect(Double(counters.deliveredBytes) <= 1.1 * 500_000 * (end - .zero).seconds, "seed \(seed)")
        let half = counters - LinkCounters()
        #expect(half == counters)
    }
}
