// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Hashing
import Origin
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

    @OptionGroup var options: SwarmOptions

    @Option(help: "A web address with the model's folder, for what no peer has.")
    var http: String?

    @Flag(help: "Never ask HTTP.")
    var p2pOnly = false

    @Option(help: "Fetch what these experts need alone, as 0,3, and the files beside.", transform: IndexList.init)
    var experts: IndexList?

    @Option(help: "Give up when nothing new came for so many seconds; 0 waits for ever.")
    var stallTimeout: Int = 120

    @Flag(help: "Print events and progress as JSON lines.")
    var json = false

    func validate() throws {
        if p2pOnly, http != nil { throw ValidationError("--p2p-only and --http contradict each other") }
        if let http, !HTTPOrigin.isAddress(http) {
            throw ValidationError("--http \(http): give a web address as http://host/path or https://…")
        }
        guard stallTimeout >= 0 else {
            throw ValidationError("--stall-timeout \(stallTimeout): give seconds, 0 for no limit")
        }
        if source.hasPrefix("magnet:") {
            do { _ = try MagnetLink(parsing: source) } catch { throw ValidationError("\(error)") }
        }
    }

    func run() async throws {
        let target = try await FetchTarget.resolve(source, output: output, http: http)
        let endpoint = try options.connection.makeEndpoint()
        defer { endpoint.close() }
        let budget = options.connection.makeRelayBudget(json: json)
        let transport = try options.transport(endpoint, budget)
        let discovery = try options.discovery(target.link)
        // An origin has to be shut down, so it is made when nothing else can fail.
        let origin = try p2pOnly ? nil : target.httpBase.map { try HTTPOrigin(base: $0) }
        guard !discovery.isEmpty || origin != nil || target.manifest != nil else {
            throw CommandFailure("the link names no tracker and no web address; give --tracker or --http")
        }
        var configuration = configuration
        // Nobody to wait for.
        if discovery.isEmpty { configuration.core.originGrace = .zero }
        let swarm = try P2PSwarm(
            link: target.link, manifest: target.manifest, folder: target.folder, transport: transport,
            discovery: discovery, origin: origin, configuration: configuration)
        let outcome: Result<Void, any Error>
        do {
            try await fetch(swarm, budget)
            outcome = .success(())
        } catch {
            outcome = .failure(error)
        }
        await swarm.leave()
        await origin?.shutdown()
        try outcome.get()
    }

    private var configuration: P2PSwarm.Configuration {
        var configuration = options.configuration
        configuration.core.p2pOnly = p2pOnly
        if let experts {
            configuration.wanted = { manifest in
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
        }
        return configuration
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

/// What a fetch is about: where the model is described and where it goes.
struct FetchTarget {
    let link: MagnetLink
    let manifest: [UInt8]?
    let folder: String
    let httpBase: String?

    /// Reads the first argument: a link, an address or a folder.
    static func resolve(_ source: String, output: String?, http: String?) async throws -> FetchTarget {
        if source.hasPrefix("magnet:") {
            let link = try MagnetLink(parsing: source)
            guard let output = output ?? link.name.flatMap({ RDRRManifest.isPlain(name: $0) ? $0 : nil }) else {
                throw CommandFailure("the link names no folder; give one with -o DIR")
            }
            return FetchTarget(link: link, manifest: nil, folder: output, httpBase: http ?? link.webSeeds.first)
        }
        if source.hasPrefix("http://") || source.hasPrefix("https://") {
            let origin = try HTTPOrigin(base: source)
            let bytes: [UInt8]
            do {
                bytes = try await origin.manifest(limit: RDRRManifest.largestManifest)
            } catch {
                await origin.shutdown()
                throw error
            }
            await origin.shutdown()
            let manifest: RDRRManifest
            do { manifest = try RDRRManifest(parsing: bytes) } catch { throw error.within(source) }
            guard let output = output ?? (RDRRManifest.isPlain(name: manifest.modelId) ? manifest.modelId : nil) else {
                throw CommandFailure("give a folder with -o DIR")
            }
            return FetchTarget(
                link: MagnetLink(to: manifest), manifest: bytes, folder: output, httpBase: http ?? origin.base)
        }
        let model = try ModelFolder(opening: source)
        return FetchTarget(
            link: MagnetLink(to: model.manifest), manifest: model.manifest.bytes, folder: output ?? source,
            httpBase: http)
    }
}
