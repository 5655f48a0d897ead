// SPDX-License-Identifier: Apache-2.0
import Glibc
import RDRR
import Wire

/// Fetches between processes on this machine, ours and others', and what they cost.
final class SwarmBench {
    /// A model to be moved.
    struct Subject {
        let name: String
        let path: String
    }

    /// One transfer.
    struct Transfer {
        let bytes: Int
        /// From the fetcher's start of work to the end of it.
        let seconds: Double
        /// From the first byte of the model to the last.
        let transferSeconds: Double
        /// Of seeder and fetcher.
        let cpuSeconds: Double
        let seederPeakBytes: Int
        let fetcherPeakBytes: Int
    }

    /// Times to an open channel.
    struct Opening {
        let name: String
        var samples: Samples
    }

    /// One program's transfers of one model.
    struct Runs {
        let name: String
        var transfers: [Transfer] = []

        var rate: Samples { Samples(transfers.map { Double($0.bytes) / 1e6 / $0.transferSeconds }) }
        var wholeRate: Samples { Samples(transfers.map { Double($0.bytes) / 1e6 / $0.seconds }) }
        var cost: Samples { Samples(transfers.map { $0.cpuSeconds * 1e9 / Double($0.bytes) }) }
        var seederPeak: Samples { Samples(transfers.map { Double($0.seederPeakBytes) / 1e6 }) }
        var fetcherPeak: Samples { Samples(transfers.map { Double($0.fetcherPeakBytes) / 1e6 }) }
    }

    /// All programs' transfers of one model; the first is ours.
    struct Section {
        let subject: Subject
        let bytes: Int
        var runs: [Runs]
    }

    private let folder: String
    private var tracker: MeasuredProcess?
    private var trackerURL = ""

    /// Works in `folder`.
    init(folder: String) {
        self.folder = folder
    }

    deinit { tracker?.stop() }

    /// Starts the tracker that all use.
    func startTracker() throws {
        let tracker = try MeasuredProcess(MeasuredProcess.ownProgram, ["tracker", "--listen", "127.0.0.1:0", "--json"])
        self.tracker = tracker
        trackerURL = try tracker.json(event: "listening", within: 20)["url"]?.string ?? ""
    }

    // MARK: - Transfers

    /// Moves a model several times, ours and the others taking turns.
    func measure(_ subject: Subject, against foreign: [[String]], rounds: Int) throws -> Section {
        let packed = try pack(subject)
        defer { ScratchFolder.remove(packed) }
        var section = Section(
            subject: subject, bytes: try MappedFile(path: subject.path).count,
            runs: [Runs(name: "dreamer")] + foreign.map { Runs(name: $0.last ?? "") })
        for round in 1...rounds {
            section.runs[0].transfers.append(try transfer(packed))
            for (index, command) in foreign.enumerated() {
                let result = try run(command, ["--tracker", trackerURL, subject.path])
                let name = result["name"]?.string ?? section.runs[index + 1].name
                section.runs[index + 1] = Runs(
                    name: name, transfers: section.runs[index + 1].transfers + [try Transfer(result)])
            }
            Terminal.note(
                "\(subject.name), round \(round) of \(rounds): "
                    + section.runs.map { "\($0.name) \(Units.fixed($0.rate.values.last ?? 0, 0)) MB/s" }
                    .joined(separator: ", "))
        }
        return section
    }

    private func pack(_ subject: Subject) throws -> String {
        let path = "\(folder)/packed"
        ScratchFolder.remove(path)
        _ = try ModelPacker.pack(subject.path, to: path) { _ in }
        return path
    }

    private func startSeeder(_ packed: String) throws -> (process: MeasuredProcess, link: String) {
        let seeder = try MeasuredProcess(
            MeasuredProcess.ownProgram, ["seed", packed, "--tracker", trackerURL, "--bind", "127.0.0.1", "--json"])
        guard let link = try seeder.json(event: "seeding", within: 120)["magnet"]?.string else {
            throw CommandFailure("the seeder names no link")
        }
        return (seeder, link)
    }

    private func startFetcher(_ link: String, to copy: String) throws -> MeasuredProcess {
        try MeasuredProcess(
            MeasuredProcess.ownProgram, ["fetch", link, "-o", copy, "--bind", "127.0.0.1", "--p2p-only", "--json"])
    }

    private func transfer(_ packed: String) throws -> Transfer {
        let copy = "\(folder)/copy"
        defer { ScratchFolder.remove(copy) }
        let (seeder, link) = try startSeeder(packed)
        // Looking through its folder was before the work.
        let before = seeder.cpuSeconds
        let fetcher = try startFetcher(link, to: copy)
        let done = try fetcher.json(event: "done", within: 900)
        let seederCPU = seeder.cpuSeconds - before
        let fetched = try fetcher.finish()
        seeder.stop()
        let served = try seeder.finish()
        guard fetched.status == 0, let bytes = done["bytesFromPeers"]?.integer, let seconds = done["seconds"]?.number,
            let first = done["firstByteTime"]?.number, let last = done["lastByteTime"]?.number, last > first
        else { throw CommandFailure("a fetch failed: \(done.serialized())") }
        return Transfer(
            bytes: Int(bytes), seconds: seconds, transferSeconds: last - first,
            cpuSeconds: seederCPU + fetched.cpuSeconds, seederPeakBytes: served.peakBytes,
            fetcherPeakBytes: fetched.peakBytes)
    }

