// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

@Suite struct OfferAnswerTests {
    static let own = SessionDescription.Parameters(
        sessionID: 4_611_731_400_430_051_336, iceUfrag: "EsAw", icePwd: "P2uYro0UCOQ4zxjKXaWCBui1",
        fingerprints: [.init(algorithm: "sha-256", bytes: (0..<32).map { UInt8($0 * 7) })],
        candidates: ["a=candidate:1 1 udp 2130706431 192.0.2.7 41000 typ host\r\n"], endOfCandidates: true)

    @Test("an offer is written line for line as the RFCs say")
    func writesOffer() {
        var own = Self.own
        own.dreamer = DreamerAttribute(lane: 2, nat: .init(mapping: "eim", filtering: "apdf", allocation: "preserving"))
        let expected = [
            "v=0", "o=- 4611731400430051336 1 IN IP4 0.0.0.0", "s=-", "t=0 0",
            "a=dreamer:1 lane=2 nat=eim/apdf/preserving", "a=group:BUNDLE 0", "a=ice-options:trickle ice2",
            "a=msid-semantic: WMS *",
            "m=application 41000 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 192.0.2.7", "a=mid:0", "a=sendrecv",
            "a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
            "a=fingerprint:sha-256 00:07:0E:15:1C:23:2A:31:38:3F:46:4D:54:5B:62:69:"
                + "70:77:7E:85:8C:93:9A:A1:A8:AF:B6:BD:C4:CB:D2:D9",
            "a=setup:actpass", "a=sctp-port:5000", "a=max-message-size:262144",
            "a=candidate:1 1 udp 2130706431 192.0.2.7 41000 typ host", "a=end-of-candidates", "",
        ].joined(separator: "\r\n")
        #expect(SessionDescription.offer(own).description == expected)
    }

    @Test("what is written is read back the same")
    func roundTrip() throws {
        let offer = SessionDescription.offer(Self.own)
        #expect(try SessionDescription(parsing: offer.description, type: .offer) == offer)
        let answer = try offer.answer(Self.own)
        #expect(answer.setup == .active)
        #expect(try SessionDescription(parsing: answer.description, type: .answer) == answer)
        #expect(try SessionDescription(json: answer.json) == answer)
        try offer.check(answer: answer)
    }
}
