// SPDX-License-Identifier: Apache-2.0
import NATLab
import Wire

/// Measures one transfer over one path.
struct PathBench {
    let scenario: PathScenario
    let kind: PathFlow.Kind
    let seconds: Double
    let message: Int
    /// The congestion control of a TCP connection that uses the path too, and began earlier.
    let rival: String?
    let seed: UInt64

    /// How much earlier the other connection begins: time enough to fill the queue.
    private static let headStart = Duration.seconds(3)

    /// What was measured.
    struct Result {
        /// What arrived, in megabytes a second from the start.
        var rate = 0.0
        /// The same in the second half of the time: without the start.
        var lateRate = 0.0
        /// What arrived of the other connection.
        var rivalRate: Double?
        var cpuSecondsPerGB = 0.0
        var senderCPUSecondsPerGB = 0.0
        /// Milliseconds, one way.
        var controlOneWay = Samples()
        /// Milliseconds, there and back.
        var controlRoundTrip = Samples()
        var controlMissing = 0
        var link = KernelPath.Report()

        /// Which part of both transfers is the measured one.
        var share: Double? { rivalRate.map { rate / max(rate + $0, 1e-9) } }
    }

    /// Runs it once, with fresh namespaces and processes.
    func run() async throws -> Result {
        let path = try KernelPath(forward: scenario.conditions, backward: scenario.conditions, seed: seed)
        let flow = try PathFlow(kind, over: path, port: 5001, message: message)
        let other = try rival.map { try PathFlow(.tcp($0), over: path, port: 5002, message: message) }
        if let other {
            other.start()
            try await Task.sleep(for: Self.headStart)
        }
        let (began, otherBegan) = (try flow.progress(), try other?.progress())
        path.beginMeasurement()
        flow.start()
        try await Task.sleep(for: .seconds(seconds / 2))
        let half = try flow.progress()
        try await Task.sleep(for: .seconds(seconds / 2))
        let (ended, otherEnded) = (try flow.progress(), try other?.progress())
        var result = Result()
        result.link = path.report()
        result.rate = ended.rate(since: began)
        result.lateRate = ended.rate(since: half)
        let gigabytes = max(Double(ended.bytes - began.bytes) / 1e9, 1e-9)
        result.cpuSecondsPerGB = (ended.cpuSeconds - began.cpuSeconds) / gigabytes
        result.senderCPUSecondsPerGB = (ended.senderCPUSeconds - began.senderCPUSeconds) / gigabytes
        if let otherBegan, let otherEnded { result.rivalRate = otherEnded.rate(since: otherBegan) }
        if case .channels(_, control: true, _) = kind {
            // What is under way may still arrive, while the transfer goes on.
            flow.endControl()
            try await Task.sleep(for: scenario.roundTrip * 4 + .milliseconds(500))
            let delays = try flow.controlDelays()
            result.controlOneWay = Samples(delays.oneWay.values.map { $0 * 1000 })
            result.controlRoundTrip = Samples(delays.roundTrip.values.map { $0 * 1000 })
            result.controlMissing = delays.missing
        }
        try flow.end()
        try other?.end()
        return result
    }
}

extension PathBench.Result {
    /// Everything, with names for programs.
    func json(_ scenario: PathScenario, _ kind: PathFlow.Kind) -> JSON.Object {
        func milliseconds(_ duration: Duration) -> JSON { .rounded(duration.seconds * 1000) }
        let forward = link.forward
        let offered = Double(max(1, forward.counters.offered))
        var object: JSON.Object = [
            "path": scenario.json, "flow": .string(kind.name), "megabytesPerSecond": .rounded(rate),
            "secondHalfMegabytesPerSecond": .rounded(lateRate),
            "queueMeanMilliseconds": milliseconds(forward.queueDelay.mean),
            "queueP95Milliseconds": milliseconds(forward.queueDelay.quantile(0.95)),
            "lost": .rounded(Double(forward.counters.lost) / offered),
            "overflowed": .rounded(Double(forward.counters.overflowed) / offered),
            "cpuSecondsPerGB": .rounded(cpuSecondsPerGB), "senderCPUSecondsPerGB": .rounded(senderCPUSecondsPerGB),
            "emulator": [
                "cores": .rounded(emulatorCores),
                "latenessP99Microseconds": .rounded(link.lateness.quantile(0.99).seconds * 1e6),
                "missedPackets": .integer(Int64(link.missed + forward.refused + link.backward.refused)),
            ],
        ]
        if let rivalRate, let share {
            object["beside"] = ["megabytesPerSecond": .rounded(rivalRate), "ourShare": .rounded(share)]
        }
        if !controlRoundTrip.values.isEmpty {
            let roundTrip = scenario.roundTrip.seconds * 1000
            var control: JSON.Object = [
                "messages": .integer(Int64(controlRoundTrip.values.count)),
                "missing": .integer(Int64(controlMissing)),
            ]
            for (name, samples) in [("oneWay", controlOneWay), ("roundTrip", controlRoundTrip)] {
                for (words, share) in [("P50", 0.5), ("P95", 0.95)] {
                    let value = samples.quantile(share) ?? 0
                    control["\(name)\(words)Milliseconds"] = .rounded(value)
                    control["\(name)\(words)RoundTrips"] = .rounded(value / max(roundTrip, 1e-3))
                }
            }
            object["control"] = .object(control)
        }
        return object
    }

    /// What carrying the packets took of one core.
    var emulatorCores: Double { link.cpuTime.seconds / max(link.elapsed.seconds, 1e-9) }
}
