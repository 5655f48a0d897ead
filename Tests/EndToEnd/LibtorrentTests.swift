// SPDX-License-Identifier: Apache-2.0
import Hashing
import SDP
import Signaling
import TestSupport
import Testing
import WebRTC
import Wire

/// libtorrent (2.1 or later, whose wheels speak WebRTC over libdatachannel) through our tracker: with another of its kind,
/// and with our stack, which then speaks BitTorrent itself.
@Suite(
    "libtorrent", .serialized, .timeLimit(.minutes(2)),
    .enabled(if: Programs.python(with: "libtorrent") != nil, "the Python package libtorrent is absent"))
struct LibtorrentTests {
    private static let label = "webtorrent"

    @Test("two of them meet through our tracker and one copies a file", arguments: [false, true])
    func pair(fetcherFirst: Bool) async throws {
        let server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
        let process = try script(
            "libtorrent_tracker.py",
            ["ws://127.0.0.1:\(server.port)/announce"] + (fetcherFirst ? ["--fetcher-first"] : []))
        let result = try await process.json(within: .seconds(90))
        #expect(result["equal"]?.bool == true, "\(result.serialized())")
        try await process.expectExit()
        await server.stop()
    }

    @Test("it answers our offer and serves a piece")
    func answerer() async throws {
        let meeting = try await Meeting()
        // It must be known to the tracker before our offers are handed around.
        try meeting.seeder.send("announce")
        _ = try await meeting.seeder.json(where: ["event": "announced"])
        let connections = Offers(endpoint: meeting.endpoint)
        meeting.client.start(TrackerStatus(left: 1, wantedOffers: 1)) { await connections.make($0) }
        let channel = try await connections.channel(from: meeting.client.events)
        try await meeting.fetchPiece(over: channel)
        await meeting.end()
    }

    @Test("we answer its offer and are served a piece")
    func offerer() async throws {
        let meeting = try await Meeting()
        meeting.client.start(TrackerStatus(left: 1, wantedOffers: 0)) { _ in [] }
        let connection = PeerConnection(endpoint: meeting.endpoint)
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        connection.setHandler { event in
            if case .channel(let channel) = event { arrived.yield(channel) }
        }
        var isAnswered = false
        for await event in meeting.client.events {
            // Once the tracker knows us, the seeder's offers come here.
            if case .announced = event { try meeting.seeder.send("announce") }
            guard case .offer(let offer) = event else { continue }
            let description = try SessionDescription(parsing: offer.sdp, type: .offer)
            offer.answer(sdp: try await connection.accept(offer: description).description)
            isAnswered = true
            break
        }
        try #require(isAnswered)
        var channels = incoming.makeAsyncIterator()
        let channel = try #require(await channels.next())
        #expect(channel.label == Self.label)
        #expect(channel.options.isOrdered && channel.options.reliability == .reliable)
        try await meeting.fetchPiece(over: channel)
        connection.close()
        await meeting.end()
    }

    private func script(_ name: String, _ arguments: [String]) throws -> LineProcess {
        let python = try #require(Programs.python(with: "libtorrent"))
        return try LineProcess(python, [Programs.script(name)] + arguments)
    }

    /// Our tracker, our tracker client, and a seeder that waits to be told to announce itself.
    private struct Meeting {
        let server: TrackerServer
        let endpoint: RTCEndpoint
        let client: TrackerClient
        let seeder: LineProcess
        let torrent: JSON
        let infoHash: [UInt8]

        init() async throws {
            server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
            let address = "ws://127.0.0.1:\(server.port)/announce"
            let python = try #require(Programs.python(with: "libtorrent"))
            seeder = try LineProcess(python, [Programs.script("libtorrent_seeder.py"), address])
            torrent = try await seeder.json(where: ["event": "ready"])
            infoHash = try #require(Hex.decode(torrent["infoHash"]?.string ?? ""))
            // libdatachannel offers the addresses of the host's interfaces, whatever libtorrent listens on.
            endpoint = try RTCEndpoint(configuration: .init(includesLoopback: true))
            let url = try #require(TrackerURL(address))
            let swarm = try #require(Bytes20(infoHash))
            client = TrackerClient(url: url, infoHash: swarm)
        }

        /// Fetches the last piece, which is a short one, and checks it.
        func fetchPiece(over channel: DataChannel) async throws {
            var wire = BitTorrentWire(channel)
            try await wire.shakeHands(infoHash: infoHash, peerID: Array("-DR0100-interopertest".utf8.prefix(20)))
            let hashes = try #require(torrent["pieces"]?.array).compactMap(\.string)
            try #require(!hashes.isEmpty)
            let held = try await wire.next(BitTorrentWire.bitfield).payload
            #expect(held.count == (hashes.count + 7) / 8 && held[0] & 0x80 != 0)
            let size = try #require(torrent["size"]?.integer)
            let length = try #require(torrent["pieceLength"]?.integer)
            let last = hashes.count - 1
            let bytes = try await wire.fetch(piece: UInt32(last), count: Int(size) - last * Int(length))
            #expect(Hex.encode(SHA1.hash(bytes)) == hashes[last])
        }

        func end() async {
            await client.stop()
            endpoint.close()
            seeder.kill()
            await server.stop()
        }
    }
}

/// Connections that are offered through a tracker.
private actor Offers {
    private let endpoint: RTCEndpoint
    private var offered: [UInt64: (connection: PeerConnection, channel: DataChannel)] = [:]

    init(endpoint: RTCEndpoint) { self.endpoint = endpoint }

    func make(_ count: Int) async -> [TrackerOffer] {
        var offers: [TrackerOffer] = []
        for _ in 0..<count {
            let connection = PeerConnection(endpoint: endpoint)
            guard let channel = try? connection.createDataChannel("webtorrent"),
                let description = try? await connection.createOffer()
            else { continue }
            let id = UInt64(offered.count + 1)
            offered[id] = (connection, channel)
            offers.append(TrackerOffer(id: id, sdp: description.description))
        }
        return offers
    }

    /// The channel of the first offer that is answered, open.
    func channel(from events: AsyncStream<TrackerEvent>) async throws -> DataChannel {
        for await event in events {
            guard case .answer(let id, _, let sdp) = event, let (connection, channel) = offered[id] else { continue }
            try connection.accept(answer: SessionDescription(parsing: sdp, type: .answer))
            try await channel.opened()
            return channel
        }
        throw BitTorrentWire.Failure(description: "no answer came")
    }
}
