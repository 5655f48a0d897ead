// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Wire

/// `dreamer bench connections`
struct BenchConnectionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connections",
        abstract: "Measure what many open connections cost: memory, threads, set-up, and processor time with little traffic.",
        discussion: """
            A second process holds the other ends. Here all connections share one socket, there each has its own, since two
            sessions between the same two sockets could not be told apart.
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
        let closing = try bench.close()

        func kilobytes(_ usage: ConnectionsBench.Usage, _ side: KeyPath<ConnectionsBench.Usage, Int>) -> Double {
            Double(usage[keyPath: side] - before[keyPath: side]) / Double(count) / 1000
        }
        func percent(
            _ from: ConnectionsBench.Usage, _ to: ConnectionsBench.Usage,
            _ side: KeyPath<ConnectionsBench.Usage, Double>
        ) -> Double {
            (to[keyPath: side] - from[keyPath: side]) / (to.time - from.time) * 100
        }
        let rows: [(key: String, words: String, digits: Int, ours: Double, peer: Double?)] = [
            ("idleKilobytes", "memory an idle connection, kB", 1, kilobytes(idle, \.ourBytes), kilobytes(idle, \.peerBytes)),
            ("usedKilobytes", "after \(Units.bytes(exercise.value)) over each, kB", 1, kilobytes(exercised, \.ourBytes),
                kilobytes(exercised, \.peerBytes)),
            ("threads", "threads", 0, Double(idle.ourThreads), Double(idle.peerThreads)),
            ("setUpCPUMilliseconds", "processor time of a set-up, ms", 2,
                (opened.ourCPU - before.ourCPU) / Double(count) * 1000,
                (opened.peerCPU - before.peerCPU) / Double(count) * 1000),
            ("idlePercent", "processor idle, %", 2, percent(opened, idle, \.ourCPU), percent(opened, idle, \.peerCPU)),
            ("busyPercent", "processor at \(rate) messages a second each, %", 2, percent(idle, busy, \.ourCPU),
                percent(idle, busy, \.peerCPU)),
            ("setUpsPerSecond", "connections set up a second", 0, Double(count) / setUp, nil),
            ("messages", "messages that came back", 0, Double(echoes), nil),
            ("closeSeconds", "closing all, s", 2, closing, nil),
        ]
        if json {
            var object: JSON.Object = [
                "benchmark": "connections", "machine": machine.json, "connections": .integer(Int64(open)),
                "loops": .integer(Int64(loops)), "rate": .number(rate),
            ]
            for row in rows {
                object[row.key] = row.peer.map { [.rounded(row.ours), .rounded($0)] } ?? .rounded(row.ours)
            }
            Terminal.output(JSON.object(object).serialized())
        } else {
            Terminal.output(machine.description)
            Terminal.output("\(open) open connections, \(loops) loop\(loops == 1 ? "" : "s")")
            var table = TextTable("", "one socket", "a socket each")
            for row in rows {
                table.add(row.words, Units.fixed(row.ours, row.digits), row.peer.map { Units.fixed($0, row.digits) } ?? "")
            }
            for line in table.lines { Terminal.output(line) }
        }
    }
}
