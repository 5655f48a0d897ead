// SPDX-License-Identifier: Apache-2.0
import NATLab
import Recovery
import Testing
import Wire

/// 40 Mbit/s, so that a debug build runs them in seconds; `dreamer bench path` has the real thing at 200 Mbit/s.
@Suite("Paths with a queue of one product of bandwidth and delay")
struct PathTests {
    static let rate = 5_000_000

    struct Goal: CustomTestStringConvertible {
        let milliseconds: Int
        let loss: Double
        /// What has to arrive, as a part of the rate; headers alone take 6 %.
        let least: Double
        var testDescription: String { "\(milliseconds) ms, loss \(loss)" }
    }

    @Test(
        "Long and lossy paths are filled, small packets overtake, and no queue stands",
        arguments: [
            Goal(milliseconds: 20, loss: 0, least: 0.88), Goal(milliseconds: 100, loss: 0, least: 0.85),
            Goal(milliseconds: 50, loss: 0.001, least: 0.85), Goal(milliseconds: 50, loss: 0.01, least: 0.8),
        ])
    func throughput(_ goal: Goal) {
        let seed: UInt64 = 1
        var path = PathSimulation.path(
            milliseconds: goal.milliseconds, loss: goal.loss, rate: Self.rate, seed: seed)
        path.run(seconds: 1)
        path.forgetSamples()
        path.arrived = [0, 0]
        path.run(seconds: 4, probeEvery: 0.05)
        let rate = Double(path.arrived[1]) / (4 * Double(Self.rate))
        let queue = PathSimulation.quantile(path.queueDelays, 0.5)
        let delay = PathSimulation.quantile(path.probeDelays, 0.95)
        #expect(rate >= goal.least, "seed \(seed)")
        #expect(queue < 0.05, "seed \(seed)")
        #expect(delay <= 1.5 * Double(goal.milliseconds) / 1000 + 0.01, "seed \(seed)")
        let isIntact = path.isIntact
        #expect(isIntact, "seed \(seed)")
    }

    @Test("Beside a flow of TCP CUBIC it takes no more than 60 %, and not nothing", arguments: [50, 100])
    func fairness(_ milliseconds: Int) {
        var path = PathSimulation.path(milliseconds: milliseconds, rate: Self.rate, seed: 1)
        path.cubic = CubicFlow()
        path.isSaturated = false
        path.run(seconds: 3)
        path.isSaturated = true
        path.run(seconds: 5)
        path.arrived = [0, 0]
        let before = path.cubic?.deliveredBytes ?? 0
        path.run(seconds: 15)
        let theirs = Double((path.cubic?.deliveredBytes ?? 0) - before)
        let share = Double(path.arrived[1]) / (Double(path.arrived[1]) + theirs)
        #expect(share <= 0.6)
        #expect(share >= 0.2)
    }

    @Test(
        "Whatever the path does, every packet comes once and in order, and all of them in the end",
        arguments: UInt64(1)...12)
    func weather(_ seed: UInt64) {
        var entropy = Entropy(seed: seed)
        func pick(_ range: ClosedRange<Double>) -> Double {
            range.lowerBound + (range.upperBound - range.lowerBound) * Double(entropy.next() >> 11) * 0x1p-53
        }
        var path = PathSimulation.path(
            milliseconds: Int(pick(1...80)), loss: pick(0...0.2), rate: 2_000_000, queue: pick(0.3...2), seed: seed)
        path.forward.conditions.jitter = .milliseconds(Int64(pick(0...20)))
        path.forward.conditions.duplication = pick(0...0.1)
        path.forward.conditions.reorder = pick(0...0.1)
        path.forward.conditions.reorderDelay = .milliseconds(Int64(pick(1...30)))
        path.backward.conditions.duplication = pick(0...0.1)
        path.backward.conditions.reorder = path.forward.conditions.reorder
        path.backward.conditions.reorderDelay = path.forward.conditions.reorderDelay
        path.run(seconds: 2, probeEvery: 0.01)
        path.isSaturated = false
        for _ in 0..<200 where !path.isDone { path.run(seconds: 0.5) }
        let (isDone, isIntact) = (path.isDone, path.isIntact)
        #expect(isDone, "seed \(seed), \(path.forward.conditions)")
        #expect(isIntact, "seed \(seed), \(path.forward.conditions)")
    }

    @Test("An idle link wants nothing, and a path that stops for a while goes on")
    func outage() {
        var path = PathSimulation.path(milliseconds: 20, rate: Self.rate, seed: 3)
        path.run(seconds: 0.5)
        path.forward.conditions.loss = .random(1)
        path.run(seconds: 4)
        path.forward.conditions.loss = .none
        path.arrived = [0, 0]
        path.run(seconds: 6)
        #expect(path.arrived[1] > 2 * Self.rate)
        path.isSaturated = false
        path.run(seconds: 2)
        let (isDone, isIntact) = (path.isDone, path.isIntact)
        #expect(isDone && isIntact)
        let deadlines = (path.sender.nextDeadline, path.receiver.nextDeadline)
        #expect(deadlines.0 == nil && deadlines.1 == nil)
    }
}

/// What hosts and applications do that the path does not.
@Suite("Senders that are late, urgent or moved")
struct SenderTests {
    private static let rate = 5_000_000

    @Test("A loop that turns only every few milliseconds loses no rate", arguments: [2, 4, 8])
    func lateTurns(_ milliseconds: Int) {
        var path = PathSimulation.path(milliseconds: 100, rate: Self.rate, seed: 1)
        path.senderTurn = .milliseconds(milliseconds)
        path.run(seconds: 2)
        path.arrived = [0, 0]
        path.run(seconds: 4)
        #expect(path.arrived[1] > Int(0.85 * 4 * Double(Self.rate)))
    }

    @Test("Bulk data on the urgent flow is paced like any other, and leaves no queue")
    func urgentBulk() {
        var path = PathSimulation.path(milliseconds: 50, rate: Self.rate, queue: 4, seed: 1)
        path.saturatedFlow = 0
        path.run(seconds: 2)
        path.forgetSamples()
        path.arrived = [0, 0]
        path.run(seconds: 4)
        let queue = PathSimulation.quantile(path.queueDelays, 0.5)
        #expect(queue < 0.05)
        #expect(path.arrived[0] > Int(0.8 * 4 * Double(Self.rate)))
    }

    @Test("A new path is learnt anew, not measured by the old one")
    func newPath() {
        var path = PathSimulation.path(milliseconds: 4, rate: Self.rate, seed: 1)
        path.run(seconds: 1)
        path.forward.conditions.delay = .milliseconds(50)
        path.backward.conditions.delay = .milliseconds(50)
        path.forward.conditions.queueLimit = Self.rate / 10
        path.sender.pathChanged(roundTrip: .milliseconds(100), now: path.now)
        path.run(seconds: 1.5)
        path.arrived = [0, 0]
        path.run(seconds: 3)
        #expect(path.arrived[1] > Int(0.85 * 3 * Double(Self.rate)))
        let isIntact = path.isIntact
        #expect(isIntact)
    }

    @Test("A pause of more than ten seconds does not slow down what follows")
    func pause() {
        var path = PathSimulation.path(milliseconds: 40, rate: Self.rate, seed: 1)
        path.run(seconds: 1)
        path.isSaturated = false
        path.run(seconds: 11)
        path.isSaturated = true
        path.arrived = [0, 0]
        path.run(seconds: 0.5)
        #expect(path.arrived[1] > Int(0.8 * 0.4 * Double(Self.rate)))
    }
}
