// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Hashing
import RDRR
import Swarm
import WebRTC
import Wire

/// `dreamer fetch MAGNET|MANIFEST-URL|DIR -o DIR`
struct FetchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Fetch a model from peers, from HTTP where no peer has it; goes on where it stopped.")

    @Argument(help: "A link (magnet:…), the address of a manifest.json, or a folder that was begun.")
    var source: String

    @Option(name: .shortAndLong, help: "The folder to put the model into.")
    var output: String?

    @OptionGroup var options: FetchOptions

    @Option(help: "Fetch what these experts need alone, as 0,3, and the files beside.", transform: IndexList.init)
    var experts: IndexList?

    @Option(help: "Give up when nothing new came for so many seconds; 0 waits for ever.")
    var stallTimeout: Int = 120

    @Flag(help: "Print events and progress as JSON lines.")
    var json = false

    func validate() throws {
        guard stallTimeout >= 0 else {
            throw ValidationError("--stall-timeout \(stallTimeout): give seconds, 0 for no limit")
        }
        if source.hasPrefix("magnet:") {
            do { _ = try MagnetLink(parsing: source) } catch { throw ValidationError("\(error)") }
        }
    }

    func run() async throws {
        var wanted: (@Sendable (RDRRManifest) throws -> [Int])?
        if let experts { wanted = { try Self.needed($0, by: experts) } }
        try await options.fetch(source, into: output, json: json, wanted: wanted) { try await fetch($0, $1) }
    }

    /// The shards that experts need, and the files.
    private static func needed(_ manifest: RDRRManifest, by experts: IndexList) throws -> [Int] {
        var needed: Set<Int> = []
        for expert in experts.indices {
            let shards = manifest.shards(forExpert: expert)
            guard !shards.isEmpty else {
                throw CommandFailure("--experts \(expert): \(manifest.modelId) has no expert of this number")
            }
            needed.formUnion(shards)
        }
        return needed.sorted() + Array(manifest.entries.indices.dropFirst(manifest.shards.count))
    }

    private func fetch(_ swarm: P2PSwarm, _ budget: RelayBudget) async throws {
        let reporter = SwarmReporter(json: json) { swarm.manifest }
        let start = Clock.seconds
        let interrupt = Interrupt()
        reporter.tell("node", ["nodeId": .string(swarm.nodeID.description)], nil)
        let events = Task { for await event in swarm.events { reporter.report(event) } }
        defer { events.cancel() }
        try await withThrowingTaskGroup(of: Ending.self) { group in
            group.addTask {
                try await swarm.join()
                try await swarm.completed()
                return .complete
            }
            group.addTask { try await showProgress(swarm, budget) }
            group.addTask {
                await interrupt.wait()
                return .interrupted
            }
            let ending = try await group.next() ?? .interrupted
            group.cancelAll()
            switch ending {
            case .complete: break
            case .interrupted:
                throw CommandFailure("stopped; the same command goes on from here")
            case .stalled:
                throw CommandFailure(
                    "nothing came for \(stallTimeout) s (\(swarm.progress.peers) peers connected); check the tracker and that "
                        + "somebody seeds, or give --http; the same command goes on from here")
            }
        }
        summarize(swarm, budget, seconds: Clock.seconds - start, reporter)
    }

    private enum Ending: Sendable { case complete, interrupted, stalled }

    private func showProgress(_ swarm: P2PSwarm, _ budget: RelayBudget) async throws -> Ending {
        var line = ProgressLine(label: "fetching")
        var meter = Meter()
        var lastNews = Clock.seconds
        var lastVerified = -1
        while !Task.isCancelled {
            let progress = swarm.progress
            let now = Clock.seconds
            // Looking through the folder is no standstill, however long it takes.
            if progress.bytesVerified != lastVerified || swarm.isExamining {
                lastVerified = progress.bytesVerified
                lastNews = now
            }
            if stallTimeout > 0, now - lastNews > Double(stallTimeout) {
                line.clear()
                return .stalled
            }
            let rate = meter.rate(progress.bytesVerified, at: now)
            if json {
                Terminal.output(JSON.object(members(of: progress, budget)).serialized())
            } else {
                line.show(
                    .init(
                        done: progress.bytesVerified, total: progress.bytesTotal > 0 ? progress.bytesTotal : nil,
                        rate: rate,
                        details: [
                            "\(progress.peers) peer\(progress.peers == 1 ? "" : "s")",
                            "P2P \(Units.bytes(progress.statistics.bytesFromPeers))",
                            "HTTP \(Units.bytes(progress.statistics.bytesFromOrigin))",
                        ] + relayed(budget)), at: now)
            }
            do { try await Task.sleep(for: .milliseconds(json ? 250 : 100)) } catch { break }
        }
        line.clear()
        return .interrupted
    }

    private func members(of progress: SwarmProgress, _ budget: RelayBudget) -> JSON.Object {
        var object = SwarmReporter.json(progress)
        object["event"] = "progress"
        object["bytesRelayed"] = .integer(Int64(budget.relayedBytes))
        return object
    }

    /// What went over relays, once there is any.
    private func relayed(_ budget: RelayBudget) -> [String] {
        let bytes = Int(budget.relayedBytes)
        return bytes > 0 ? ["relayed \(Units.bytes(bytes)) (at most \(Units.bytes(Int(budget.limit))) a peer)"] : []
    }

    private func summarize(_ swarm: P2PSwarm, _ budget: RelayBudget, seconds: Double, _ reporter: SwarmReporter) {
        let progress = swarm.progress
        let moved = progress.statistics
        let fetched = moved.bytesFromPeers + moved.bytesFromOrigin
        var members = SwarmReporter.json(progress)
        members["bytesRelayed"] = .integer(Int64(budget.relayedBytes))
        members["seconds"] = .number(seconds)
        members["sources"] = SwarmReporter.json(swarm.sources)
        members["folder"] = .string(swarm.folder)
        reporter.tell("done", members, nil)
        guard !json else { return }
        Terminal.output("\(swarm.folder): \(swarm.manifest?.modelId ?? "the model") is complete, every byte verified")
        Terminal.output(
            "\(Units.bytes(fetched)) in \(Units.duration(seconds)) (\(Units.rate(seconds > 0 ? Double(fetched) / seconds : 0))): "
                + "P2P \(Units.bytes(moved.bytesFromPeers)), HTTP \(Units.bytes(moved.bytesFromOrigin)), "
                + "already there \(Units.bytes(moved.verifiedFromDisk)), fetched twice \(Units.bytes(moved.duplicateBytes))"
        )
    }
}

/// Numbers with commas: `0,3`.
struct IndexList: Sendable {
    let indices: [Int]

    init(_ text: String) throws {
        indices = try text.split(separator: ",", omittingEmptySubsequences: false).map { part in
            guard let index = Int(part), index >= 0 else {
                throw ValidationError("\(text): give numbers with commas, as 0,3")
            }
            return index
        }
    }
}
