// SPDX-License-Identifier: Apache-2.0
import SDP
import TestSupport
import Testing
import WebRTC
import Wire

/// Audio beside data channels with aiortc, whose SRTP is libsrtp behind its own keying, SDP and RTP.
@Suite(
    "aiortc audio", .serialized,
    .enabled(if: Programs.python(with: "aiortc") != nil, "the Python package aiortc is absent"))
struct AiortcAudioTests {
    private func peer(_ arguments: [String]) throws -> LineProcess {
        let python = try #require(Programs.python(with: "aiortc"))
        return try LineProcess(python, [Programs.script("aiortc_audio.py")] + arguments)
    }

    /// Answers the peer's offer and waits for its channel.
    private func connect(
        _ peer: LineProcess, _ endpoint: RTCEndpoint, echoes: Bool
    ) async throws -> (PeerConnection, SessionDescription) {
        var configuration = PeerConnection.Configuration()
        configuration.echoesAudio = echoes
        let connection = PeerConnection(endpoint: endpoint, configuration: configuration)
        let offer = try SessionDescription(json: try await peer.json(where: ["type": "offer"]))
        let answer = try await connection.accept(offer: offer)
        try peer.send(answer.json.serialized())
        _ = try await peer.json(where: ["event": "open"])
        return (connection, answer)
    }

    #if SRTP
    @Test("the tone that it sends comes back, beside data", arguments: ["audio-first", "data-first"])
    func echo(order: String) async throws {
        let endpoint = try RTCEndpoint()
        let peer = try peer([order])
        let (connection, answer) = try await connect(peer, endpoint, echoes: true)
        #expect(answer.firstAudio?.direction == .sendrecv)
        let heard = try await peer.json(where: ["event": "echo", "hertz": 1000, "loud": true])
        #expect(heard["frames"] != nil)
        try peer.send(#"{"command":"stats"}"#)
        let stats = try await peer.json(where: ["event": "stats"])
        let media = try #require(connection.statistics.media)
        #expect(media.rtpPacketsReceived >= 40)
        #expect(media.rtpPacketsSent == media.rtpPacketsReceived)
        #expect(media.packetsDropped == 0 && media.packetsNotSent == 0)
        // Its reports come at random times, seconds apart (RFC 3550, section 6.2).
        try await eventually("RTCP") { connection.statistics.media?.rtcpPacketsReceived ?? 0 > 0 }
        #expect(stats["received"]?.integer ?? 0 >= 40)
        try peer.send(#"{"command":"quit"}"#)
        try await peer.expectExit()
        connection.close()
        endpoint.close()
    }

    @Test("what it only sends is received and not sent back")
    func receiveOnly() async throws {
        let endpoint = try RTCEndpoint()
        let peer = try peer(["audio-first", "send"])
        let (connection, answer) = try await connect(peer, endpoint, echoes: true)
        #expect(answer.firstAudio?.direction == .recvonly)
        while connection.statistics.media?.rtpPacketsReceived ?? 0 < 20 { try await Task.sleep(for: .milliseconds(20)) }
        #expect(connection.statistics.media?.rtpPacketsSent == 0)
        try peer.send(#"{"command":"quit"}"#)
        try await peer.expectExit()
        connection.close()
        endpoint.close()
    }
    #endif

    @Test("unless asked for, audio is inactive and data is not", arguments: ["audio-first", "data-first"])
    func inactive(order: String) async throws {
        let endpoint = try RTCEndpoint()
        let peer = try peer([order])
        let (connection, answer) = try await connect(peer, endpoint, echoes: false)
        #expect(answer.firstAudio?.direction == .inactive)
        #expect(connection.statistics.media == nil)
        try peer.send(#"{"command":"quit"}"#)
        try await peer.expectExit()
        connection.close()
        endpoint.close()
    }
}
