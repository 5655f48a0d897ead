// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import RDRR
import Wire

/// `dreamer bench swarm`
struct BenchSwarmCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "swarm",
        abstract: "Measure a fetch from one seeder on this machine, beside other programs that do the same.",
        discussion: """
            Tracker, seeder and fetcher are processes of their own on 127.0.0.1. A program to compare with is run as
            `PROGRAM --tracker URL FILE`, takes FILE from one process of its own to another, and prints a JSON object with name,
            bytes, seconds, transferSeconds, cpuSeconds, seederPeakBytes and fetcherPeakBytes; with `--opens N` besides,
            openMilliseconds, a list. Benchmarks/libtorrent_pair.py is one.
            """)

    @Option(help: "A model (GGUF); by default one in .build/demo, else a synthetic one of the same size.")
    var model: String?

    @Option(parsing: .upToNextOption, help: "Sizes of synthetic models to measure besides.")
    var sizes: [ByteCount] = [ByteCount(512 << 20)]

    @Option(
        parsing: .upToNextOption,
        help: "Programs to compare with; a .py runs in .venv. By default Benchmarks/libtorrent_pair.py, where it is.")
    var against: [String] = []

    @Flag(help: "Compare with nothing.")
    var alone = false

    @Option(help: "How often each is measured; they take turns.")
    var rounds: Int = 5

    @Option(help: "How many connections are opened to measure the time from the first announce; 0 for none.")
    var opens: Int = 20

    @Option(help: "The folder to work in.")
    var work: String?

    @Flag(help: "Print the result as JSON.")
    var json = false

    func validate() throws {
        guard rounds > 0, opens >= 0 else { throw ValidationError("--rounds: give at least 1; --opens: 0 or more") }
    }

    func run() throws {
        let machine = Machine.current
        let scratch = try ScratchFolder(in: work)
        // Programs that make temporary files put them on the same disk.
        setenv("TMPDIR", scratch.path, 1)
        let bench = SwarmBench(folder: scratch.path)
        try bench.startTracker()
        let contenders = alone ? [] : try foreignPrograms()
        var sections: [SwarmBench.Section] = []
        for subject in try subjects(in: scratch.path) {
            sections.append(try bench.measure(subject, against: contenders, rounds: rounds))
        }
        let openings = opens > 0 ? try bench.measureOpenings(opens, against: contenders) : []
        if json {
            Terminal.output(
                JSON.object([
                    "benchmark": "swarm", "machine": machine.json, "rounds": .integer(Int64(rounds)),
                    "models": .array(sections.map(\.json)),
                    "openMilliseconds": .object(
                        openings.reduce(into: JSON.Object()) { $0[$1.name] = $1.samples.json }),
                ]).serialized())
        } else {
            Terminal.output(machine.description)
            for section in sections { for line in section.lines { Terminal.output(line) } }
            show(openings)
        }
    }

    private func show(_ openings: [SwarmBench.Opening]) {
        guard !openings.isEmpty else { return }
        Terminal.output("")
        Terminal.output("time to an open channel, \(opens) tries, in ms")
        var table = TextTable("", "median", "fastest", "slowest")
        for opening in openings {
            table.add(
                opening.name, opening.samples.text(1), opening.samples.quantile(0).map { Units.fixed($0, 1) } ?? "-",
                opening.samples.quantile(1).map { Units.fixed($0, 1) } ?? "-")
        }
        for line in table.lines { Terminal.output(line) }
    }

    // MARK: - What is measured

    private func subjects(in folder: String) throws -> [SwarmBench.Subject] {
        var subjects: [SwarmBench.Subject] = []
        if let path = model ?? Self.demoModel() {
            subjects.append(.init(name: String(path.split(separator: "/").last ?? "model"), path: path))
        } else {
            subjects.append(try Self.synthetic(SyntheticModel.usualSize, in: folder))
        }
        for size in sizes { subjects.append(try Self.synthetic(size.value, in: folder)) }
        return subjects
    }

    static func synthetic(_ size: Int, in folder: String) throws -> SwarmBench.Subject {
        let path = "\(folder)/synthetic-\(size).gguf"
        if access(path, R_OK) != 0 {
            Terminal.note("making a model of \(size) bytes")
            try SyntheticModel(size: size).write(to: path)
        }
        return .init(name: "a synthetic model", path: path)
    }

    /// The model that the demonstration has downloaded.
    private static func demoModel() -> String? {
        guard let folder = opendir(".build/demo") else { return nil }
        defer { closedir(folder) }
        while let entry = readdir(folder) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".gguf") { return ".build/demo/\(name)" }
        }
        return nil
    }

    private func foreignPrograms() throws -> [[String]] {
        let usual = "Benchmarks/libtorrent_pair.py"
        let named = against.isEmpty ? [usual].filter { access($0, R_OK) == 0 } : against
        if named.isEmpty { Terminal.note("\(usual) is not here, so there is nothing to compare with") }
        var programs: [[String]] = []
        for path in named {
            guard path.hasSuffix(".py") else {
                programs.append([path])
                continue
            }
            let python = access(".venv/bin/python3", X_OK) == 0 ? ".venv/bin/python3" : "python3"
            let check = try MeasuredProcess(python, [path, "--check"]).finish()
            if check.status == 0 {
                programs.append([python, path])
            } else {
                Terminal.note("\(path) cannot run here (scripts/setup --tests makes .venv with what it needs)")
            }
        }
        return programs
    }
}
