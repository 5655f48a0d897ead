// SPDX-License-Identifier: Apache-2.0
#if SRTP
import DTLS
import SRTP
import Testing
import WebRTC
import Wire

@Suite("Audio that goes back")
struct MediaEchoTests {
    /// The peer's session and an echo with the same keys.
    private final class Ends {
        var peer: SRTPSession
        var echo: MediaEcho

        init(sends: Bool = true) throws {
            var entropy = Entropy(seed: 1)
            let keys = entropy.bytes(56)
            peer = try SRTPSession(profile: .aeadAES128GCM, role: .client, keyingMaterial: keys)
            echo = MediaEcho(
                session: try SRTPSession(profile: .aeadAES128GCM, role: .server, keyingMaterial: keys), ssrc: 0xABCD,
                sends: sends, entropy: entropy)
        }

        func protect(_ packet: [UInt8]) throws -> [UInt8] {
            var buffer = PacketBuffer()
            try peer.protect(packet.span.bytes, into: &buffer)
            return [UInt8](copying: buffer[0])
        }

        /// What comes back for a packet, in the clear.
        func answers(to packet: [UInt8]) -> [[UInt8]] {
            echo.receive(packet.span.bytes)
            var outgoing = PacketBuffer()
            echo.takeOutgoing(into: &outgoing)
            var clear = PacketBuffer()
            for index in 0..<outgoing.count { _ = peer.unprotect(outgoing[index], into: &clear) }
            return (0..<clear.count).map { [UInt8](copying: clear[$0]) }
        }
    }

    private static func rtp(_ number: UInt8, ssrc: [UInt8] = [0, 0, 0, 7]) -> [UInt8] {
        [0x80, 111, 0, number, 0, 0, 0, 1] + ssrc + [1, 2, 3, number]
    }

    @Test("RTP comes back under the announced SSRC, and each further source under one of its own")
    func echoes() throws {
        let ends = try Ends()
        for number in UInt8(1)...20 {
            let packet = Self.rtp(number)
            let back = try ends.answers(to: ends.protect(packet))
            #expect(back == [packet[..<8] + [0, 0, 0xAB, 0xCD] + packet[12...]])
        }
        let other = try ends.answers(to: ends.protect(Self.rtp(1, ssrc: [0, 0, 0, 8])))
        #expect(other.count == 1)
        #expect(other.first?[8..<12] != [0, 0, 0xAB, 0xCD])
        #expect(other.first?[8..<12] != [0, 0, 0, 8])
        #expect(ends.echo.counters.rtpPacketsReceived == 21)
        #expect(ends.echo.counters.rtpPacketsSent == 21)
        #expect(ends.echo.counters.rtpBytesReceived == 21 * 16)
    }

    @Test("RTCP is counted and not answered; what is forged, repeated or came from us does not come back")
    func silences() throws {
        let ends = try Ends()
        #expect(try ends.answers(to: ends.protect([0x80, 201, 0, 1, 0, 0, 0, 7])) == [])
        #expect(ends.echo.counters.rtcpPacketsReceived == 1)
        let packet = try ends.protect(Self.rtp(1))
        #expect(ends.answers(to: packet).count == 1)
        #expect(ends.answers(to: packet) == [])
        #expect(ends.answers(to: Array(packet.dropLast())) == [])
        #expect(ends.answers(to: [0x80]) == [])
        #expect(ends.echo.counters.packetsDropped == 3)
        #expect(try ends.answers(to: ends.protect(Self.rtp(2, ssrc: [0, 0, 0xAB, 0xCD]))) == [])
    }

    @Test("where the answer did not agree to send, media is received alone")
    func receiveOnly() throws {
        let ends = try Ends(sends: false)
        #expect(try ends.answers(to: ends.protect(Self.rtp(1))) == [])
        #expect(ends.echo.counters.rtpPacketsReceived == 1)
    }

    @Test("what waits to be sent is bounded")
    func bounded() throws {
        let ends = try Ends()
        for number in 0..<5000 {
            var packet = Self.rtp(UInt8(number & 255))
            packet[2] = UInt8(number >> 8)
            let sent = try ends.protect(packet)
            ends.echo.receive(sent.span.bytes)
        }
        var outgoing = PacketBuffer()
        ends.echo.takeOutgoing(into: &outgoing)
        let count = outgoing.count
        #expect(count == 1024)
    }
}
#endif
