// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
@testable import Swarm
import Testing
import Wire

@Suite("A swarm on virtual time")
struct SimulationTests {
    static let group = SwarmCatalog.groupSize

    private func expectFewDuplicates(_ node: SimulatedNode, _ part: Double = 0.01) {
        let total = node.model.catalog.totalSize
        #expect(Double(node.core.statistics.duplicateBytes) <= part * Double(total), "\(node.core.statistics)")
    }

    @Test("one seeder, one fetcher that knows only the link", arguments: [HashAlgorithm.blake3, .sha256])
    func oneToOne(algorithm: HashAlgorithm) {
        let simulation = Simulation(seed: 1)
        let model = Model(sizes: [Self.group * 5 + 1000, Self.group, 0, 7, Self.group * 3], algorithm: algorithm)
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 2))
        seeder.start(having: [0, 1, 2, 3, 4])
        simulation.connect(fetcher, seeder)
        #expect(simulation.run(for: .seconds(10), until: { fetcher.isComplete }))
        #expect(fetcher.core.statistics.duplicateBytes == 0)
        #expect(fetcher.core.statistics.bytesFromPeers == model.catalog.totalSize)
        #expect(fetcher.events.contains { if case .complete = $0 { true } else { false } })
        // Both have everything: the offerer closes.
        simulation.run(for: .seconds(1))
        #expect(fetcher.closes.map(\.code) == [.nothingToExchange])
        #expect(fetcher.core.bannedNodes.isEmpty && seeder.core.bannedNodes.isEmpty)
    }

    @Test("times are told: of a connection before its peer is known, of the first byte and the last")
    func times() throws {
        let simulation = Simulation(seed: 1)
        let model = Model(sizes: [Self.group * 5])
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 2))
        seeder.start(having: [0])
        fetcher.start()
        let connectedAt = simulation.now
        simulation.connect(fetcher, seeder)
        try #require(simulation.run(for: .seconds(10), until: { fetcher.isComplete }))
        let story = fetcher.events.compactMap { event -> String? in
            switch event {
            case .peerConnected(_, _, .offerer, let time): time == connectedAt ? "connected" : "connected at \(time)"
            case .peerJoined: "joined"
            case .shardVerified: "verified"
            default: nil
            }
        }
        #expect(story == ["connected", "joined", "verified"])
        let first = try #require(fetcher.core.statistics.firstPeerByteAt)
        let last = try #require(fetcher.core.statistics.lastPeerByteAt)
        #expect(connectedAt < first && first < last && last <= simulation.now)
        #expect(seeder.core.statistics.firstPeerByteAt == nil)
    }

    @Test("three seeders with different parts each serve their share")
    func threeParts() {
        let simulation = Simulation(seed: 2)
        let model = Model(sizes: Array(repeating: Self.group * 4, count: 9))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let seeders = (0..<3).map { part in
            let seeder = simulation.add(SimulatedNode(simulation, "s\(part)", model: model, certificate: UInt8(part)))
            seeder.start(having: Set((0..<9).filter { $0 % 3 == part }), wanting: [])
            return seeder
        }
        for seeder in seeders { simulation.connect(fetcher, seeder) }
        #expect(simulation.run(for: .seconds(20), until: { fetcher.isComplete }))
        expectFewDuplicates(fetcher)
        for seeder in seeders { #expect(seeder.served * 5 >= model.catalog.totalSize) }
    }

    @Test("several seeders of everything share one big shard", arguments: 0..<4)
    func sharedShard(seed: UInt64) {
        let simulation = Simulation(seed: seed)
        let model = Model(sizes: [Self.group * 40], seed: seed)
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let seeders = (0..<3).map { part in
            let seeder = simulation.add(SimulatedNode(simulation, "s\(part)", model: model, certificate: UInt8(part)))
            seeder.rate = Double.random(in: 1_000_000...4_000_000, using: &simulation.entropy)
            seeder.start(having: [0])
            return seeder
        }
        for seeder in seeders { simulation.connect(fetcher, seeder) }
        #expect(simulation.run(for: .seconds(30), until: { fetcher.isComplete }))
        expectFewDuplicates(fetcher)
        let rate = seeders.reduce(0) { $0 + $1.rate }
        #expect(simulation.now < .seconds(Double(model.catalog.totalSize) / rate * 2 + 1), "seed \(seed)")
        for seeder in seeders { #expect(seeder.served > 0) }
    }

    @Test("a chain: what a fetcher has it serves while it fetches")
    func chain() {
        let simulation = Simulation(seed: 3)
        let model = Model(sizes: [Self.group * 30])
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        let middle = simulation.add(SimulatedNode(simulation, "middle", model: model, certificate: 2))
        let last = simulation.add(SimulatedNode(simulation, "last", model: model, certificate: 3))
        seeder.rate = 1_000_000
        seeder.start(having: [0])
        simulation.connect(middle, seeder)
        simulation.connect(middle, last)
        var servedEarly = 0
        #expect(
            simulation.run(for: .seconds(30)) {
                if !middle.isComplete { servedEarly = middle.served }
                return last.isComplete
            })
        #expect(servedEarly > Self.group * 10)
        expectFewDuplicates(last)
    }

    @Test("two fetchers of one slow seeder fetch different shards and share them", arguments: 0..<4)
    func fellows(seed: UInt64) {
        let simulation = Simulation(seed: seed)
        let model = Model(sizes: Array(repeating: Self.group * 8, count: 20))
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.rate = 2_000_000
        seeder.start(having: Set(0..<20))
        let fetchers = (0..<2).map { number in
            let certificate = UInt8(seed) * 2 + 2 + UInt8(number)
            return simulation.add(SimulatedNode(simulation, "f\(number)", model: model, certificate: certificate))
        }
        simulation.connect(fetchers[0], fetchers[1])
        for fetcher in fetchers { simulation.connect(fetcher, seeder) }
        #expect(simulation.run(for: .seconds(60), until: { fetchers.allSatisfy { $0.isComplete } }))
        for fetcher in fetchers { expectFewDuplicates(fetcher) }
        #expect(
            seeder.served < model.catalog.totalSize * 3 / 2,
            "seed \(seed): \(seeder.served) for \(model.catalog.totalSize), at \(simulation.now)")
    }

    @Test("a seeder that dies in the middle costs time, no bytes", arguments: [true, false])
    func death(isNoticed: Bool) {
        let simulation = Simulation(seed: 4)
        let model = Model(sizes: Array(repeating: Self.group * 10, count: 4))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let seeders = (0..<3).map { part in
            let seeder = simulation.add(SimulatedNode(simulation, "s\(part)", model: model, certificate: UInt8(part)))
            seeder.rate = 1_000_000
            seeder.start(having: [0, 1, 2, 3])
            return seeder
        }
        for seeder in seeders { simulation.connect(fetcher, seeder) }
        simulation.run(for: .seconds(60)) { fetcher.core.statistics.bytesFromPeers > model.catalog.totalSize / 2 }
        seeders[1].die(noticedAfter: isNoticed ? .milliseconds(100) : nil)
        #expect(simulation.run(for: .seconds(60), until: { fetcher.isComplete }))
        // Half a group on its way is lost.
        expectFewDuplicates(fetcher, 0.03)
        #expect(fetcher.core.statistics.duplicateBytes < Self.group)
        // Who is gone is still named among those that gave something.
        let sources = fetcher.core.sources
        #expect(Set(sources.map(\.nodeID)) == Set(seeders.map { $0.core.nodeID }))
        #expect(sources.allSatisfy { $0.bytesReceived > 0 })
        #expect(sources.reduce(0) { $0 + $1.bytesReceived } == fetcher.core.statistics.bytesFromPeers)
    }

    @Test("who sends wrong bytes is named and banned, and the fetch completes", arguments: ["group", "proof", "short"])
    func liar(kind: String) {
        let simulation = Simulation(seed: 5)
        let model = Model(sizes: Array(repeating: Self.group * 6, count: 3))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let honest = simulation.add(SimulatedNode(simulation, "honest", model: model, certificate: 1))
        let liar = simulation.add(SimulatedNode(simulation, "liar", model: model, certificate: 2))
        for seeder in [honest, liar] {
            seeder.rate = 2_000_000
            seeder.start(having: [0, 1, 2])
        }
        liar.tamper = { header, data in
            var header = header
            var data = data
            switch (kind, header.kind) {
            case ("group", .chunk): data[data.count - 1] ^= 1
            case ("proof", .proof): data[0] ^= 1
            case ("short", .chunk): header.isEnd.toggle()
            default: break
            }
            return (header, data)
        }
        simulation.connect(fetcher, liar)
        simulation.connect(fetcher, honest)
        #expect(simulation.run(for: .seconds(60), until: { fetcher.isComplete }))
        #expect(Array(fetcher.core.bannedNodes.keys) == [liar.core.nodeID])
        // A wrong group counts as rejected, and not as fetched twice as well.
        let moved = fetcher.core.statistics
        #expect(moved.rejectedBytes == (kind == "group" ? Self.group : 0))
        #expect(moved.bytesFromPeers <= model.catalog.totalSize + moved.duplicateBytes + moved.rejectedBytes)
        #expect(fetcher.events.contains { if case .peerBanned(liar.core.nodeID, _) = $0 { true } else { false } })
    }

    @Test("a false commitment of a SHA-256 shard is found out", arguments: [1, 2])
    func falseCommitment(liars: Int) {
        let simulation = Simulation(seed: 6)
        let model = Model(sizes: [Self.group * 4], algorithm: .sha256)
        var wrong = model.contents[0]
        wrong[5] ^= 1
        let lie = Model.values(of: wrong)
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let honest = simulation.add(SimulatedNode(simulation, "honest", model: model, certificate: 1))
        honest.start(having: [0])
        for number in 0..<liars {
            let liar = simulation.add(SimulatedNode(simulation, "liar", model: model, certificate: UInt8(2 + number)))
            liar.start(having: [0])
            liar.tamper = { header, data in
                switch header.kind {
                case .proof: return (header, lie.flatMap(\.bytes))
                case .chunk:
                    let start = Int(header.offset)
                    return (header, Array(wrong[start..<start + data.count]))
                default: return (header, data)
                }
            }
            simulation.connect(fetcher, liar)
        }
        simulation.run(for: .milliseconds(25))
        simulation.connect(fetcher, honest)
        #expect(simulation.run(for: .seconds(120), until: { fetcher.isComplete }))
        #expect(fetcher.core.bannedNodes.count == liars)
        #expect(fetcher.core.bannedNodes[honest.core.nodeID] == nil)
    }

    @Test("a wrong hello, and a hello that never comes", arguments: ["binding", "node", "version", "lane", "none", "early"])
    func hello(kind: String) {
        let simulation = Simulation(seed: 7)
        let model = Model(sizes: [Self.group * 2])
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        let other = simulation.add(SimulatedNode(simulation, "other", model: model, certificate: 2))
        seeder.start(having: [0])
        other.tamperControl = { text in
            guard case .hello(var hello)? = try? ControlMessage(parsing: text) else { return nil }
            switch kind {
            case "binding": hello.binding[0] ^= 1
            case "node": hello.nodeID = NodeID(certificateDigest: certificate(5))
            case "version":
                hello.version = 3
                hello.minVersion = 2
            case "lane": hello.lane = 1
            case "early": return ControlMessage.choke.text
            default: return nil
            }
            return ControlMessage.hello(hello).text
        }
        simulation.connect(other, seeder)
        simulation.run(for: .seconds(12))
        let expected: SwarmCloseReason.Code =
            switch kind {
            case "binding", "node", "early": .breach
            case "none": .helloTimeout
            default: .unsupported
            }
        #expect(seeder.closes.map(\.code) == [expected])
        #expect(seeder.core.bannedNodes.isEmpty)
        let isTold = seeder.events.contains { event in
            if case .peerRefused(let node, let reason) = event { node == other.core.nodeID && reason.code == expected } else { false }
        }
        #expect(isTold)
        #expect(seeder.served == 0)
    }

    @Test("a silent peer: asked again after 15 s, closed after the second time, banned after the third close")
    func silence() {
        let simulation = Simulation(seed: 8)
        let model = Model(sizes: [Self.group * 4])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let silent = simulation.add(SimulatedNode(simulation, "silent", model: model, certificate: 1))
        silent.start(having: [0])
        fetcher.start()
        silent.tamper = { _, _ in nil }
        for round in 1...3 {
            let start = simulation.now
            simulation.connect(silent, fetcher)
            #expect(simulation.run(for: .seconds(60), until: { fetcher.closes.count == round }))
            #expect(simulation.now - start >= .seconds(30) && simulation.now - start < .seconds(32))
        }
        #expect(fetcher.closes.map(\.code) == [.unanswered, .unanswered, .unanswered])
        #expect(fetcher.core.bannedNodes[silent.core.nodeID] != nil)
    }

    @Test("a peer that is silent about the manifest holds nobody up for long")
    func silentAboutTheManifest() {
        let simulation = Simulation(seed: 8)
        let model = Model(sizes: [Self.group * 4])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9))
        let silent = simulation.add(SimulatedNode(simulation, "silent", model: model, certificate: 1))
        let honest = simulation.add(SimulatedNode(simulation, "honest", model: model, certificate: 2))
        silent.start(having: [0])
        honest.start(having: [0])
        silent.tamper = { _, _ in nil }
        simulation.connect(silent, fetcher)
        simulation.run(for: .milliseconds(100))
        simulation.connect(honest, fetcher)
        #expect(simulation.run(for: .seconds(20), until: { fetcher.isComplete }))
    }

    @Test("an idle connection is kept alive by pings, a dead one is closed after 60 s")
    func pings() {
        let simulation = Simulation(seed: 9)
        let model = Model(sizes: [100, 100])
        let a = simulation.add(SimulatedNode(simulation, "a", model: model, certificate: 1))
        let b = simulation.add(SimulatedNode(simulation, "b", model: model, certificate: 2))
        a.start(having: [0], wanting: [])
        b.start(having: [1], wanting: [])
        simulation.connect(a, b)
        simulation.run(for: .seconds(200))
        #expect(a.closes.isEmpty && b.closes.isEmpty)
        b.die(noticedAfter: nil)
        #expect(simulation.run(for: .seconds(92), until: { !a.closes.isEmpty }))
        #expect(a.closes.map(\.code) == [.silence])
    }

    @Test("of two connections between two nodes one stays", arguments: [true, false], [true, false])
    func duplicates(firstByA: Bool, secondByA: Bool) {
        let simulation = Simulation(seed: 10)
        let model = Model(sizes: [100, 100])
        let a = simulation.add(SimulatedNode(simulation, "a", model: model, certificate: 1))
        let b = simulation.add(SimulatedNode(simulation, "b", model: model, certificate: 2))
        a.start(having: [0], wanting: [])
        b.start(having: [1], wanting: [])
        simulation.connect(firstByA ? a : b, firstByA ? b : a)
        simulation.connect(secondByA ? a : b, secondByA ? b : a)
        simulation.run(for: .seconds(30))
        #expect(a.core.peerSnapshots.count == 1 && b.core.peerSnapshots.count == 1)
        #expect(a.links.count == 1 && b.links.count == 1)
        if firstByA != secondByA {
            let smaller = a.core.nodeID < b.core.nodeID ? a : b
            #expect(smaller.core.peerSnapshots.first?.role == .offerer)
        }
        #expect(a.core.bannedNodes.isEmpty && b.core.bannedNodes.isEmpty)
    }

    @Test("after kill -9 nothing verified comes again", arguments: [HashAlgorithm.blake3, .sha256])
    func resume(algorithm: HashAlgorithm) {
        let simulation = Simulation(seed: 11)
        let model = Model(sizes: Array(repeating: Self.group * 8, count: 3), algorithm: algorithm)
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.rate = 2_000_000
        seeder.start(having: [0, 1, 2])
        let first = simulation.add(SimulatedNode(simulation, "first", model: model, certificate: 2))
        simulation.connect(first, seeder)
        simulation.run(for: .seconds(60)) { first.core.statistics.bytesFromPeers > model.catalog.totalSize * 6 / 10 }
        first.die(noticedAfter: .milliseconds(1))
        simulation.run(for: .milliseconds(100))
        let before = first.core.progress.verified
        #expect(before > model.catalog.totalSize / 3)
        let second = simulation.add(SimulatedNode(simulation, "second", model: model, certificate: 3))
        second.restart(from: first)
        #expect(second.core.progress.verified >= before)
        #expect(second.core.statistics.verifiedFromDisk == second.core.progress.verified)
        simulation.connect(second, seeder)
        #expect(simulation.run(for: .seconds(60), until: { second.isComplete }))
        #expect(second.core.statistics.bytesFromPeers <= model.catalog.totalSize - before)
    }

    @Test(
        "with no peer everything comes from HTTP, with proofs and without",
        arguments: [HashAlgorithm.blake3, .sha256], [true, false])
    func originOnly(algorithm: HashAlgorithm, hasProofs: Bool) {
        let simulation = Simulation(seed: 12)
        let model = Model(sizes: [Self.group * 5 + 9, 100], algorithm: algorithm)
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9, hasOrigin: true))
        fetcher.origin = { resource in
            switch resource {
            case .manifest: model.manifest
            case .proof(let entry): hasProofs ? model.values[entry].flatMap(\.bytes) : nil
            case .range(let entry, let range): Array(model.contents[entry][range])
            }
        }
        #expect(simulation.run(for: .seconds(30), until: { fetcher.isComplete }))
        #expect(fetcher.core.statistics.bytesFromOrigin == model.catalog.totalSize)
        #expect(fetcher.core.statistics.duplicateBytes == 0)
    }

    @Test("a seeder's missing part comes from HTTP, the rest from the seeder")
    func originFillsIn() {
        let simulation = Simulation(seed: 13)
        let model = Model(sizes: Array(repeating: Self.group * 4, count: 4))
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9, hasOrigin: true))
        fetcher.origin = { resource in
            guard case .range(let entry, let range) = resource else { return nil }
            return Array(model.contents[entry][range])
        }
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.start(having: [0, 1, 2], wanting: [])
        simulation.connect(fetcher, seeder)
        #expect(simulation.run(for: .seconds(30), until: { fetcher.isComplete }))
        #expect(fetcher.core.statistics.bytesFromOrigin == Self.group * 4)
        #expect(fetcher.core.statistics.bytesFromPeers == Self.group * 12)
    }

    @Test("an origin with wrong bytes never gets them through", arguments: [true, false])
    func lyingOrigin(hasProofs: Bool) {
        let simulation = Simulation(seed: 14)
        let model = Model(sizes: [Self.group * 3])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 9, hasOrigin: true))
        fetcher.origin = { resource in
            switch resource {
            case .manifest: return model.manifest
            case .proof: return hasProofs ? model.values[0].flatMap(\.bytes) : nil
            case .range(_, let range):
                var bytes = Array(model.contents[0][range])
                bytes[0] ^= 1
                return bytes
            }
        }
        #expect(!simulation.run(for: .seconds(200), until: { fetcher.isComplete }))
        #expect(fetcher.files.isEmpty)
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.start(having: [0])
        simulation.connect(seeder, fetcher)
        #expect(simulation.run(for: .seconds(30), until: { fetcher.isComplete }))
    }

    @Test("limits hold: upload, download, slots")
    func limits() {
        let simulation = Simulation(seed: 15)
        let model = Model(sizes: [Self.group * 24])
        var limited = SwarmConfiguration()
        limited.uploadLimit = 1_000_000
        let seeder = simulation.add(
            SimulatedNode(simulation, "seeder", model: model, certificate: 1, configuration: limited))
        seeder.start(having: [0])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 2))
        simulation.connect(fetcher, seeder)
        #expect(simulation.run(for: .seconds(60), until: { fetcher.isComplete }))
        let seconds = (simulation.now - .zero).seconds
        #expect(seconds > 2.6 && seconds < 4.5, "\(seconds) s for 3.1 MB at 1 MB/s")
        expectFewDuplicates(fetcher)

        var slow = SwarmConfiguration()
        slow.downloadLimit = 1_000_000
        let start = simulation.now
        let second = simulation.add(SimulatedNode(simulation, "second", model: model, certificate: 3, configuration: slow))
        simulation.connect(second, fetcher)
        #expect(simulation.run(for: .seconds(60), until: { second.isComplete }))
        let took = (simulation.now - start).seconds
        #expect(took > 2.6 && took < 4.5, "\(took) s for 3.1 MB at 1 MB/s")
    }

    @Test("with one upload slot everybody is served in turn")
    func slots() {
        let simulation = Simulation(seed: 16)
        let model = Model(sizes: [Self.group * 16])
        var configuration = SwarmConfiguration()
        configuration.uploadSlots = 1
        configuration.uploadLimit = 500_000
        let seeder = simulation.add(
            SimulatedNode(simulation, "seeder", model: model, certificate: 1, configuration: configuration))
        seeder.start(having: [0])
        let fetchers = (0..<3).map { number in
            let node = simulation.add(
                SimulatedNode(simulation, "f\(number)", model: model, certificate: UInt8(10 + number)))
            simulation.connect(node, seeder)
            return node
        }
        #expect(simulation.run(for: .seconds(120), until: { fetchers.allSatisfy(\.isComplete) }))
        for fetcher in fetchers { #expect(fetcher.core.bannedNodes.isEmpty && fetcher.closes.allSatisfy { $0.code != .fault }) }
    }

    @Test("small messages: 64 KiB, and too small to be asked")
    func messageSizes() {
        let simulation = Simulation(seed: 17)
        let model = Model(sizes: [Self.group * 3 + 5])
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.start(having: [0])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 2))
        fetcher.maxMessageSize = 65_536
        simulation.connect(fetcher, seeder)
        #expect(simulation.run(for: .seconds(10), until: { fetcher.isComplete }))
        let tiny = simulation.add(SimulatedNode(simulation, "tiny", model: model, certificate: 3))
        tiny.maxMessageSize = 16_403
        tiny.start()
        simulation.connect(tiny, seeder)
        simulation.run(for: .seconds(5))
        #expect(!tiny.isComplete && tiny.core.bannedNodes.isEmpty && seeder.core.bannedNodes.isEmpty)
    }

    @Test("a full disk is an error, and nothing is lost")
    func fullDisk() {
        let simulation = Simulation(seed: 18)
        let model = Model(sizes: Array(repeating: Self.group * 4, count: 3))
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 1))
        seeder.rate = 1_000_000
        seeder.start(having: [0, 1, 2])
        let fetcher = simulation.add(SimulatedNode(simulation, "fetcher", model: model, certificate: 2))
        simulation.connect(fetcher, seeder)
        simulation.run(for: .seconds(60)) { fetcher.files.count == 1 }
        fetcher.diskIsFull = true
        simulation.run(for: .seconds(10))
        #expect(fetcher.events.contains { if case .failed(.storage) = $0 { true } else { false } })
        #expect(fetcher.files[0] == model.contents[0])
        #expect(seeder.core.bannedNodes.isEmpty && fetcher.core.bannedNodes.isEmpty)
    }

    @Test("a quota: refused at the start, and room is made by evicting")
    func quota() {
        let simulation = Simulation(seed: 19)
        let model = Model(sizes: [Self.group, Self.group, Self.group])
        var configuration = SwarmConfiguration()
        configuration.diskQuota = Self.group * 2
        let refused = simulation.add(
            SimulatedNode(simulation, "refused", model: model, certificate: 1, configuration: configuration))
        refused.start()
        #expect(refused.core.failure == .quotaExceeded(needed: Self.group * 3, quota: Self.group * 2))
        let seeder = simulation.add(SimulatedNode(simulation, "seeder", model: model, certificate: 2))
        seeder.start(having: [0, 1, 2])
        let cache = simulation.add(
            SimulatedNode(simulation, "cache", model: model, certificate: 3, configuration: configuration))
        cache.start(having: [0, 1], wanting: [])
        simulation.connect(cache, seeder)
        simulation.run(for: .seconds(1))
        cache.core.request(2, now: simulation.now)
        cache.drain()
        #expect(simulation.run(for: .seconds(10), until: { cache.files[2] != nil }))
        #expect(cache.files.count == 2)
    }

    @Test("bytes that nobody asked for, and no bytes at all", arguments: 0..<7)
    func rudeness(kind: Int) {
        let simulation = Simulation(seed: 20)
        let model = Model(sizes: [Self.group * 4])
        let node = simulation.add(SimulatedNode(simulation, "node", model: model, certificate: 1))
        let rude = simulation.add(SimulatedNode(simulation, "rude", model: model, certificate: 2))
        node.start(having: [0])
        rude.start(having: [], wanting: [])
        simulation.connect(rude, node)
        simulation.run(for: .milliseconds(100))
        let handle = node.core.peerSnapshots[0].handle
        let header = BulkHeader(kind: .chunk, isEnd: false, requestID: 1, shardIndex: 0, offset: 0)
        switch kind {
        case 0: rude.sendRaw(header.message([1]), on: handle, bulk: true, isText: false)
        case 1: rude.sendRaw([], on: handle, bulk: true, isText: false)
        case 2: rude.sendRaw(Array("hi".utf8), on: handle, bulk: true, isText: true)
        case 3: rude.sendRaw([1, 2], on: handle, bulk: false, isText: false)
        case 4: rude.sendRaw([UInt8](repeating: 0x20, count: 70_000), on: handle, bulk: false, isText: true)
        case 5:
            node.core.receiveOversizedMessage(handle, isBulk: false, now: simulation.now)
            node.drain()
        default:
            for _ in 0...20_000 {
                rude.sendRaw(Array(ControlMessage.pong(nonce: 1).text.utf8), on: handle, bulk: false, isText: true)
            }
        }
        simulation.run(for: .seconds(1))
        #expect(node.closes.map(\.code) == [.fault])
        #expect(Array(node.core.bannedNodes.keys) == [rude.core.nodeID])
        simulation.connect(rude, node)
        simulation.run(for: .seconds(1))
        #expect(node.closes.last?.code == .banned)
    }

    @Test("random swarms complete, with churn", arguments: 0..<6)
    func churn(seed: UInt64) {
        let simulation = Simulation(seed: 100 + seed)
        let model = Model(sizes: (0..<6).map { _ in Int.random(in: 1...Self.group * 6, using: &simulation.entropy) }, seed: seed)
        let all = Set(model.contents.indices)
        let nodes = (0..<6).map { number in
            let node = simulation.add(SimulatedNode(simulation, "n\(number)", model: model, certificate: UInt8(number)))
            node.rate = Double.random(in: 200_000...5_000_000, using: &simulation.entropy)
            node.latency = .milliseconds(Int.random(in: 1...150, using: &simulation.entropy))
            if number < 2 { node.start(having: all) } else if number < 4 { node.start() }
            return node
        }
        for (index, node) in nodes.enumerated() {
            for other in nodes[..<index] where Bool.random(using: &simulation.entropy) || index - 1 == nodes.firstIndex(where: { $0 === other }) {
                simulation.connect(node, other)
            }
        }
        simulation.after(.milliseconds(800)) { nodes[1].die(noticedAfter: .seconds(1)) }
        let rest = nodes.enumerated().filter { $0.offset != 1 }.map(\.element)
        #expect(simulation.run(for: .seconds(240), until: { rest.allSatisfy(\.isComplete) }), "seed \(seed)")
        for node in rest {
            #expect(node.core.bannedNodes.isEmpty, "seed \(seed): \(node.core.bannedNodes)")
        }
    }
}
