// SPDX-License-Identifier: Apache-2.0

import Glibc
import Hashing
import NetIO
import RDRR
@testable import Swarm
import Synchronization
import Testing
import WebRTC
import Wire

@Suite("A node with files and threads", .serialized, .timeLimit(.minutes(3)))
struct NodeTests {
    static let group = SwarmCatalog.groupSize

    @Test("a model goes from folder to folder over links in memory")
    func inMemory() async throws {
        let place = Place()
        let (model, link) = try place.makeModel("seed", sizes: [Self.group * 9 + 77, Self.group * 4, 1000])
        let network = MemoryNetwork()
        let seeder = try P2PSwarm(link: link, folder: place.path("seed"), transport: MemoryTransport(network, 1))
        let fetcher = try P2PSwarm(link: link, folder: place.path("copy"), transport: MemoryTransport(network, 2))
        try await seeder.join()
        try await seeder.completed()
        try await fetcher.join()
        try await meet(fetcher, seeder)
        try await fetcher.completed()
        try place.expectSame("seed", "copy", model)
        #expect(fetcher.statistics.bytesFromPeers == model.totalEntrySize)
        #expect(fetcher.statistics.duplicateBytes == 0)
        #expect(seeder.statistics.bytesServed == model.totalEntrySize)
        #expect(fetcher.progress.fraction == 1)
        let source = try await SwarmShardSource(fetcher)
        let part = try await source.shard(2, range: 10..<20)
        #expect(part.count == 10)
        await fetcher.leave()
        await seeder.leave()
    }

    @Test("a model goes from folder to folder over WebRTC on this host")
    func webRTC() async throws {
        let place = Place()
        let (model, link) = try place.makeModel("seed", sizes: [Self.group * 20 + 77, Self.group * 4, 1000])
        func transport() throws -> WebRTCTransport {
            WebRTCTransport(endpoint: try RTCEndpoint(configuration: .init(addresses: [.loopbackV4])))
        }
        let (first, second) = (try transport(), try transport())
        let seeder = try P2PSwarm(link: link, folder: place.path("seed"), transport: first)
        let fetcher = try P2PSwarm(link: link, folder: place.path("copy"), transport: second)
        try await seeder.join()
        try await fetcher.join()
        try await meet(fetcher, seeder)
        try await fetcher.completed()
        try place.expectSame("seed", "copy", model)
        #expect(fetcher.bannedNodes.isEmpty && seeder.bannedNodes.isEmpty)
        await fetcher.leave()
        await seeder.leave()
        first.endpoint.close()
        second.endpoint.close()
    }

    @Test("everything comes from the origin, and a wrong file is fetched again")
    func origin() async throws {
        let place = Place()
        let (model, link) = try place.makeModel("seed", sizes: [Self.group * 3 + 5, 2000])
        let origin = FolderOrigin(folder: place.path("seed"))
        try place.write([UInt8](repeating: 9, count: 2000), "copy/shard_00001.bin")
        let network = MemoryNetwork()
        var configuration = P2PSwarm.Configuration()
        configuration.core.originGrace = .zero
        let fetcher = try P2PSwarm(
            link: link, folder: place.path("copy"), transport: MemoryTransport(network, 1), origin: origin,
            configuration: configuration)
        try await fetcher.join()
        try await fetcher.completed()
        try place.expectSame("seed", "copy", model)
        #expect(fetcher.statistics.bytesFromOrigin == model.totalEntrySize)
        await fetcher.leave()
    }

    @Test("a node that was killed goes on where its part files end")
    func resume() async throws {
        let place = Place()
        let (model, link) = try place.makeModel("seed", sizes: [Self.group * 40])
        let network = MemoryNetwork()
        let seeder = try P2PSwarm(link: link, folder: place.path("seed"), transport: MemoryTransport(network, 1))
        try await seeder.join()
        var configuration = P2PSwarm.Configuration()
        configuration.core.downloadLimit = 4_000_000
        let first = try P2PSwarm(
            link: link, folder: place.path("copy"), transport: MemoryTransport(network, 2),
            configuration: configuration)
        try await first.join()
        try await meet(first, seeder)
        var events = first.events.makeAsyncIterator()
        var verified = 0
        while verified <= Self.group * 15, let event = await events.next() {
            if case .progress(let count, _) = event { verified = count }
        }
        await first.leave()
        let second = try P2PSwarm(link: link, folder: place.path("copy"), transport: MemoryTransport(network, 3))
        try await second.join()
        let before = second.progress.bytesVerified
        #expect(before > Self.group * 15 && before < model.totalEntrySize)
        try await meet(second, seeder)
        try await second.completed()
        try place.expectSame("seed", "copy", model)
        #expect(second.statistics.bytesFromPeers == model.totalEntrySize - before)
        await second.leave()
        await seeder.leave()
    }

    @Test("a custom loader is verified, and what it gives lands under its final name")
    func customLoader() async throws {
        let place = Place()
        let (model, _) = try place.makeModel("seed", sizes: [Self.group + 5, 2000])
        let folder = ModelFolder(path: place.path("seed"), manifest: model)
        let downloader = ModelDownloader(folder: place.path("copy"))
        downloader.setCustomShardLoader { _ in [1, 2, 3] }
        await #expect(throws: RDRRError.self) { try await downloader.downloadModel(model) }
        downloader.setCustomShardLoader { try await folder.shard($0) }
        try await downloader.downloadModel(model)
        try place.expectSame("seed", "copy", model)
    }

    @Test("a folder that cannot be made is a clear error")
    func noFolder() async throws {
        let place = Place()
        let (model, link) = try place.makeModel("seed", sizes: [2000])
        try place.write([1], "file")
        let swarm = try P2PSwarm(
            link: link, manifest: model.bytes, folder: place.path("file/copy"),
            transport: MemoryTransport(MemoryNetwork(), 1))
        await #expect(throws: SwarmFailure.self) { try await swarm.join() }
        await swarm.leave()
    }

    private func meet(_ offerer: P2PSwarm, _ answerer: P2PSwarm) async throws {
        let offer = try #require(await offerer.makeOffers(1).first)
        let answer = try #require(await answerer.answer(offer: offer.sdp))
        offerer.received(answer: answer, to: offer.id)
    }
}
