// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOWebSocket
import Synchronization
import Testing
import Wire

@testable import Signaling

@Suite("Tracker client on loopback", .timeLimit(.minutes(1)))
struct TrackerClientTests {
    private func client(_ url: TrackerURL) -> TrackerClient { TrackerClient(url: url, infoHash: swarmHash) }

    /// The first event that `pick` takes.
    private func first<Result: Sendable>(
        of client: TrackerClient, _ pick: (TrackerEvent) -> Result?
    ) async -> Result? {
        for await event in client.events {
            if let result = pick(event) { return result }
        }
        return nil
    }

    /// Trackers that are none, and the words for what they do.
    private static let bad: [(String, FakeTracker.Behaviour)] = [
        ("closes", .closes),
        ("404", .bytes(Array("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".utf8))),
        ("200", .bytes(Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".utf8))),
        (
            "redirect",
            .bytes(Array("HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\r\nContent-Length: 0\r\n\r\n".utf8))
        ),
        ("101 without key", .bytes(Array("HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".utf8))),
        ("rubbish", .bytes((0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 37) })),
        ("endless header", .bytes(Array(("HTTP/1.1 101 X\r\n" + String(repeating: "a: b\r\n", count: 50_000)).utf8))),
    ]

    @Test("what is no tracker is told as unreachable, and tried again", arguments: bad.indices)
    func unreachable(_ index: Int) async throws {
        try await FakeTracker.with(Self.bad[index].1) { tracker in
            let client = client(try tracker.url)
            client.start(TrackerStatus(left: 1)) { _ in [] }
            var failures = 0
            for await event in client.events {
                guard case .disconnected(.unreachable(let reason)) = event else {
                    Issue.record("\(event)")
                    break
                }
                #expect(!reason.isEmpty)
                failures += 1
                if failures == 2 { break }
            }
            await client.stop()
        }
    }

    @Test("a refused connection is told as unreachable")
    func refused() async throws {
        var url: TrackerURL?
        try await FakeTracker.with(.silent) { url = try $0.url }
        let client = client(try #require(url))
        client.start(TrackerStatus(left: 1)) { _ in [] }
        #expect(
            await first(of: client) { if case .disconnected(.unreachable(let text)) = $0 { text } else { nil } } != nil)
        await client.stop()
    }

    @Test("a tracker that says nothing can be left at any time")
    func silent() async throws {
        try await FakeTracker.with(.silent) { tracker in
            let client = client(try tracker.url)
            client.start(TrackerStatus(left: 1)) { _ in [] }
            try await until { tracker.connections > 0 }
            await client.stop()
            for await event in client.events { Issue.record("\(event)") }
        }
    }

    @Test("a client that was never started, or is stopped at once, ends its events")
    func stopEarly() async throws {
        let url = try #require(TrackerURL("ws://127.0.0.1:9"))
        for starts in [true, false] {
            let client = client(url)
            if starts { client.start(TrackerStatus(left: 1)) { _ in [] } }
            client.update(TrackerStatus(left: 0))
            client.scrape()
            await client.stop()
            await client.stop()
            for await event in client.events { if case .connected = event { Issue.record("connected") } }
        }
    }

    /// Trackers that open a WebSocket and then misbehave.
    private static let misdeeds: [@Sendable (any Channel, String?) -> Void] = [
        { channel, message in if message != nil { channel.close(promise: nil) } },
        { channel, message in if message != nil { WebSocketHandler.close(.policyViolation, side: .server, on: channel) }
        },
        { channel, _ in for _ in 0..<30 { WebSocketHandler.send("rubbish", side: .server, on: channel) } },
        { channel, _ in
            let frame = WebSocketFrame(
                fin: true, opcode: .text, data: ByteBuffer(repeating: 0x20, count: (1 << 20) + 1))
            channel.writeAndFlush(frame, promise: nil)
        },
        { channel, _ in
            for index in 0..<20 {
                let data = ByteBuffer(repeating: 0x20, count: 100_000)
                channel.writeAndFlush(
                    WebSocketFrame(fin: false, opcode: index == 0 ? .text : .continuation, data: data), promise: nil)
            }
        },
        { channel, _ in
            channel.writeAndFlush(WebSocketFrame(fin: true, opcode: .continuation, data: ByteBuffer()), promise: nil)
        },
        { channel, _ in
            let frame = WebSocketFrame(
                fin: true, opcode: WebSocketOpcode(encodedWebSocketOpcode: 3) ?? .text, data: ByteBuffer())
            channel.writeAndFlush(frame, promise: nil)
        },
    ]

    @Test("a tracker that breaks the rules loses us, and we come back", arguments: misdeeds.indices)
    func rude(_ index: Int) async throws {
        try await FakeTracker.with(.webSocket(answer: Self.misdeeds[index])) { tracker in
            let client = client(try tracker.url)
            client.start(TrackerStatus(left: 1)) { _ in [] }
            var names: [Bytes20] = []
            for await event in client.events {
                if case .connected(let peerID) = event { names.append(peerID) }
                if names.count == 2 { break }
            }
            #expect(Set(names).count == 2)
            await client.stop()
        }
    }

    @Test("binary frames, fragments and pings are understood")
    func quirks() async throws {
        let answer: @Sendable (any Channel, String?) -> Void = { channel, message in
            guard message != nil else { return }
            let text = JSON.object(["info_hash": .string(swarmHash.latin1), "interval": 77, "complete": 1]).serialized()
            let bytes = Array(text.utf8)
            channel.write(
                WebSocketFrame(fin: false, opcode: .binary, data: ByteBuffer(bytes: bytes[..<9])), promise: nil)
            channel.write(WebSocketFrame(fin: true, opcode: .ping, data: ByteBuffer(string: "p")), promise: nil)
            channel.writeAndFlush(
                WebSocketFrame(fin: true, opcode: .continuation, data: ByteBuffer(bytes: bytes[9...])), promise: nil)
        }
        try await FakeTracker.with(.webSocket(answer: answer)) { tracker in
            let client = client(try tracker.url)
            client.start(TrackerStatus(left: 1)) { _ in [] }
            #expect(
                await first(of: client) { if case .announced(let reply) = $0 { reply.interval } else { nil } } == 77)
            await client.stop()
        }
    }