    // MARK: - Openings

    /// Measures the time from the fetcher's first announce to the open channel, with a small model.
    func measureOpenings(_ count: Int, against foreign: [[String]]) throws -> [Opening] {
        let small = try BenchSwarmCommand.synthetic(SyntheticModel.smallestSize, in: folder)
        let packed = try pack(small)
        defer { ScratchFolder.remove(packed) }
        var openings = [
            Opening(name: "dreamer, from its first step", samples: Samples()),
            Opening(name: "dreamer, from the announce with its offers", samples: Samples()),
        ]
        let (seeder, link) = try startSeeder(packed)
        for number in 1...count {
            let copy = "\(folder)/copy-\(number)"
            defer { ScratchFolder.remove(copy) }
            let fetcher = try startFetcher(link, to: copy)
            var times: [String: Double] = [:]
            _ = try fetcher.json(event: "done", within: 60) { event in
                let name = event["state"]?.string ?? event["event"]?.string ?? ""
                if times[name] == nil, let time = event["time"]?.number { times[name] = time }
            }
            _ = try fetcher.finish()
            guard let begin = times["announcing"], let offered = times["offers"], let opened = times["connected"] else {
                continue
            }
            openings[0].samples.add((opened - begin) * 1000)
            openings[1].samples.add((opened - offered) * 1000)
        }
        seeder.stop()
        _ = try seeder.finish()
        for command in foreign {
            let result = try run(command, ["--tracker", trackerURL, "--opens", "\(count)", small.path])
            let times = result["openMilliseconds"]?.array?.compactMap(\.number) ?? []
            openings.append(Opening(name: result["name"]?.string ?? command.last ?? "", samples: Samples(times)))
        }
        return openings
    }

    private func run(_ command: [String], _ arguments: [String]) throws -> JSON {
        let program = try MeasuredProcess(command[0], command.dropFirst() + arguments)
        let result = try program.json(within: 900)
        let ending = try program.finish()
        guard ending.status == 0 else {
            throw CommandFailure("\(program.name) ended with status \(ending.status): \(result.serialized())")
        }
        return result
    }
}

extension SwarmBench.Transfer {
    /// What another program tells of a transfer.
    fileprivate init(_ json: JSON) throws {
        guard let bytes = json["bytes"]?.integer, bytes > 0, let seconds = json["seconds"]?.number, seconds > 0,
            let transfer = json["transferSeconds"]?.number, transfer > 0, let cpu = json["cpuSeconds"]?.number
        else { throw CommandFailure("a program's result is none: \(json.serialized())") }
        self.init(
            bytes: Int(bytes), seconds: seconds, transferSeconds: transfer, cpuSeconds: cpu,
            seederPeakBytes: Int(json["seederPeakBytes"]?.integer ?? 0),
            fetcherPeakBytes: Int(json["fetcherPeakBytes"]?.integer ?? 0))
    }
}

extension SwarmBench.Section {
    /// What is measured: key, words, digits, the numbers.
    private static let rows:
        [(key: String, words: String, digits: Int, samples: @Sendable (SwarmBench.Runs) -> Samples)] = [
            ("megabytesPerSecond", "MB/s, first byte to last", 1, { $0.rate }),
            ("wholeMegabytesPerSecond", "MB/s, start to end", 1, { $0.wholeRate }),
            ("cpuSecondsPerGB", "CPU-s/GB, both processes", 2, { $0.cost }),
            ("seederPeakMegabytes", "peak memory of the seeder, MB", 0, { $0.seederPeak }),
            ("fetcherPeakMegabytes", "peak memory of the fetcher, MB", 0, { $0.fetcherPeak }),
        ]

    /// For people: a column for each program, and how many times the other's figure ours is.
    var lines: [String] {
        let ours = runs[0]
        var all = ["", "\(subject.name), \(bytes) bytes, median of \(ours.transfers.count)"]
        var heads = [""]
        for run in runs { heads += run.name == ours.name ? [run.name] : [run.name, "ours is times"] }
        var table = TextTable(heads)
        for row in Self.rows {
            var cells = [row.words]
            for (index, run) in runs.enumerated() {
                cells.append(row.samples(run).text(row.digits))
                if index > 0 { cells.append(row.samples(ours).ratios(to: row.samples(run)).text(2)) }
            }
            table.add(cells)
        }
        all += table.lines
        return all
    }

    var json: JSON {
        .object([
            "name": .string(subject.name), "bytes": .integer(Int64(bytes)),
            "programs": .array(
                runs.enumerated().map { index, run in
                    var object: JSON.Object = ["name": .string(run.name)]
                    for row in Self.rows {
                        object[row.key] = row.samples(run).json
                        guard index > 0 else { continue }
                        object["ratioOf" + row.key.prefix(1).uppercased() + row.key.dropFirst()] =
                            row.samples(runs[0]).ratios(to: row.samples(run)).json
                    }
                    return .object(object)
                }),
        ])
    }
}
