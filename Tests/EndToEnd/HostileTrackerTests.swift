// SPDX-License-Identifier: Apache-2.0
import Hashing
import RDRR
import Signaling
import Testing
import Wire

/// A tracker that is none, or a bad one.
struct BadTracker: Sendable, CustomTestStringConvertible {
    let testDescription: String
    /// What the fetch says of it; `nil` where it takes longer than the test to notice.
    let complaint: String?
    let serve: @Sendable (LoopbackServer.Connection) -> Void

    init(_ description: String, _ complaint: String?, _ serve: @escaping @Sendable (LoopbackServer.Connection) -> Void)
    {
        testDescription = description
        self.complaint = complaint
        self.serve = serve
    }

    private static func webSocket(
        _ serve: @escaping @Sendable (LoopbackServer.Connection) -> Void
    ) -> @Sendable (LoopbackServer.Connection) -> Void {
        { connection in
            guard connection.acceptWebSocket() else { return }
            serve(connection)
        }
    }

    static let all: [BadTracker] = [
        BadTracker("closes the connection", "tracker ws://127.0.0.1") { _ in },
        BadTracker("never says anything", nil) { $0.readToEnd() },
        BadTracker("speaks something else than HTTP", "tracker ws://127.0.0.1") { connection in
            connection.write("220 smtp.example.org ready\r\n")
            connection.readToEnd()
        },
        BadTracker("is a web server without WebSocket", "tracker ws://127.0.0.1") { connection in
            guard connection.readHead() != nil else { return }
            connection.write("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found")
            connection.readToEnd()
        },
        BadTracker("sends a head without end", nil) { connection in
            connection.write("HTTP/1.1 101 Switching Protocols\r\n")
            for number in 0..<100 {
                connection.write("X-Filler-\(number): \(String(repeating: "x", count: 1_000))\r\n")
            }
            connection.readToEnd()
        },
        BadTracker("accepts with a wrong key", "tracker ws://127.0.0.1") { connection in
            guard connection.readHead() != nil else { return }
            connection.write(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    + "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
            connection.readToEnd()
        },
        BadTracker("never answers an announce", nil, webSocket { $0.readToEnd() }),
        BadTracker("closes after the handshake", "tracker ws://127.0.0.1", webSocket { _ in }),
        BadTracker(
            "sends text that is no JSON", nil,
            webSocket { connection in
                for _ in 0..<100 { connection.writeWebSocket("<html>rubbish \u{0} {\"action\":</html>") }
                connection.readToEnd()
            }),
        BadTracker(
            "sends JSON that means nothing", nil,
            webSocket { connection in
                for text in [
                    "[]", "null", "{}", "17", #"{"action":"announce"}"#, #"{"action":5,"interval":"x"}"#,
                    #"{"action":"announce","info_hash":"short","interval":-5}"#,
                    #"{"action":"announce","offer":{"sdp":7},"peer_id":[]}"#, String(repeating: "[", count: 60_000),
                    #"{"action":"announce","interval":1e308,"complete":-1,"incomplete":9007199254740993}"#,
                ] { connection.writeWebSocket(text) }
                connection.readToEnd()
            }),
        BadTracker(
            "sends offers that are none", nil,
            webSocket { connection in
                guard let model = try? SampleModel.shared.get(), let infoHash = Bytes20(model.manifest.infoHash) else {
                    return
                }
                for number in 0..<200 {
                    let name = String(repeating: "a", count: 17) + String(1_000 + number).suffix(3)
                    connection.writeWebSocket(
                        JSON.object([
                            "action": "announce", "info_hash": .string(infoHash.latin1), "peer_id": .string(name),
                            "offer_id": .string(name), "offer": ["type": "offer", "sdp": "v=0\r\nrubbish\r\n"],
                        ]).serialized())
                }
                connection.readToEnd()
            }),
        BadTracker(
            "breaks the WebSocket protocol", "tracker ws://127.0.0.1",
            webSocket { connection in
                connection.write([0xFF, 0xFF] + [UInt8](repeating: 0xFF, count: 100))
                connection.readToEnd()
            }),
        BadTracker(
            "announces a frame of 2^62 bytes", "tracker ws://127.0.0.1",
            webSocket { connection in
                connection.write([0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0])
                connection.write([UInt8](repeating: 0x61, count: 100_000))
                connection.readToEnd()
            }),
        BadTracker(
            "refuses everything", "no such swarm",
            webSocket { connection in
                connection.writeWebSocket(#"{"action":"announce","failure reason":"no such swarm here"}"#)
                connection.readToEnd()
            }),
    ]
}

/// Trackers that answer rubbish, close or never answer.
@Suite("Hostile trackers")
struct HostileTrackerTests {
    @Suite(.serialized)
    struct BesideAGoodOne {
        @Test("another tracker in the list works as if it were alone", arguments: BadTracker.all)
        func works(_ bad: BadTracker) async throws {
            try await TrackerServer.with { tracker in
                try await LoopbackServer.with(bad.serve) { server in
                    let scene = try Scene()
                    let urls = [url(server.port), tracker.url]
                    let seeder = try await scene.seed(trackers: urls)
                    let fetch = try scene.fetch(trackers: urls, "--stall-timeout", "30")
                    let done = try await fetch.json(within: .seconds(40), where: ["event": "done"])
                    #expect(done["bytesFromPeers"]?.integer ?? 0 > 0)
                    try await fetch.expectExit()
                    try scene.expectModel()
                    #expect(seeder.peakMemory ?? .max < HostilePeerTests.memoryLimit)
                    seeder.interrupt()
                    try await seeder.expectExit()
                }
            }
        }
    }

    @Suite(.serialized)
    struct Alone {
        @Test("with nothing else, HTTP is asked", arguments: BadTracker.all)
        func fallsBack(_ bad: BadTracker) async throws {
            let model = try SampleModel.shared.get()
            try await LoopbackServer.with(bad.serve) { server in
                try await LoopbackServer.with(LoopbackServer.files(of: model.folder)) { web in
                    let scene = try Scene()
                    let fetch = try scene.fetch(
                        trackers: [url(server.port)], "--http", "http://127.0.0.1:\(web.port)", "--stall-timeout", "30")
                    if let complaint = bad.complaint {
                        let warning = try await fetch.json(where: ["event": "warning"])
                        #expect(warning["message"]?.string?.contains(complaint) == true, "\(warning)")
                    }
                    let done = try await fetch.json(within: .seconds(40), where: ["event": "done"])
                    #expect(done["bytesFromHTTP"]?.integer ?? 0 > 0)
                    try await fetch.expectExit()
                    try scene.expectModel()
                }
            }
        }
    }

    @Test("with a silent tracker alone, the fetch says so and gives up in time")
    func silent() async throws {
        try await LoopbackServer.with({ $0.readToEnd() }) { server in
            let scene = try Scene()
            let fetch = try scene.fetch(trackers: [url(server.port)], "--stall-timeout", "25")
            let warning = try await fetch.json(within: .seconds(25), where: ["event": "warning"])
            #expect(warning["message"]?.string?.contains("tracker ws://127.0.0.1") == true)
            try await fetch.expectExit(1)
            #expect(fetch.errors.contains("nothing came for 25 s"))
            #expect(fetch.errors.contains("check the tracker"))
        }
    }

    @Test("with a tracker that is not there, the fetch says so and gives up in time")
    func absent() async throws {
        let server = try LoopbackServer { _ in }
        server.stop()
        let scene = try Scene()
        let fetch = try scene.fetch(trackers: [url(server.port)], "--stall-timeout", "2")
        let warning = try await fetch.json(where: ["event": "warning"])
        #expect(warning["message"]?.string?.contains("127.0.0.1:\(server.port)") == true)
        try await fetch.expectExit(1)
        #expect(fetch.errors.contains("check the tracker"))
    }
}

private func url(_ port: UInt16) -> String { "ws://127.0.0.1:\(port)/announce" }
