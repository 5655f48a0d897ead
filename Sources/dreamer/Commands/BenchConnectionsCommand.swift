// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Wire

/// `dreamer bench connections`
struct BenchConnectionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connections",
        abstract: "Measure what many open connections cost: memory, threads, set-up, processor time.",
        discussion: """
            A second process holds the other ends. Here all connections share one socket, there each has its own, since
            two sessions between the same two sockets could not be told apart.
            """)

    @Option(help: "How many connections.")
    var count: Int = 1000

    @Option(help: "How many event loops they are spread over, each with a thread.")
    var loops: Int = 1

    @Option(help: "Messages of 64 bytes that each connection sends a second; the other side sends them back.")
    var rate: Double = 1

    @Option(help: "For how many seconds processor time is measured, idle and with messages.")
    var seconds: Double = 10

    @Option(help: "How much is sent on each connection before memory is looked at again; 0 for nothing.")
    var exercise: ByteCount = ByteCount(1 << 20)

    @Flag(help: .hidden)
    var asPeer = false

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard count > 0, (1...64).contains(loops), rate >= 0, seconds > 0 else {
            throw ValidationError("--count, --seconds: give more than 0; --loops: 1 to 64; --rate: 0 or more")
        }
    }

    func run() async throws {
        if asPeer { return try await ConnectionsPeer.run(loops: loops) }
        let machine = Machine.current
        let bench = try ConnectionsBench(loops: loops)
        // What the first ones load and set up belongs to the program.
        _ = try await bench.open(loops)
        bench.talk(rate: 10, seconds: 0.5)
        let before = bench.usage()
        let setUp = try await bench.open(count)
        let opened = bench.usage()
        bench.talk(rate: 0, seconds: seconds)
        let idle = bench.usage()
        bench.talk(rate: rate, seconds: seconds)
        let busy = bench.usage()
        let echoes = bench.echoCount
        try bench.exercise(exercise.value)
        bench.talk(rate: 0, seconds: 1)
        let exercised = bench.usage()
        let open = bench.openCount
        var report = ConnectionsReport(connections: open, count: count, loops: loops, rate: rate)
        report.addMemory("idleKilobytes", "memory an idle connection, kB", from: before, to: idle)
        report.addMemory(
            "usedKilobytes", "after \(Units.bytes(exercise.value)) over each, kB", from: before, to: exercised)
        report.add("threads", "threads", 0, [Double(idle.ours.threads), Double(idle.peer.threads)])
        report.add(
            "setUpCPUMilliseconds", "processor time of a set-up, ms", 2,
            opened.cpuSeconds(since: before).map { $0 / Double(count) * 1000 })
        report.addLoad("idlePercent", "processor idle, %", from: opened, to: idle)
        report.addLoad("busyPercent", "processor at \(rate) messages a second each, %", from: idle, to: busy)
        report.add("setUpsPerSecond", "connections set up a second", 0, [Double(count) / setUp])
        report.add("messages", "messages that came back", 0, [Double(echoes)])
        report.add("closeSeconds", "closing all, s", 2, [try bench.close()])
        if json {
            Terminal.output(report.json(machine).serialized())
        } else {
            Terminal.output(machine.description)
            for line in report.lines { Terminal.output(line) }
        }
    }
}
