// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Origin
import RDRR
import Swarm
import WebRTC
import Wire

/// Options of whatever fetches a model: from whom, and from which web address what no peer has.
struct FetchOptions: ParsableArguments {
    @OptionGroup var swarm: SwarmOptions

    @Option(help: "A web address with the model's folder, for what no peer has.")
    var http: String?

    @Flag(help: "Never ask HTTP.")
    var p2pOnly = false

    func validate() throws {
        if p2pOnly, http != nil { throw ValidationError("--p2p-only and --http contradict each other") }
        if let http, !HTTPOrigin.isAddress(http) {
            throw ValidationError("--http \(http): give a web address as http://host/path or https://…")
        }
    }

    /// The name of an option that was given and is of no use where nothing is fetched.
    var givenName: String? {
        if http != nil { return "--http" }
        if p2pOnly { return "--p2p-only" }
        if !swarm.trackers.isEmpty { return "--tracker" }
        if swarm.uploadLimit != nil { return "--upload-limit" }
        if swarm.downloadLimit != nil { return "--download-limit" }
        return swarm.diskQuota != nil ? "--disk-quota" : nil
    }

    /// Makes a node that is to fetch a model, has `body` use it, and leaves the swarm however that ends. The node has not
    /// joined yet.
    ///
    /// - Parameters:
    ///   - source: A link, the address of a manifest or a folder that was begun.
    ///   - output: The folder it goes into; named by the link unless given.
    ///   - json: Whether what a relay moves is told as JSON.
    ///   - wanted: Which shards and files are asked for at once; all of them unless given.
    func fetch(
        _ source: String, into output: String?, json: Bool, wanted: (@Sendable (RDRRManifest) throws -> [Int])?,
        _ body: (P2PSwarm, RelayBudget) async throws -> Void
    ) async throws {
        let target = try await FetchTarget.resolve(source, output: output, http: http)
        let endpoint = try swarm.connection.makeEndpoint()
        defer { endpoint.close() }
        let budget = swarm.connection.makeRelayBudget(json: json)
        let transport = try swarm.transport(endpoint, budget)
        let discovery = try swarm.discovery(target.link)
        var configuration = swarm.configuration
        configuration.core.p2pOnly = p2pOnly
        // Nobody to wait for.
        if discovery.isEmpty { configuration.core.originGrace = .zero }
        if let wanted { configuration.wanted = wanted }
        // An origin has to be shut down, whatever fails after it is made.
        let origin = try p2pOnly ? nil : target.httpBase.map { try HTTPOrigin(base: $0) }
        let outcome: Result<Void, any Error>
        do {
            guard !discovery.isEmpty || origin != nil || target.manifest != nil else {
                throw CommandFailure("the link names no tracker and no web address; give --tracker or --http")
            }
            let node = try P2PSwarm(
                link: target.link, manifest: target.manifest, folder: target.folder, transport: transport,
                discovery: discovery, origin: origin, configuration: configuration)
            do {
                try await body(node, budget)
                outcome = .success(())
            } catch {
                outcome = .failure(error)
            }
            await node.leave()
        } catch {
            outcome = .failure(error)
        }
        await origin?.shutdown()
        try outcome.get()
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
