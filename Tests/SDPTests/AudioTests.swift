// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing

@Suite struct AudioTests {
    private static let source = SessionDescription.Audio.Source(ssrc: 0xDEAD_BEEF, cname: "echo")

    private static func own() -> SessionDescription.Parameters {
        var own = OfferAnswerTests.own
        own.audioSource = source
        return own
    }

    /// Whether the audio section stands before that for data.
    @Test(
        "an offered audio section is accepted where that is asked for, in the words of the offer",
        arguments: [("chrome-media-offer", "sendrecv"), ("aiortc-media-offer", "sendrecv")])
    func accepts(file: String, direction: String) throws {
        let offer = try SessionDescription(parsing: Fixture.text("sdp/\(file).sdp"), type: .offer)
        let offered = try #require(offer.firstAudio)
        let answer = try offer.answer(Self.own())
        try offer.check(answer: answer)
        let accepted = try #require(answer.firstAudio)
        #expect(accepted.source == Self.source)
        #expect(accepted.formatAttributes == offered.formatAttributes)
        #expect(accepted.formatAttributes.contains { $0.hasPrefix("rtpmap:") })
        let lines = answer.description.split(separator: "\r\n").map(String.init)
        let audio = try #require(answer.otherSections.first { $0.audio != nil })
        let mids = [(audio.index, audio.mid ?? ""), (answer.sectionIndex, answer.mid ?? "")].sorted { $0.0 < $1.0 }
        #expect(lines.contains("a=group:BUNDLE \(mids[0].1) \(mids[1].1)"))
        let start = try #require(lines.firstIndex { $0.hasPrefix("m=audio 41000 \(audio.proto) \(audio.formats)") })
        let section = lines[(start + 1)...].prefix { !$0.hasPrefix("m=") }
        for line in [
            "a=\(direction)", "a=rtcp-mux", "a=ssrc:\(0xDEAD_BEEF as UInt32) cname:echo", "a=msid:- echo",
            "a=setup:active", "a=ice-ufrag:EsAw", "a=end-of-candidates",
        ] {
            #expect(section.contains(line), "\(line)")
        }
        #expect(lines.filter { $0.hasPrefix("m=video") }.allSatisfy { $0.hasPrefix("m=video 0 ") })
        #expect(try SessionDescription(parsing: answer.description, type: .answer) == answer)
    }

    private static let offer = """
        v=0
        o=- 1 1 IN IP4 0.0.0.0
        s=-
        t=0 0
        a=group:BUNDLE a d
        m=audio 9 UDP/TLS/RTP/SAVPF 111
        c=IN IP4 0.0.0.0
        a=mid:a
        a=sendrecv
        a=rtcp-mux
        a=rtpmap:111 opus/48000/2
        a=ssrc:5 msid:x y
        a=ssrc:5 cname:z
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel
        c=IN IP4 0.0.0.0
        a=mid:d
        a=ice-ufrag:abcd
        a=ice-pwd:abcdefghijklmnopqrstuv
        a=fingerprint:sha-256 \((0..<32).map { _ in "AB" }.joined(separator: ":"))
        a=setup:actpass
        a=sctp-port:5000

        """

    @Test(
        "the answer sends where the offer receives, and receives where it sends",
        arguments: [
            ("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive"),
        ])
    func directions(offered: String, answered: String) throws {
        let text = Self.offer.replacing("a=sendrecv", with: "a=\(offered)")
        let offer = try SessionDescription(parsing: text, type: .offer)
        #expect(offer.firstAudio?.source == .init(ssrc: 5, cname: "z"))
        #expect(try offer.answer(Self.own()).firstAudio?.direction.rawValue == answered)
    }

    @Test(
        "audio is refused that shares no transport with data, has RTCP elsewhere, or is not for DTLS-SRTP",
        arguments: [
            ("a=group:BUNDLE a d", "a=group:BUNDLE d"), ("a=rtcp-mux", "a=rtcp:10"), ("a=mid:a", "a=x"),
            ("a=mid:a", "a=mid:d"), ("UDP/TLS/RTP/SAVPF", "RTP/AVP"), ("m=audio 9", "m=audio 0"),
            ("m=audio", "m=video"),
        ])
    func refuses(old: String, new: String) throws {
        let offer = try SessionDescription(parsing: Self.offer.replacing(old, with: new), type: .offer)
        #expect(offer.firstAudio == nil)
        let answer = try offer.answer(Self.own())
        #expect(answer.firstAudio == nil)
        #expect(answer.description.contains("m=\(offer.otherSections[0].media) 0 "))
    }

    @Test("of several audio sections the first is accepted and the others are inactive, and without a source all")
    func first() throws {
        let second = Self.offer.replacing("a=group:BUNDLE a d", with: "a=group:BUNDLE a b d")
            .replacing("m=application", with: "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:b\na=rtcp-mux\nm=application")
        let offer = try SessionDescription(parsing: second, type: .offer)
        #expect(offer.otherSections.map { $0.audio != nil } == [true, true])
        let accepted = try offer.answer(Self.own()).otherSections.map(\.audio)
        #expect(accepted.map(\.?.direction) == [.sendrecv, .inactive])
        #expect(accepted.map(\.?.source) == [Self.source, nil])
        let inactive = try offer.answer(OfferAnswerTests.own).otherSections.map(\.audio)
        #expect(inactive.map(\.?.direction) == [.inactive, .inactive])
        #expect(inactive.map(\.?.source) == [nil, nil])
    }
}
