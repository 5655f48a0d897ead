// SPDX-License-Identifier: Apache-2.0
import Foundation
import RDRR
import Testing
import Wire

/// The model goes over relays, where peers show each other no address of their own.
@Suite("over a relay", .serialized, .wholeModel, .timeLimit(.minutes(3)))
struct RelayedFetchTests {
    private let model: WholeModel
    private let scratch: Scratch

    init() throws {
        model = try #require(WholeModel.current)
        scratch = try Scratch()
    }

    private func options(_ server: String) -> [String] { ["--ice-server", server, "--ice-policy", "relay"] }

    @Test(
        "the whole model comes through a server over UDP, TCP and TLS",
        arguments: RelayProgram.Kind.allCases, RelayProgram.Transport.allCases)
    func relayed(kind: RelayProgram.Kind, transport: RelayProgram.Transport) async throws {
        guard kind == .dreamer || RelayProgram.Kind.hasCoturn else {
            try Test.cancel("coturn is not installed: apt-get install coturn")
        }
        let tls = try await RelayProgram.certificate(in: scratch)
        guard transport != .tls || tls != nil else { try Test.cancel("there is no openssl to make a certificate with") }
        let packing = model.usual
        let relay = try await RelayProgram(kind, scratch, tls: tls)
        defer { relay.process.kill() }
        let tracker = try await Tracker()
        var more = options(try relay.url(transport))
        if let tls, transport == .tls { more += ["--turn-ca", tls.certificate] }
        let seeder = try await Seeder(packing.folder, tracker, more)
        let trace = scratch("trace.jsonl")
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, more + ["--trace", trace])
        let line = try await fetcher.process.json(within: .seconds(100), where: ["event": "done"])
        let done = Fetcher.Progress(line)
        try await fetcher.process.expectExit()
        print("\(kind), \(transport): \(done)")
        #expect(done.verified == done.total && done.fromPeers >= packing.size)
        #expect(try #require(line["bytesRelayed"]?.integer) >= Int64(packing.size))
        _ = try await seeder.stop()
        try await packing.expectCopy(in: fetcher.folder)
        // Every pair has a relayed address at this end, and no candidate tells one of this host's sockets.
        let decisions = try String(contentsOfFile: trace, encoding: .utf8)
        #expect(decisions.contains("relay") && !decisions.contains("typ host") && !decisions.contains("typ srflx"))
        relay.process.interrupt()
        if kind == .dreamer {
            let metrics = try await relay.process.json(where: ["event": "metrics"])
            #expect(try #require(metrics["bytesToClients"]?.integer) >= Int64(packing.size))
            #expect(metrics["allocations"]?.integer == 0, "what was lent was given back")
        }
    }

    @Test("the budget ends the connection at the set number of bytes, with a warning before")
    func budget() async throws {
        let packing = model.usual
        let limit = 20_000_000
        let relay = try await RelayProgram(.dreamer, scratch)
        defer { relay.process.kill() }
        let tracker = try await Tracker()
        let more = options(try relay.url(.udp))
        let seeder = try await Seeder(packing.folder, tracker, more)
        let fetcher = try await Fetcher(
            packing.magnet, into: scratch("copy"), tracker,
            more + ["--relay-budget", "\(limit)", "--stall-timeout", "3"])
        let warning = try await fetcher.process.json(where: ["event": "relay", "state": "warning"])
        let end = try await fetcher.process.json(where: ["event": "relay", "state": "spent"])
        #expect(warning["nodeId"]?.string == seeder.nodeID && end["nodeId"]?.string == seeder.nodeID)
        let bytes = Int(try #require(end["bytes"]?.integer))
        print("the budget of \(limit) bytes ended the connection at \(bytes)")
        #expect(Int(try #require(warning["bytes"]?.integer)) < limit)
        // What was sent at once is counted as one.
        #expect(bytes <= limit && bytes > limit - 100_000)
        try await fetcher.process.expectExit(1)
        _ = try await seeder.stop()
    }
}