    @Test("an offer too long for one frame arrives whole")
    func longOffer() async throws {
        let server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
        let url = try #require(TrackerURL("ws://127.0.0.1:\(server.port)"))
        let sdp = String(repeating: "a=candidate:é\r\n", count: 3000)
        let (one, other) = (client(url), client(url))
        one.start(TrackerStatus(left: 0, wantedOffers: 0)) { _ in [] }
        try await until { await server.statistics().peers == 1 }
        other.start(TrackerStatus(left: 5)) { _ in [TrackerOffer(id: 1, sdp: sdp)] }
        #expect(await first(of: one) { if case .offer(let offer) = $0 { offer.sdp } else { nil } } == sdp)
        await one.stop()
        await other.stop()
        await server.stop()
    }

    /// The addresses of this host that it knows: a bare system may have no /etc/hosts.
    private static let hosts = ["127.0.0.1"] + (gethostbyname("localhost") == nil ? [] : ["localhost"])

    @Test("wss works with a certificate that is trusted, and not with another", arguments: hosts)
    func tls(host: String) async throws {
        try await TestCertificate.withFiles { certificate, key in
            var settings = TrackerServer.Configuration()
            (settings.certificateFile, settings.keyFile) = (certificate, key)
            let server = try await TrackerServer.start(host: "127.0.0.1", port: 0, configuration: settings)
            let url = try #require(TrackerURL("wss://\(host):\(server.port)/announce"))
            var configuration = TrackerClient.Configuration()
            configuration.trustRootsFile = certificate
            let trusting = TrackerClient(url: url, infoHash: swarmHash, configuration: configuration)
            trusting.start(TrackerStatus(left: 1)) { _ in [] }
            #expect(
                await first(of: trusting) { if case .announced(let reply) = $0 { reply.interval } else { nil } } == 120)
            await trusting.stop()

            let wary = client(url)
            wary.start(TrackerStatus(left: 1)) { _ in [] }
            let reason = await first(of: wary) { if case .disconnected(let reason) = $0 { "\(reason)" } else { nil } }
            #expect(reason?.contains("CERTIFICATE_VERIFY_FAILED") == true, "\(reason ?? "")")
            await wary.stop()
            await server.stop()
        }
    }

    @Test("several trackers: addresses are used once, and bad ones leave the others alone")
    func several() async throws {
        let server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
        let good = "ws://127.0.0.1:\(server.port)"
        try await FakeTracker.with(.silent) { silent in
            try await FakeTracker.with(.closes) { closing in
                let set = TrackerSet(
                    urls: [
                        try closing.url.description, try silent.url.description, good, "udp://h:1", good + "/", "?",
                    ],
                    infoHash: swarmHash)
                #expect(set.clients.count == 3)
                #expect(set.unusable == ["udp://h:1", "?"])
                set.start(TrackerStatus(left: 1)) { count in someOffers(count) }
                let seeder = client(try #require(TrackerURL(good)))
                for await event in set.events {
                    if case .announced = event.event {
                        #expect(event.tracker.description == good)
                        seeder.start(TrackerStatus(left: 0)) { _ in someOffers(1, first: 7) }
                    }
                    if case .offer(let offer) = event.event {
                        #expect(offer.sdp == "v=0 7" && offer.tracker.description == good)
                        break
                    }
                }
                await set.stop()
                await seeder.stop()
            }
        }
        await server.stop()
    }

    @Test("one tracker under two addresses does not make us meet ourselves")
    func ownOffers() async throws {
        let server = try await TrackerServer.start(host: "127.0.0.1", port: 0)
        let set = TrackerSet(
            urls: ["ws://127.0.0.1:\(server.port)/a", "ws://127.0.0.1:\(server.port)/b"], infoHash: swarmHash)
        set.start(TrackerStatus(left: 1)) { someOffers($0) }
        try await until { await server.statistics().offers > 0 }
        await set.stop()
        for await event in set.events { if case .offer = event.event { Issue.record("an offer of our own") } }
        await server.stop()
    }
}
