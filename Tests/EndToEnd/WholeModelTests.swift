// SPDX-License-Identifier: Apache-2.0
import Foundation
import RDRR
import Testing
import Wire

/// The main job with whole programs: a model of 98 MB goes from process to process, and every copy is compared with the
/// original byte by byte.
@Suite("the whole model", .serialized, .wholeModel, .timeLimit(.minutes(3)))
struct WholeModelTests {
    typealias Packing = WholeModel.Packing

    private let model: WholeModel
    private let scratch: Scratch

    init() throws {
        model = try #require(WholeModel.current)
        scratch = try Scratch()
    }

    /// What holds for every fetch: all bytes are accounted for, and next to none came twice.
    private func check(
        _ done: Fetcher.Progress, _ packing: Packing, _ what: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        print("\(what): \(done)")
        let came = done.fromPeers + done.fromHTTP + done.fromDisk
        #expect(done.total == packing.size, sourceLocation: sourceLocation)
        #expect(came >= packing.size, sourceLocation: sourceLocation)
        #expect(came <= packing.size + done.duplicates + done.rejected, sourceLocation: sourceLocation)
        #expect(done.duplicates <= packing.size / 100, "at most 1 % may come twice", sourceLocation: sourceLocation)
        #expect(done.sources.values.reduce(0, +) == done.fromPeers, sourceLocation: sourceLocation)
    }

    // MARK: - Seeders

    enum Way: CaseIterable { case usual, sha256, unreliable }

