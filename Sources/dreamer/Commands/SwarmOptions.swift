// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Origin
import RDRR
import Signaling
import Swarm
import WebRTC

/// What every command takes that moves models.
struct SwarmOptions: ParsableArguments {
    @OptionGroup var connection: ConnectionOptions

    @Option(
        name: .customLong("tracker"), help: "A tracker, as ws://host:port/announce (repeatable); added to the link's.")
    var trackers: [String] = []

    @Option(help: "Bytes a second to send at most, as 5MB.")
    var uploadLimit: ByteCount?

    @Option(help: "Bytes a second to fetch at most.")
    var downloadLimit: ByteCount?

    @Option(help: "Connections at a time.")
    var maxPeers: Int = 50

    @Option(help: "Bytes that the model's folder may take.")
    var diskQuota: ByteCount?

    @Flag(help: "Use a bulk channel that gives a chunk up after three retransmissions; lost ones are asked for again.")
    var partialReliability = false

    func validate() throws {
        for tracker in trackers where TrackerURL(tracker) == nil {
            throw ValidationError("--tracker \(tracker): give an address as ws://host:port/announce or wss://…")
        }
        guard maxPeers > 0 else { throw ValidationError("--max-peers \(maxPeers): give at least 1") }
        for (name, limit) in [("--upload-limit", uploadLimit), ("--download-limit", downloadLimit)]
        where limit?.value == 0 {
            throw ValidationError("\(name) 0: nothing would move; leave it out for no limit")
        }
    }

    /// A node's settings.
    var configuration: P2PSwarm.Configuration {
        var configuration = P2PSwarm.Configuration()
        configuration.core.uploadLimit = uploadLimit?.value
        configuration.core.downloadLimit = downloadLimit?.value
        configuration.core.maxPeers = maxPeers
        configuration.core.diskQuota = diskQuota?.value
        configuration.core.bulkIsReliable = !partialReliability
        return configuration
    }

    /// Connections over an endpoint, with a budget for relays.
    func transport(_ endpoint: RTCEndpoint, _ budget: RelayBudget) throws -> WebRTCTransport {
        var settings = try connection.peerConfiguration(budget)
        if let trace = try connection.openTrace() { settings.observer = { trace.write($0, of: "swarm") } }
        return WebRTCTransport(endpoint: endpoint, configuration: settings, bulkIsReliable: !partialReliability)
    }

    /// The trackers of a link and of the command line.
    func discovery(_ link: MagnetLink) throws -> [any PeerDiscovery] {
        guard let infoHash = Bytes20(link.infoHash) else { return [] }
        var urls: [String] = []
        for url in trackers + link.trackers where !urls.contains(url) { urls.append(url) }
        return urls.isEmpty ? [] : [TrackerDiscovery(urls: urls, infoHash: infoHash)]
    }
}
