// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import ICE
import NATLab
import Wire

/// `dreamer nat sim`
struct NATSimCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sim",
        abstract: "Let ICE agents meet behind every pair of NATs, on virtual time.",
        discussion: """
            The agents and the relay are those that the other commands use. The same seed gives the same packets, which the
            digest of a matrix stands for. Without profiles all that come with the program are taken (dreamer nat profiles
            lists them); a profile may also be a JSON file, such as dreamer nat probe writes. There are two matrices, the
            second with a TURN server.
            """)

    @Argument(help: "Names or files of profiles; each meets each, itself too.")
    var profiles: [String] = []

    @Option(help: "What the randomness grows from.")
    var seed: UInt64 = 1

    @Option(help: "How long a packet is under way between a host and the next box, in milliseconds.")
    var delay: Int = 10

    @Option(help: "The share of packets that each host's link loses, 0 to 1.")
    var loss: Double = 0

    @Option(help: "Only with, or only without a TURN server: with, without or both.")
    var turn: Relaying = .both

    @Flag(help: "Neither side knows what the NATs do: no predicted ports, no opening packets, no probing.")
    var blind = false

    @Flag(inversion: .prefixedNo, help: "Probe for the ports of NATs that choose them at random.")
    var birthday = true

    @Option(help: "How many ports the side behind such a NAT opens.")
    var ports: Int = ICEAgent.BirthdayBudget().ports

    @Option(help: "How many ports the other side tries at most.")
    var probes: Int = ICEAgent.BirthdayBudget().probes

    @Option(help: "Look into one pair: OFFERER/ANSWERER. Its packets are drawn in --html and written by --pcap.")
    var cell: String?

    @Option(help: "Repeat --cell with so many seeds, from --seed on, and sum up.")
    var seeds: Int?

    @Option(help: "Write a page with the matrices as heat maps to this file.")
    var html: String?

    @Option(help: "Write the packets of --cell to this file, as pcapng.")
    var pcap: String?

    @Option(help: "Write what the agents of --cell decide to this file, as lines of JSON.")
    var trace: String?

    @Flag(help: "Print the matrices, or what became of --cell, as JSON.")
    var json = false

    @Flag(help: "Print the matrices as CSV.")
    var csv = false

    @Flag(help: "Tell why pairs do not connect, or not directly.")
    var causes = false

    /// With which servers.
    enum Relaying: String, CaseIterable, ExpressibleByArgument {
        case with, without, both
    }

    func validate() throws {
        guard (0...10_000).contains(delay) else { throw ValidationError("--delay \(delay): give 0 to 10000") }
        guard (0...1).contains(loss) else { throw ValidationError("--loss \(loss): give 0 to 1") }
        guard (1...4096).contains(ports) else { throw ValidationError("--ports \(ports): give 1 to 4096") }
        guard (1...64_512).contains(probes) else { throw ValidationError("--probes \(probes): give 1 to 64512") }
        guard !csv || cell == nil else { throw ValidationError("--csv prints matrices; with --cell give --json") }
        guard !(json && csv) else { throw ValidationError("--json and --csv exclude each other") }
        guard cell != nil || (pcap == nil && trace == nil && seeds == nil) else {
            throw ValidationError("--pcap, --trace and --seeds need --cell OFFERER/ANSWERER")
        }
        if let seeds, !(1...100_000).contains(seeds) { throw ValidationError("--seeds \(seeds): give 1 to 100000") }
        if let cell, cell.split(separator: "/").count != 2 {
            throw ValidationError("--cell \(cell): give OFFERER/ANSWERER, for example leaky/leaky")
        }
    }

    func run() throws {
        if let cell {
            let names = cell.split(separator: "/").map { String($0) }
            let (offerer, answerer) = try (NATProfiles.load(names[0]), NATProfiles.load(names[1]))
            if let seeds { return repeatCell(offerer, answerer, seeds) }
            return try lookInto(offerer, answerer)
        }
        let taken = try profiles.isEmpty ? NATProfile.standard : profiles.map { try NATProfiles.load($0) }
        let matrices = kinds.map { kind in
            NATMatrix.simulate(
                taken, title: "Simulation, seed \(seed), \(kind.rawValue) TURN", configuration: settings(kind))
        }
        if let html { try SmallFile.write(Array(NATMatrix.page(matrices).utf8), to: html) }
        if json {
            Terminal.output(JSON.array(matrices.map(\.json)).serialized())
        } else if csv {
            for (kind, matrix) in zip(kinds, matrices) {
                Terminal.output(matrix.csv(with: "turn", kind == .with ? "yes" : "no", hasNames: kind == kinds[0]))
            }
        } else {
            for matrix in matrices {
                Terminal.output(matrix.table)
                Terminal.output("all packets' digest \(String(matrix.digest, radix: 16))\n")
                if causes { for line in matrix.failures { Terminal.output(line) } }
            }
        }
    }

    private var kinds: [Relaying] { turn == .both ? [.without, .with] : [turn] }

    private func settings(_ kind: Relaying) -> Encounter.Configuration {
        var configuration = Encounter.Configuration()
        configuration.seed = seed
        configuration.link = AccessLink(
            LinkConditions(delay: .milliseconds(delay), loss: loss > 0 ? .random(loss) : .none))
        if kind == .with { configuration.relays = [.udp, .tcp] }
        configuration.knowsNATs = !blind
        if birthday, !blind {
            var budget = ICEAgent.BirthdayBudget()
            (budget.ports, budget.probes) = (ports, probes)
            configuration.agent.birthdayBudget = budget
        }
        return configuration
    }

    /// One pair with all its packets; with TURN unless it is asked for without.
    private func lookInto(_ offerer: NATProfile, _ answerer: NATProfile) throws {
        var configuration = settings(turn == .without ? .without : .with)
        configuration.agent.reportsDecisions = true
        let observed = Encounter(offerer, answerer, configuration: configuration).observe()
        let title = "\(offerer.name) → \(answerer.name)"
        if let pcap { try SmallFile.write(PCAPNG(observed.observations, in: observed.network).bytes, to: pcap) }
        if let trace { try SmallFile.write(Array(observed.result.traceLines.utf8), to: trace) }
        if let html {
            var matrix = NATMatrix(title: title, profiles: [offerer.name, answerer.name])
            matrix[0, 1] = observed.result
            let diagram = SequenceDiagram(title: title, observed.result)
            try SmallFile.write(Array(NATMatrix.page([matrix], diagram: diagram).utf8), to: html)
        }
        let result = observed.result
        if json { return tell(["offerer": .string(offerer.name), "answerer": .string(answerer.name)], result.json) }
        Terminal.output(Self.words("\(title):", result))
        for cause in result.causes { Terminal.output("  \(cause.text)") }
    }

    /// One pair again and again, and how it went altogether.
    private func repeatCell(_ offerer: NATProfile, _ answerer: NATProfile, _ count: Int) {
        var configuration = settings(turn == .with ? .with : .without)
        var results: [EncounterResult] = []
        for number in 0..<count {
            configuration.seed = seed &+ UInt64(number)
            let result = Encounter(offerer, answerer, configuration: configuration).run()
            results.append(result)
            if json {
                tell(["seed": .integer(Int64(truncatingIfNeeded: configuration.seed))], result.json)
            } else {
                Terminal.output(Self.words("seed \(configuration.seed):", result))
            }
        }
        let direct = results.filter { $0.outcome == .direct }
        let packets = results.map(\.packets).sorted()
        let times = direct.compactMap(\.timeToConnect).sorted()
        let relayed = results.count { $0.outcome == .relayed }
        if json {
            return tell(
                [
                    "seeds": .integer(Int64(count)), "direct": .integer(Int64(direct.count)),
                    "relayed": .integer(Int64(relayed)), "medianPackets": .integer(Int64(packets[count / 2])),
                    "mostPackets": .integer(Int64(packets[count - 1])),
                    "directWithin2048Packets": .integer(Int64(direct.count { $0.packets <= 2048 })),
                ], [:])
        }
        var summary = "\(direct.count) of \(count) direct, \(relayed) relayed; packets of both sides: "
        summary += "median \(packets[count / 2]), most \(packets[count - 1]); "
        summary += "\(direct.count { $0.packets <= 2048 }) direct within 2048"
        if !times.isEmpty {
            summary += "; to connect: median \(times[times.count / 2]), longest \(times[times.count - 1])"
        }
        Terminal.output(summary)
    }

    /// A line of JSON.
    private func tell(_ members: JSON.Object, _ more: JSON.Object) {
        var object = members
        for (name, value) in more { object[name] = value }
        Terminal.output(JSON.object(object).serialized())
    }

    /// One result in words.
    private static func words(_ head: String, _ result: EncounterResult) -> String {
        var line = "\(head) \(result.outcome.rawValue)"
        if !result.pair.isEmpty { line += " \(result.pair)" }
        if let time = result.timeToConnect { line += " in \(time)" }
        line += ", \(result.packets) packets"
        if result.probes > 0 { line += ", \(result.probes) of them to unknown ports or from many" }
        return line
    }
}