    @Test("comes from one seeder", arguments: Way.allCases)
    func oneSeeder(way: Way) async throws {
        let packing = way == .sha256 ? model.sha256 : model.usual
        let tracker = try await Tracker()
        let seeder = try await Seeder(packing.folder, tracker)
        let options = way == .unreliable ? ["--partial-reliability"] : []
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, options)
        let done = try await fetcher.done()
        check(done, packing, "one seeder, \(way)")
        #expect(done.rejected == 0)
        #expect(Array(done.sources.keys) == [seeder.nodeID])
        #expect(try await seeder.stop() >= packing.size)
        try await packing.expectCopy(in: fetcher.folder)
    }

    @Test(
        "comes from three seeders with different parts, and each serves at least a fifth",
        arguments: ["a third each", "two thirds each"])
    func threeSeeders(parts: String) async throws {
        let packing = model.small
        let tracker = try await Tracker()
        var seeders: [Seeder] = []
        for part in 0..<3 {
            let folder = scratch("part\(part)")
            try packing.part(folder) { ($0 % 3 == part) == (parts == "a third each") }
            // Alike slow, so that none has sent its part before another is there: that takes a crowded machine a while.
            seeders.append(try await Seeder(folder, tracker, ["--upload-limit", "8MB"]))
        }
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker)
        let done = try await fetcher.done()
        check(done, packing, "three seeders, \(parts)")
        #expect(Set(done.sources.keys) == Set(seeders.map(\.nodeID)))
        for (node, bytes) in done.sources { #expect(bytes >= packing.size / 5, "\(node) served \(bytes) bytes") }
        try await packing.expectCopy(in: fetcher.folder)
    }

    @Test("a fetcher serves while it is still fetching")
    func relay() async throws {
        let packing = model.small
        let tracker = try await Tracker()
        let seeder = try await Seeder(packing.folder, tracker, ["--upload-limit", "12MB"])
        let first = try await Fetcher(packing.magnet, into: scratch("first"), tracker)
        _ = try await first.reaches(0.25)
        let second = try await Fetcher(packing.magnet, into: scratch("second"), tracker)
        let firstDone = try await first.done()
        check(firstDone, packing, "first fetcher")
        let secondDone = try await second.done()
        check(secondDone, packing, "second fetcher")
        // A program ends with its fetch, so the first gave all this before.
        let given = try #require(secondDone.sources[first.nodeID])
        #expect(given >= packing.size / 20)
        #expect(firstDone.served >= given)
        let served = try await seeder.stop()
        print("the seeder sent \(served) bytes to two fetchers")
        #expect(served < packing.size * 195 / 100, "what the two gave each other it did not have to send")
        try await packing.expectCopy(in: first.folder)
        try await packing.expectCopy(in: second.folder)
    }

    // MARK: - Deaths

    @Test("the tracker's death in the middle does not matter, and the seeder's limit holds")
    func trackerDies() async throws {
        let packing = model.usual
        let limit = 15_000_000.0
        let tracker = try await Tracker()
        let seeder = try await Seeder(packing.folder, tracker, ["--upload-limit", "15MB"])
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker)
        let middle = try await fetcher.reaches(0.3)
        tracker.process.kill()
        #expect(middle.fraction < 0.8)
        let done = try await fetcher.done()
        check(done, packing, "tracker killed at \(Int(middle.fraction * 100)) %")
        let rate = Double(done.fromPeers) / done.seconds
        #expect(rate < limit * 1.1 && rate > limit * 0.3, "\(rate) bytes a second")
        _ = try await seeder.stop()
        try await packing.expectCopy(in: fetcher.folder)
    }

    @Test("a seeder's death in the middle does not matter", arguments: ["kill -9", "Ctrl-C"])
    func seederDies(death: String) async throws {
        let packing = model.usual
        let tracker = try await Tracker()
        let seeders = [
            try await Seeder(packing.folder, tracker, ["--upload-limit", "10MB"]),
            try await Seeder(packing.folder, tracker, ["--upload-limit", "10MB"]),
        ]
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker)
        let middle = try await fetcher.reaches(0.35)
        if death == "kill -9" { seeders[0].process.kill() } else { seeders[0].process.interrupt() }
        #expect(middle.fraction < 0.8)
        let done = try await fetcher.done()
        check(done, packing, "seeder ended by \(death) at \(Int(middle.fraction * 100)) %")
        // Both have given, the dead one too.
        #expect(Set(done.sources.keys) == Set(seeders.map(\.nodeID)))
        try await packing.expectCopy(in: fetcher.folder)
    }

    @Test(
        "after kill -9 the fetcher goes on, and fetches nothing verified again",
        arguments: ["peers", "SHA-256", "HTTP"])
    func fetcherDies(source: String) async throws {
        let packing = source == "SHA-256" ? model.sha256 : model.usual
        let tracker = source == "HTTP" ? nil : try await Tracker()
        let server = source == "HTTP" ? try StaticServer(packing.folder) : nil
        defer { server?.stop() }
        let seeder: Seeder? = if let tracker { try await Seeder(packing.folder, tracker) } else { nil }
        let options = server.map { ["--http", $0.base] } ?? []
        let first = try await Fetcher(
            packing.magnet, into: scratch("copy"), tracker, options + ["--download-limit", "12MB"])
        let middle = try await first.reaches(0.35)
        first.process.kill()
        _ = try await first.process.exit()
        #expect(middle.fraction < 0.8)
        let unverified = Set(try FileManager.default.contentsOfDirectory(atPath: first.folder))
        #expect(unverified.isDisjoint(with: packing.manifest.shards.map(\.name)), "no shard is whole yet")
        let second = try await Fetcher(packing.magnet, into: first.folder, tracker, options)
        let done = try await second.done()
        check(done, packing, "after kill -9 at \(Int(middle.fraction * 100)) %, \(source)")
        #expect(done.fromDisk >= middle.verified, "what was verified is still there")
        // Over both runs: what the first had received and not stored, and what the second says.
        let received = middle.fromPeers + middle.fromHTTP + done.fromPeers + done.fromHTTP
        print("both runs received \(received) bytes for \(packing.size)")
        #expect(received + done.duplicates <= packing.size + packing.size / 100)
        withExtendedLifetime(seeder) {}
        try await packing.expectCopy(in: first.folder)
    }

    // MARK: - Lies

    @Test("who sends wrong bytes is named and banned, and the fetch completes")
    func liar() async throws {
        let packing = model.small
        let tracker = try await Tracker()
        let folder = scratch("liar")
        try FileManager.default.copyItem(atPath: packing.folder, toPath: folder)
        let liar = try await Seeder(folder, tracker)
        // It verified its files at the start: what it sends from now on it believes to be right.
        for entry in packing.entries { try Self.alter("\(folder)/\(entry.name)", size: entry.size) }
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker)
        let banned = try await fetcher.process.json(where: ["event": "banned"])
        #expect(banned["nodeId"]?.string == liar.nodeID)
        #expect(try #require(banned["reason"]?.string).contains("group"))
        let honest = try await Seeder(packing.folder, tracker)
        let done = try await fetcher.done()
        check(done, packing, "liar")
        #expect(done.rejected > 0)
        #expect(done.rejected <= packing.size / 100)
        #expect(done.sources[honest.nodeID] ?? 0 >= packing.size)
        #expect(fetcher.process.output.split(separator: "\n").count { $0.contains("\"banned\"") } == 1)
        try await packing.expectCopy(in: fetcher.folder)
    }

    /// Changes one byte in every group of a file, in place.
    private static func alter(_ path: String, size: Int) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        defer { try? file.close() }
        for offset in stride(from: 0, to: size, by: 131_072) {
            try file.seek(toOffset: UInt64(offset))
            let byte = try #require(try file.read(upToCount: 1)?.first)
            try file.seek(toOffset: UInt64(offset))
            try file.write(contentsOf: Data([byte ^ 1]))
        }
    }

    // MARK: - HTTP

    @Test("comes over HTTP alone", arguments: [true, false], [true, false])
    func httpOnly(honorsRanges: Bool, isLink: Bool) async throws {
        let packing = isLink ? model.usual : model.sha256
        let server = try StaticServer(packing.folder, honorsRanges: honorsRanges)
        defer { server.stop() }
        let fetcher =
            isLink
            ? try await Fetcher(packing.magnet, into: scratch("copy"), nil, ["--http", server.base])
            : try await Fetcher("\(server.base)/manifest.json", into: scratch("copy"), nil)
        let done = try await fetcher.done()
        check(done, packing, "HTTP \(honorsRanges ? "with" : "without") ranges, sent \(server.bytesSent)")
        #expect(done.fromPeers == 0)
        #expect(done.fromHTTP >= packing.size)
        if honorsRanges { #expect(server.bytesSent < packing.size + packing.size / 50) }
        try await packing.expectCopy(in: fetcher.folder)
    }

    @Test("what no peer has comes over HTTP, the rest from the peer")
    func mixed() async throws {
        let packing = model.small
        let server = try StaticServer(packing.folder)
        defer { server.stop() }
        let tracker = try await Tracker()
        let folder = scratch("half")
        try packing.part(folder) { $0 % 2 == 0 }
        let seeder = try await Seeder(folder, tracker)
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, ["--http", server.base])
        let done = try await fetcher.done()
        check(done, packing, "peer and HTTP")
        let half = packing.manifest.entries.enumerated().reduce(0) { $1.offset % 2 == 0 ? $0 + $1.element.size : $0 }
        #expect(done.sources[seeder.nodeID] ?? 0 >= half * 9 / 10)
        #expect(done.fromHTTP >= packing.size - half)
        try await packing.expectCopy(in: fetcher.folder)
    }

    // MARK: - Limits

    @Test("a download limit holds", arguments: ["peers", "HTTP"])
    func downloadLimit(source: String) async throws {
        let packing = model.usual
        let limit = 25_000_000.0
        let server = source == "HTTP" ? try StaticServer(packing.folder) : nil
        defer { server?.stop() }
        let tracker = source == "HTTP" ? nil : try await Tracker()
        let seeder: Seeder? = if let tracker { try await Seeder(packing.folder, tracker) } else { nil }
        let fetcher = try await Fetcher(
            packing.magnet, into: scratch("copy"), tracker,
            ["--download-limit", "25MB"] + (server.map { ["--http", $0.base] } ?? []))
        let done = try await fetcher.done()
        check(done, packing, "at most 25 MB a second, \(source)")
        let rate = Double(packing.size) / done.seconds
        #expect(rate < limit * 1.15 && rate > limit * 0.25, "\(rate) bytes a second")
        withExtendedLifetime(seeder) {}
    }

    @Test("a disk quota that is too small is refused before anything is fetched")
    func quota() async throws {
        let packing = model.usual
        let tracker = try await Tracker()
        let seeder = try await Seeder(packing.folder, tracker)
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, ["--disk-quota", "50MB"])
        try await fetcher.process.expectExit(1)
        try await fetcher.process.waitForOutputEnd()
        #expect(fetcher.process.errors.contains("the disk quota allows 50000000"), "\(fetcher.process.errors)")
        let served = try await seeder.stop()
        #expect(served == 0, "\(served) bytes were served")
    }

    @Test("Ctrl-C ends a fetch at once, and so does a time without news")
    func interrupted() async throws {
        let packing = model.usual
        let tracker = try await Tracker()
        let waiting = try await Fetcher(packing.magnet, into: scratch("copy"), tracker, ["--stall-timeout", "1"])
        try await waiting.process.expectExit(1)
        try await waiting.process.waitForOutputEnd()
        #expect(waiting.process.errors.contains("nothing came for 1 s"), "\(waiting.process.errors)")
        let seeder = try await Seeder(packing.folder, tracker, ["--upload-limit", "20MB"])
        let fetcher = try await Fetcher(packing.magnet, into: scratch("copy"), tracker)
        let middle = try await fetcher.reaches(0.2)
        fetcher.process.interrupt()
        try await fetcher.process.expectExit(1)
        try await fetcher.process.waitForOutputEnd()
        #expect(fetcher.process.errors.contains("the same command goes on from here"), "\(fetcher.process.errors)")
        let next = try await Fetcher(packing.magnet, into: fetcher.folder, tracker)
        let done = try await next.done()
        check(done, packing, "after Ctrl-C")
        #expect(done.fromDisk >= middle.verified)
        withExtendedLifetime(seeder) {}
        try await packing.expectCopy(in: fetcher.folder)
    }
}
