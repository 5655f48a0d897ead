// SPDX-License-Identifier: Apache-2.0
import NATLab
import Testing
import Wire

/// `dreamer tracker`, running.
struct Tracker {
    let process: LineProcess
    let url: String

    init(at host: KernelNetwork.Host? = nil) async throws {
        let address = host?.addresses.first.map { "\($0)" } ?? "127.0.0.1"
        process = try LineProcess(
            Programs.dreamer, ["tracker", "--listen", "\(address):0", "--json"], in: host?.namespace)
        url = try #require(try await process.json(where: ["event": "listening"])["url"]?.string)
    }
}

/// `dreamer seed`, running.
struct Seeder {
    let process: LineProcess
    let nodeID: String

    /// Starts it, and waits until it serves.
    init(_ folder: String, _ tracker: Tracker, _ options: [String] = [], at host: KernelNetwork.Host? = nil)
        async throws
    {
        let bind = host == nil ? ["--bind", "127.0.0.1"] : []
        process = try LineProcess(
            Programs.dreamer, ["seed", folder, "--tracker", tracker.url, "--json"] + bind + options,
            in: host?.namespace)
        let line = try await process.json(where: ["event": "seeding"])
        nodeID = try #require(line["nodeId"]?.string)
    }

    /// Ends it as Ctrl-C does; answers how many bytes it served.
    func stop() async throws -> Int {
        process.interrupt()
        let line = try await process.json(where: ["event": "stopped"])
        try await process.expectExit()
        return Int(try #require(line["bytesServed"]?.integer))
    }
}

/// `dreamer fetch`, running.
struct Fetcher {
    let process: LineProcess
    let folder: String
    let nodeID: String

    /// Starts it.
    init(
        _ source: String, into folder: String, _ tracker: Tracker?, _ options: [String] = [],
        at host: KernelNetwork.Host? = nil
    ) async throws {
        var arguments = ["fetch", source, "-o", folder, "--json"]
        if host == nil { arguments += ["--bind", "127.0.0.1"] }
        if let tracker { arguments += ["--tracker", tracker.url] }
        // The last one counts.
        process = try LineProcess(
            Programs.dreamer, arguments + ["--stall-timeout", "30"] + options, in: host?.namespace)
        self.folder = folder
        nodeID = try #require(try await process.json(where: ["event": "node"])["nodeId"]?.string)
    }

    /// Waits until a part of the whole is verified.
    func reaches(_ part: Double, within limit: Duration = .seconds(60)) async throws -> Progress {
        while true {
            let progress = Progress(try await process.json(within: limit, where: ["event": "progress"]))
            if progress.total > 0, progress.fraction >= part { return progress }
        }
    }

    /// Waits for the end, which has to be a good one.
    func done(within limit: Duration = .seconds(100), sourceLocation: SourceLocation = #_sourceLocation) async throws
        -> Progress
    {
        let progress = Progress(try await process.json(within: limit, where: ["event": "done"]))
        try await process.expectExit(sourceLocation: sourceLocation)
        #expect(progress.verified == progress.total, sourceLocation: sourceLocation)
        return progress
    }

    /// How far a fetch says that it is.
    struct Progress: CustomStringConvertible {
        let verified: Int
        let total: Int
        let fromPeers: Int
        let fromHTTP: Int
        let fromDisk: Int
        let duplicates: Int
        let rejected: Int
        let served: Int
        let seconds: Double
        /// New bytes by node, those that have left too.
        let sources: [String: Int]

        init(_ line: JSON) {
            func number(_ name: String) -> Int { Int(line[name]?.integer ?? 0) }
            verified = number("verified")
            total = number("total")
            fromPeers = number("bytesFromPeers")
            fromHTTP = number("bytesFromHTTP")
            fromDisk = number("bytesFromDisk")
            duplicates = number("duplicateBytes")
            rejected = number("rejectedBytes")
            served = number("bytesServed")
            seconds = line["seconds"]?.number ?? 0
            sources = (line["sources"]?.array ?? []).reduce(into: [:]) { sources, source in
                if let node = source["nodeId"]?.string { sources[node] = Int(source["bytes"]?.integer ?? 0) }
            }
        }

        var fraction: Double { Double(verified) / Double(max(total, 1)) }

        var description: String {
            let rate = seconds > 0 ? ", \(Int(Double(fromPeers + fromHTTP) / seconds / 1e6)) MB/s" : ""
            let shares = sources.values.sorted(by: >).map { "\($0 * 100 / max(total, 1)) %" }.joined(separator: " + ")
            return "P2P \(fromPeers) (\(shares)), HTTP \(fromHTTP), disk \(fromDisk), twice \(duplicates), "
                + "rejected \(rejected), \(Int(seconds * 1000)) ms\(rate)"
        }
    }
}
