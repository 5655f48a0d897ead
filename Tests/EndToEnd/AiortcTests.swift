// SPDX-License-Identifier: Apache-2.0
import SDP
import TestSupport
import Testing
import WebRTC
import Wire

/// Data channels with aiortc, a stack of which no line is ours: aioice, its own SCTP, OpenSSL through Python.
@Suite(
    "aiortc", .serialized, .enabled(if: Programs.python(with: "aiortc") != nil, "the Python package aiortc is absent"))
struct AiortcTests {
    /// aiortc gathers no loopback address, so the two meet on an address of the host.
    private func endpoint() throws -> RTCEndpoint { try RTCEndpoint() }

    private func peer(_ role: String) throws -> LineProcess {
        let python = try #require(Programs.python(with: "aiortc"))
        return try LineProcess(python, [Programs.script("aiortc_peer.py"), role])
    }

    private func description(_ line: JSON) throws -> SessionDescription { try SessionDescription(json: line) }

    /// What both roles must do once the channels are open.
    private func exchange(_ channel: DataChannel, _ peer: LineProcess) async throws {
        var messages = channel.messages.makeAsyncIterator()
        try await channel.send("echo:grüße")
        #expect(try await messages.next() == .text("grüße"))
        try await channel.send([UInt8]())
        #expect(try await messages.next() == .binary([]))
        let large = (0..<262_144).map { UInt8($0 % 251) }
        try await channel.send(large)
        _ = try await peer.json(where: ["event": "binary", "length": 262_144])
        #expect(try await messages.next() == .binary(large))
        try await channel.send("send 262144")
        #expect(try await messages.next() == .binary(large))
    }

    @Test("it answers our offer: messages both ways, 256 KiB, close")
    func answerer() async throws {
        let endpoint = try endpoint()
        let peer = try peer("answer")
        let connection = PeerConnection(endpoint: endpoint)
        let ordered = try connection.createDataChannel("control", options: .init(subprotocol: "dreamer/1"))
        let unordered = try connection.createDataChannel(
            "bulk", options: .init(isOrdered: false, subprotocol: "dreamer/1"))
        try peer.send(try await connection.createOffer().json.serialized())
        try connection.accept(answer: description(try await peer.json(where: ["type": "answer"])))
        try await ordered.opened()
        try await unordered.opened()
        _ = try await peer.json(where: [
            "event": "channel", "channel": "bulk", "protocol": "dreamer/1", "ordered": false,
        ])
        try await exchange(ordered, peer)
        try await exchange(unordered, peer)
        unordered.close()
        _ = try await peer.json(where: ["event": "closed", "channel": "bulk"])
        try await ordered.send("close")
        var messages = ordered.messages.makeAsyncIterator()
        #expect(try await messages.next() == nil, "the peer closed the channel")
        connection.close()
        _ = try await peer.json(where: ["event": "state", "state": "closed"])
        endpoint.close()
    }

    @Test("we answer its offer: messages both ways, 256 KiB, close")
    func offerer() async throws {
        let endpoint = try endpoint()
        let peer = try peer("offer")
        let connection = PeerConnection(endpoint: endpoint)
        let (incoming, arrived) = AsyncStream<DataChannel>.makeStream()
        connection.setHandler { event in
            if case .channel(let channel) = event { arrived.yield(channel) }
        }
        let offer = try description(try await peer.json(where: ["type": "offer"]))
        try peer.send(try await connection.accept(offer: offer).json.serialized())
        var channels: [String: DataChannel] = [:]
        for await channel in incoming {
            channels[channel.label] = channel
            if channels.count == 2 { break }
        }
        let control = try #require(channels["control"])
        let bulk = try #require(channels["bulk"])
        #expect(control.options.isOrdered && !bulk.options.isOrdered)
        #expect(bulk.options.subprotocol == "dreamer/1")
        try await exchange(control, peer)
        try await exchange(bulk, peer)
        try await bulk.send("close")
        var messages = bulk.messages.makeAsyncIterator()
        #expect(try await messages.next() == nil, "the peer closed the channel")
        try peer.send(#"{"command":"quit"}"#)
        var rest = control.messages.makeAsyncIterator()
        #expect(try await rest.next() == nil, "the peer closed the connection")
        try await peer.expectExit()
        connection.close()
        endpoint.close()
    }
}
