// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NATLab
import Wire

/// `dreamer bench path`
struct BenchPathCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "path",
        abstract: "Measure transfers over an emulated path: rate, queue, delay of small messages, share beside TCP.",
        discussion: """
            Two network namespaces are joined by an emulated link, with a process in each. This needs root and /dev/net/tun. \
            Without --rtt and --loss, four paths are measured: 20 and 100 ms without loss, 50 ms with 0.1 % and with 1 %.
            """)

    @Option(help: "The round-trip time without queues, for example 50ms.")
    var rtt: TimeSpan?

    @Option(help: "The share of packets lost at random, in both directions, for example 0.1%.")
    var loss: Share?

    @Option(help: "The rate of the bottleneck, in both directions, for example 200mbit or 25MB/s.")
    var rate: LinkRate = .usual

    @Option(help: "What fits into the queue at the bottleneck: 1bdp, 20ms or 250KB.")
    var queue: QueueSize = .products(1)

    @Option(help: "How long is measured, in seconds (12, or 30 with --beside-cubic).")
    var seconds: Double?

    @Option(help: "The size of a message, at most 256 KiB.")
    var message: ByteCount = ByteCount(64 << 10)

    @Option(help: "Over how many connections the data is spread (repeatable).")
    var connections: [Int] = []

    @Option(help: "Measure a TCP connection with this congestion control of the kernel: cubic, bbr, reno (repeatable).")
    var tcp: [String] = []

    @Flag(help: "Leave the recovery of losses to SCTP, as toward every peer but our own.")
    var plain = false

    @Flag(help: "Send a small message every 50 ms on a channel of its own meanwhile, and measure its delay.")
    var control = false

    @Flag(help: "Share the path with a TCP CUBIC connection that began 3 s earlier.")
    var besideCubic = false

    @Option(help: "How often everything is measured; the run with the middle rate is told.")
    var rounds: Int = 1

    @Option(help: "What the link's randomness grows from; each round adds 1.")
    var seed: UInt64 = 1

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard (64...262_144).contains(message.value) else {
            throw ValidationError("--message: give 64 bytes to 256 KiB")
        }
        if let seconds, !(0.5...3600).contains(seconds) { throw ValidationError("--seconds: give 0.5 to 3600") }
        guard connections.allSatisfy({ (1...64).contains($0) }) else {
            throw ValidationError("--connections: give 1 to 64")
        }
        guard (1...100).contains(rounds) else { throw ValidationError("--rounds: give 1 to 100") }
        if let rtt, rtt.duration > .seconds(10) { throw ValidationError("--rtt: give 10s at most") }
    }

    func run() async throws {
        let machine = Machine.current
        let scenarios: [PathScenario] =
            rtt == nil && loss == nil
            ? PathScenario.presets(rate: rate.bytesPerSecond, queue: queue)
            : [
                PathScenario(
                    rate: rate.bytesPerSecond, roundTrip: rtt?.duration ?? .milliseconds(50), loss: loss?.value ?? 0,
                    queue: queue)
            ]
        let kinds =
            (connections.isEmpty && tcp.isEmpty ? [1] : connections)
            .map { PathFlow.Kind.channels(connections: $0, control: control, plain: plain) } + tcp.map { .tcp($0) }
        var results: [JSON] = []
        if !json { Terminal.output(machine.description) }
        for scenario in scenarios {
            if !json { Terminal.output("\n\(scenario.description)") }
            var table = PathTable(roundTrip: scenario.roundTrip, control: control, rival: besideCubic)
            for kind in kinds {
                let runs = try await measure(kind, over: scenario).sorted { $0.rate < $1.rate }
                let middle = runs[(runs.count - 1) / 2]
                table.add(kind, middle)
                var result = middle.json(scenario, kind)
                result["allMegabytesPerSecond"] = .array(runs.map { .rounded($0.rate) })
                results.append(.object(result))
            }
            if !json { for line in table.lines { Terminal.output(line) } }
        }
        if json {
            let report: JSON = ["benchmark": "path", "machine": machine.json, "results": .array(results)]
            Terminal.output(report.serialized())
        }
    }

    private func measure(_ kind: PathFlow.Kind, over scenario: PathScenario) async throws -> [PathBench.Result] {
        var results: [PathBench.Result] = []
        for round in 0..<rounds {
            let bench = PathBench(
                scenario: scenario, kind: kind, seconds: seconds ?? (besideCubic ? 30 : 12), message: message.value,
                rival: besideCubic ? "cubic" : nil, seed: seed &+ UInt64(round))
            do {
                results.append(try await bench.run())
            } catch let error as KernelLabError {
                throw CommandFailure("no path can be emulated here: \(error)")
            }
        }
        return results
    }
}

/// The results over one path, for people.
private struct PathTable {
    private let roundTrip: Duration
    private let control: Bool
    private let rival: Bool
    private var table: TextTable

    init(roundTrip: Duration, control: Bool, rival: Bool) {
        self.roundTrip = roundTrip
        self.control = control
        self.rival = rival
        table = TextTable(
            ["", "MB/s", "2nd half", "queue mean ms", "p95", "lost %", "overflow %", "CPU-s/GB", "emulator cores"]
                + (control ? ["message p50 ms", "p95", "p95 there and back"] : [])
                + (rival ? ["cubic MB/s", "our share %"] : []))
    }

    var lines: [String] { table.lines }

    mutating func add(_ kind: PathFlow.Kind, _ result: PathBench.Result) {
        let forward = result.link.forward
        let offered = Double(max(1, forward.counters.offered))
        func milliseconds(_ duration: Duration) -> String { Units.fixed(duration.seconds * 1000, 1) }
        func percent(_ count: Int) -> String { Units.fixed(Double(count) / offered * 100, 3) }
        func quantile(_ samples: Samples, _ share: Double) -> String {
            samples.quantile(share).map { Units.fixed($0, 1) } ?? "-"
        }
        var row = [
            kind.name, Units.fixed(result.rate, 2), Units.fixed(result.lateRate, 2),
            milliseconds(forward.queueDelay.mean), milliseconds(forward.queueDelay.quantile(0.95)),
            percent(forward.counters.lost), percent(forward.counters.overflowed),
            Units.fixed(result.cpuSecondsPerGB, 1), Units.fixed(result.emulatorCores, 2),
        ]
        if control {
            row += [
                quantile(result.controlOneWay, 0.5), quantile(result.controlOneWay, 0.95),
                quantile(result.controlRoundTrip, 0.95),
            ]
        }
        if rival {
            row += [
                result.rivalRate.map { Units.fixed($0, 2) } ?? "-",
                result.share.map { Units.fixed($0 * 100, 0) } ?? "-",
            ]
        }
        table.add(row)
        let missed = result.link.missed + forward.refused + result.link.backward.refused
        // A thousandth may hide in the noise, more does not.
        if Double(missed) > offered / 1000 {
            Terminal.note("\(kind.name): the emulator came too late for \(missed) packets: the machine is too busy")
        }
    }
}
