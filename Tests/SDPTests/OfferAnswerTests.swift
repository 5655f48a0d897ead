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

    @Test("a proposal for Ta is written for the session and read back, and nonsense is none (RFC 8839 §5.5)")
    func pacing() throws {
        var own = Self.own
        own.icePacing = 5
        let offer = SessionDescription.offer(own)
        let text = offer.description
        #expect(text.split(separator: "m=").first?.contains("a=ice-pacing:5\r\n") == true)
        #expect(try SessionDescription(parsing: text, type: .offer) == offer)
        #expect(try offer.answer(Self.own).icePacing == nil)
        for value in ["", "x", "-5", "12345678901", "5 ms"] {
            let changed = text.replacing("a=ice-pacing:5", with: "a=ice-pacing:\(value)")
            #expect(try SessionDescription(parsing: changed, type: .offer).icePacing == nil)
        }
        let largest = text.replacing("a=ice-pacing:5", with: "a=ice-pacing:9999999999")
        #expect(try SessionDescription(parsing: largest, type: .offer).icePacing == 9_999_999_999)
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

    @Test("a later offer keeps the sections of the peer's description and leaves the DTLS role open")
    func laterOffer() throws {
        let first = try SessionDescription(
            parsing: """
                v=0
                o=- 1 2 IN IP4 127.0.0.1
                s=-
                t=0 0
                a=group:BUNDLE sound data
                m=audio 9 UDP/TLS/RTP/SAVPF 111
                c=IN IP4 0.0.0.0
                a=mid:sound
                m=application 9 UDP/DTLS/SCTP webrtc-datachannel
                c=IN IP4 0.0.0.0
                a=ice-ufrag:abcd
                a=ice-pwd:abcdefghijklmnopqrstuv
                a=fingerprint:sha-256 00:01
                a=setup:passive
                a=mid:data
                a=sctp-port:5000

                """, type: .offer)
        var own = Self.own
        own.sessionVersion = 3
        let later = first.subsequentOffer(own)
        #expect(later.type == .offer && later.setup == .actpass && later.sessionVersion == 3)
        #expect(later.mid == "data" && later.sectionIndex == 1 && later.otherSections.map(\.media) == ["audio"])
        #expect(later.description.contains("o=- 4611731400430051336 3 IN IP4 0.0.0.0\r\n"))
        #expect(try SessionDescription(parsing: later.description, type: .offer) == later)
    }

    @Test(
        "m= and c= lines name the candidate that is likeliest to work",
        arguments: [
            ([], "9", "IP4 0.0.0.0"),
            (["candidate:1 1 udp 1 a.local 5 typ host"], "9", "IP4 0.0.0.0"),
            (["candidate:1 1 udp 1 2001:db8::1 5 typ host"], "5", "IP6 2001:db8::1"),
            (
                ["candidate:1 1 udp 1 2001:db8::1 5 typ host", "candidate:1 1 UDP 1 192.0.2.1 6 typ host"], "6",
                "IP4 192.0.2.1"
            ),
            (
                [
                    "candidate:1 1 udp 9 192.0.2.1 6 typ host", "candidate:2 1 udp 8 192.0.2.2 7 typ srflx",
                    "candidate:3 1 udp 1 192.0.2.3 8 typ relay", "candidate:3 1 udp 1 192.0.2.4 9 typ relay",
                ], "8", "IP4 192.0.2.3"
            ),
            (
                ["candidate:1 1 tcp 1 192.0.2.1 6 typ host", "candidate:1 2 udp 1 192.0.2.1 6 typ host"], "9",
                "IP4 0.0.0.0"
            ),
            (["candidate:1 1 udp 1 192.0.2.1 99999 typ host", "nonsense"], "9", "IP4 0.0.0.0"),
        ])
    func defaultDestination(candidates: [String], port: String, address: String) {
        var own = Self.own
        own.candidates = candidates
        let text = SessionDescription.offer(own).description
        #expect(text.contains("m=application \(port) UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN \(address)\r\n"))
    }

    @Test(
        "the answerer takes the DTLS role that the offer leaves",
        arguments: [
            ("actpass", SessionDescription.Setup.active, SessionDescription.Setup.active),
            ("actpass", .passive, .passive),
            ("active", .active, .passive),
            ("passive", .passive, .active),
            ("ACTPASS", .active, .active),
            ("", .active, .passive),
        ])
    func roles(offered: String, preferred: SessionDescription.Setup, chosen: SessionDescription.Setup) throws {
        let setup = offered.isEmpty ? "" : "a=setup:\(offered)\r\n"
        let text = SessionDescription.offer(Self.own).description.replacing("a=setup:actpass\r\n", with: setup)
        var own = Self.own
        own.preferredSetup = preferred
        #expect(try SessionDescription(parsing: text, type: .offer).answer(own).setup == chosen)
    }

    @Test("an answer has a tls-id only if the offer has one, and offers to trickle only if the offer does")
    func mirrors() throws {
        var own = Self.own
        own.tlsID = "abcdefghijklmnopqrst"
        var offer = SessionDescription.offer(own)
        #expect(offer.description.contains("a=tls-id:abcdefghijklmnopqrst\r\n"))
        #expect(try offer.answer(own).tlsID == own.tlsID)
        offer.tlsID = nil
        #expect(try offer.answer(own).tlsID == nil)
        offer.iceOptions = ["ice2"]
        #expect(try offer.answer(own).iceOptions == ["ice2"])
    }

    @Test("a refused section and an SCTP port of 0 are answered in kind")
    func refusedOffers() throws {
        let text = SessionDescription.offer(Self.own).description
        let refused = try SessionDescription(
            parsing: text.replacing("m=application 41000", with: "m=application 0"), type: .offer)
        #expect(refused.isRejected)
        let answer = try refused.answer(Self.own)
        #expect(answer.description.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel"))
        #expect(!answer.description.contains("candidate"))
        #expect(!answer.description.contains("BUNDLE"))
        #expect(try SessionDescription(parsing: answer.description, type: .answer).isRejected)

        let closed = try SessionDescription(
            parsing: text.replacing("sctp-port:5000", with: "sctp-port:0"), type: .offer)
        #expect(try closed.answer(Self.own).sctpPort == 0)
    }

    @Test("an answer that does not fit its offer is refused")
    func misfits() throws {
        let offer = SessionDescription.offer(Self.own)
        let answer = try offer.answer(Self.own)
        var other = answer
        other.mid = "1"
        #expect(throws: SDPError.self) { try offer.check(answer: other) }
        other = answer
        other.otherSections.append(.init(index: 1, media: "audio", proto: "RTP/AVP", formats: "0"))
        #expect(throws: SDPError.self) { try offer.check(answer: other) }
        var active = offer
        active.setup = .active
        #expect(throws: SDPError.self) { try active.check(answer: answer) }
        #expect(throws: SDPError.self) { try offer.check(answer: offer) }
        #expect(throws: SDPError.self) { try answer.answer(Self.own) }
    }
}
