// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import NATLab
import Wire

/// `dreamer nat sim`
struct NATSimCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sim",
        abstract: "Let ICE agents meet behind every pair of NATs, on virtual time.",
        discussion: """
            The agents are those that the other commands use. The same seed gives the same packets. Without profiles all
            that come with the program are taken (dreamer nat profiles lists them); a profile may also be a JSON file, such
            as dreamer nat probe writes.
            """)

    @Argument(help: "Names or files of profiles; each meets each, itself too.")
    var profiles: [String] = []

    @Option(help: "What the randomness grows from.")
    var seed: UInt64 = 1

    @Option(help: "How long a packet is under way between a host and the next box, in milliseconds.")
    var delay: Int = 10

    @Option(help: "The share of packets that each host's link loses, 0 to 1.")
    var loss: Double = 0

    @Option(help: "Look into one pair: OFFERER/ANSWERER. Its packets are drawn in --html and written by --pcap.")
    var cell: String?

    @Option(help: "Write a page with the matrix as a heat map to this file.")
    var html: String?

    @Option(help: "Write the packets of --cell to this file, as pcapng.")
    var pcap: String?

    @Flag(help: "Print the matrix as JSON.")
    var json = false

    @Flag(help: "Print the matrix as CSV.")
    var csv = false

    @Flag(help: "Tell why pairs do not connect.")
    var causes = false

    func validate() throws {
        guard (0...10_000).contains(delay) else { throw ValidationError("--delay \(delay): give 0 to 10000") }
        guard (0...1).contains(loss) else { throw ValidationError("--loss \(loss): give 0 to 1") }
        guard !(json && csv) else { throw ValidationError("--json and --csv exclude each other") }
        guard pcap == nil || cell != nil else { throw ValidationError("--pcap needs --cell OFFERER/ANSWERER") }
        if let cell, cell.split(separator: "/").count != 2 {
            throw ValidationError("--cell \(cell): give OFFERER/ANSWERER, for example leaky/leaky")
        }
    }

    func run() throws {
        let taken = try profiles.isEmpty ? NATProfile.standard : profiles.map { try NATProfiles.load($0) }
        var configuration = Encounter.Configuration()
        configuration.seed = seed
        configuration.link = AccessLink(
            LinkConditions(delay: .milliseconds(delay), loss: loss > 0 ? .random(loss) : .none))
        let matrix = NATMatrix.simulate(taken, title: "Simulation, seed \(seed)", configuration: configuration)
        var diagram: SequenceDiagram?
        if let cell {
            let names = cell.split(separator: "/").map { String($0) }
            let observed = try Encounter(
                NATProfiles.load(names[0]), NATProfiles.load(names[1]), configuration: configuration
            ).observe()
            diagram = SequenceDiagram(title: "\(names[0]) → \(names[1])", observed.result)
            if let pcap {
                try SmallFile.write(PCAPNG(observed.observations, in: observed.network).bytes, to: pcap)
            }
            if !json, !csv { Terminal.output(Self.words(cell, observed.result)) }
        }
        if let html { try SmallFile.write(Array(NATMatrix.page([matrix], diagram: diagram).utf8), to: html) }
        if json {
            Terminal.output(matrix.json.serialized())
        } else if csv {
            Terminal.output(matrix.csv)
        } else if cell == nil {
            Terminal.output(matrix.table)
            if causes { for line in matrix.failures { Terminal.output(line) } }
        }
    }

    /// One pair in words.
    private static func words(_ cell: String, _ result: EncounterResult) -> String {
        var lines = ["\(cell): \(result.outcome.rawValue) \(result.pair), \(result.packets) packets"]
        if let time = result.timeToConnect { lines[0] += ", \(time)" }
        lines += result.causes.map { "  \($0.text)" }
        return lines.joined(separator: "\n")
    }
}
