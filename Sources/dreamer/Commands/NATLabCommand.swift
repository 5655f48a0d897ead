// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import ICE
import NATLab
import Wire

/// `dreamer nat lab`
struct NATLabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lab",
        abstract: "Let ICE agents meet behind every pair of NATs, in namespaces of the kernel.",
        discussion: """
            Each agent is a process of its own behind a NAT that nftables makes, with dreamer relay as the server of all; \
            nothing leaves the namespaces. Times are from the exchange of the descriptions until data has arrived both \
            ways. Needs root, or `unshare --user --map-root-user --net` in front. Without profiles, those that the kernel \
            can follow are taken. Other agents (--agent aioice, --agent libnice) run beside ours where they are installed.
            """)

    @Argument(help: "Names or files of profiles; each meets each, itself too.")
    var profiles: [String] = []

    @Option(help: "Whose agents: ours, aioice or libnice; repeatable.")
    var agent: [LabAgents.Kind] = [.ours]

    @Flag(inversion: .prefixedNo, help: "Give agents relays: over UDP and TCP.")
    var turn = true

    @Flag(inversion: .prefixedNo, help: "Tell our agents what their NATs do, as dreamer nat probe would.")
    var behaviors = true

    @Option(help: "Look at one pair alone: OFFERER/ANSWERER.")
    var cell: String?

    @Option(name: .customLong("repeat"), help: "Times that each pair meets; medians are shown.")
    var repetitions = 1

    @Option(help: "Seconds after which a pair has failed.")
    var limit = 5.0

    @Option(help: "Write a page with the matrices as heat maps to this file.")
    var html: String?

    @Flag(help: "Print the matrices as JSON.")
    var json = false

    @Flag(help: "Print the matrices as CSV.")
    var csv = false

    @Flag(help: "Tell why pairs do not connect.")
    var causes = false

    @Flag(help: "Let our agents probe for ports where a NAT's cannot be told; that takes seconds.")
    var birthday = false

    @Option(
        help: """
            Write the packets of --cell to this file, as pcapng: those on the public segment, and those behind each NAT. Runs \
            tcpdump.
            """)
    var pcap: String?

    @Flag(help: "Write what our agents decide to standard error.")
    var trace = false

    private var options: [String] { (birthday ? ["--birthday"] : []) + (trace ? ["--trace"] : []) }

    func validate() throws {
        guard (1...1000).contains(repetitions) else { throw ValidationError("--repeat \(repetitions): give 1 to 1000") }
        guard limit > 0, limit <= 120 else { throw ValidationError("--limit \(limit): give up to 120") }
        guard !(json && csv) else { throw ValidationError("--json and --csv exclude each other") }
        guard pcap == nil || cell != nil && agent.count == 1 else {
            throw ValidationError("--pcap needs --cell OFFERER/ANSWERER and one --agent")
        }
        if let cell, cell.split(separator: "/").count != 2 {
            throw ValidationError("--cell \(cell): give OFFERER/ANSWERER, for example leaky/leaky")
        }
    }

    func run() throws {
        if let obstacle = KernelNetwork.obstacle { throw CommandFailure("no network can be made here: \(obstacle)") }
        let names = cell.map { $0.split(separator: "/").map(String.init) }
        let taken = try taken(names)
        let lab = try KernelMatrix(taken)
        let server = try LabRelay(at: lab.network)
        var configuration = KernelEncounter.Configuration(stunServer: server.address)
        if turn { configuration.relays = server.relays }
        configuration.tellsBehaviors = behaviors
        configuration.limit = .milliseconds(Int64(limit * 1000))
        var matrices: [NATMatrix] = []
        for kind in agent {
            let program: AgentProgram
            switch LabAgents.program(kind, options: options) {
            case .success(let found): program = found
            case .failure(let missing):
                Terminal.note("\(kind.rawValue) is left out: \(missing)")
                continue
            }
            let capture = pcap == nil ? nil : try startCapture(taken, lab, names ?? [])
            let matrix = try measure(taken, lab, program, configuration, only: names)
            if let pcap, let capture { try SmallFile.write(capture.finish().bytes, to: pcap) }
            matrices.append(matrix)
            if !json { show(matrix) }
        }
        if let html { try SmallFile.write(Array(NATMatrix.page(matrices).utf8), to: html) }
        if json { Terminal.output(JSON.array(matrices.map(\.json)).serialized()) }
    }

    private func taken(_ names: [String]?) throws -> [NATProfile] {
        var wanted = try (names ?? profiles).map { try NATProfiles.load($0) }
        if wanted.isEmpty { wanted = NATProfile.standard }
        var taken: [NATProfile] = []
        for profile in wanted where !taken.contains(where: { $0.name == profile.name }) {
            if let reason = NFTRules.obstacle(to: profile) {
                Terminal.note("\(profile.name) is left out: \(reason)")
            } else {
                taken.append(profile)
            }
        }
        guard !taken.isEmpty else { throw CommandFailure("no profile is left that the kernel can follow") }
        return taken
    }

    private func startCapture(_ taken: [NATProfile], _ lab: KernelMatrix, _ names: [String]) throws -> SegmentCapture {
        let indices = names.compactMap { name in taken.firstIndex { $0.name == name } }
        guard indices.count == 2 else { throw CommandFailure("the kernel cannot follow the profiles of --cell") }
        return try lab.capture(indices[0], indices[1])
    }

    private func measure(
        _ taken: [NATProfile], _ lab: KernelMatrix, _ program: AgentProgram,
        _ configuration: KernelEncounter.Configuration, only names: [String]?
    ) throws -> NATMatrix {
        let times = repetitions == 1 ? "" : ", median of \(repetitions)"
        var matrix = NATMatrix(
            title: "\(program.name), \(turn ? "with" : "without") relays, kernel\(times)", profiles: taken.map(\.name))
        for row in taken.indices {
            for column in taken.indices {
                if let names, [taken[row].name, taken[column].name] != names { continue }
                if Terminal.isInteractive {
                    Terminal.status("\(program.name): \(taken[row].name) with \(taken[column].name)")
                }
                matrix[row, column] = try lab.measure(row, column, program, configuration, repetitions: repetitions)
            }
        }
        if Terminal.isInteractive { Terminal.status("") }
        return matrix
    }

    private func show(_ matrix: NATMatrix) {
        if csv { return Terminal.output(matrix.csv) }
        Terminal.output(matrix.table)
        for line in matrix.gatheringTimes { Terminal.output(line) }
        if causes { for line in matrix.failures { Terminal.output(line) } }
    }
}

extension NATMatrix {
    /// For each profile, the median of what gathering took behind it.
    fileprivate var gatheringTimes: [String] {
        var times: [String: [Duration]] = [:]
        for (offerer, answerer, result) in results where result.gathering.count == 2 {
            times[offerer, default: []].append(result.gathering[0])
            times[answerer, default: []].append(result.gathering[1])
        }
        let words = profiles.compactMap { name in
            times[name].map { all in "\(name) \(all.sorted()[all.count / 2].nanoseconds / 1_000_000)" }
        }
        return words.isEmpty ? [] : ["gathering, in milliseconds: " + words.joined(separator: ", ")]
    }
}
