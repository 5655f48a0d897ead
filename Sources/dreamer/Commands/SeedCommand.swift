// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Origin
import RDRR
import Swarm
import WebRTC
import Wire

/// `dreamer seed DIR`
struct SeedCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seed", abstract: "Announce a model folder and serve it; prints the link to give away.")

    @Argument(help: "The folder with manifest.json. Shards that are missing or wrong are not served.")
    var folder: String

    @OptionGroup var options: SwarmOptions

    @Option(name: .customLong("http"), help: "A web address with the same folder, to name in the link (repeatable).")
    var webSeeds: [String] = []

    @Flag(help: "Print events as JSON lines.")
    var json = false

    func validate() throws {
        for address in webSeeds where !HTTPOrigin.isAddress(address) {
            throw ValidationError("--http \(address): give a web address as http://host/path or https://…")
        }
    }

    func run() async throws {
        let model = try ModelFolder(opening: folder)
        let link = MagnetLink(to: model.manifest, trackers: options.trackers, webSeeds: webSeeds)
        let endpoint = try options.connection.makeEndpoint()
        defer { endpoint.close() }
        var configuration = options.configuration
        configuration.wanted = { _ in [] }
        let reporter = SwarmReporter(json: json) { model.manifest }
        let budget = options.connection.makeRelayBudget(json: json)
        let swarm = try P2PSwarm(
            link: link, manifest: model.manifest.bytes, folder: folder,
            transport: try options.transport(endpoint, budget),
            discovery: try options.discovery(link), configuration: configuration)
        let events = Task { for await event in swarm.events { reporter.report(event) } }
        try await swarm.join()
        let held = model.manifest.entries.indices.count { swarm.has($0) }
        guard held > 0 else {
            await swarm.leave()
            throw CommandFailure(
                "\(folder): none of the \(model.manifest.entries.count) shards and files is there and right")
        }
        let interrupt = Interrupt()
        reporter.tell(
            "seeding",
            [
                "magnet": .string(link.description), "nodeId": .string(swarm.nodeID.description),
                "shards": .integer(Int64(held)), "of": .integer(Int64(model.manifest.entries.count)),
            ],
            "serving \(held) of \(model.manifest.entries.count) shards and files of \(model.manifest.modelId)")
        if !json { Terminal.output(link.description) }
        await interrupt.wait()
        await swarm.leave()
        let moved = swarm.statistics
        events.cancel()
        reporter.tell(
            "stopped",
            [
                "bytesServed": .integer(Int64(moved.bytesServed)), "sources": SwarmReporter.json(swarm.sources),
                "bytesRelayed": .integer(Int64(budget.relayedBytes)),
            ],
            "served \(Units.bytes(moved.bytesServed))")
    }
}
