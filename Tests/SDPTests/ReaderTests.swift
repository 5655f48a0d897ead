// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

@Suite struct ReaderTests {
    static let base = SessionDescription.offer(OfferAnswerTests.own).description

    private func read(_ old: String, _ new: String, type: SessionDescription.Kind = .offer) throws -> SessionDescription
    {
        let text = Self.base.replacing(old, with: new)
        try #require(text != Self.base)
        return try SessionDescription(parsing: text, type: type)
    }

    @Test(
        "faults are named with their line",
        arguments: [
            ("v=0\r\n", "", SDPError.Code.malformed, 1),
            ("s=-", "rubbish", .malformed, 3),
            ("m=application 41000 UDP/DTLS/SCTP webrtc-datachannel", "m=application x", .malformed, 8),
            ("m=application 41000", "m=application 70000", .malformed, 8),
            ("UDP/DTLS/SCTP webrtc-datachannel", "RTP/AVP 0", .noDataChannels, nil),
            ("webrtc-datachannel", "webrtc-datachannel other", .noDataChannels, nil),
            ("a=ice-ufrag:EsAw\r\n", "", .missing("a=ice-ufrag"), 8),
            ("a=ice-ufrag:EsAw", "a=ice-ufrag:EsA", .invalid("a=ice-ufrag"), 12),
            ("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", "a=ice-pwd:short", .invalid("a=ice-pwd"), 13),
            ("a=fingerprint", "a=finger", .missing("a=fingerprint"), 8),
            ("a=fingerprint:sha-256 00:07", "a=fingerprint:sha-256 00:7", .invalid("a=fingerprint"), 14),
            ("a=setup:actpass", "a=setup:holdconn", .invalid("a=setup"), 15),
            ("a=sctp-port:5000\r\n", "", .missing("a=sctp-port"), 8),
            ("a=sctp-port:5000", "a=sctp-port:70000", .invalid("a=sctp-port"), 16),
        ] as [(String, String, SDPError.Code, Int?)])
    func faults(old: String, new: String, code: SDPError.Code, line: Int?) throws {
        do {
            _ = try read(old, new)
            Issue.record("accepted")
        } catch let error as SDPError {
            #expect(error.code == code)
            #expect(error.line == line)
        }
    }

    @Test("an answer may not leave the DTLS role open")
    func answerRole() {
        #expect(throws: SDPError.self) { try SessionDescription(parsing: Self.base, type: .answer) }
    }

    @Test(
        "what each max-message-size means",
        arguments: [
            ("a=max-message-size:1000\r\n", 1000, 1000), ("a=max-message-size:0\r\n", 0, Int.max), ("", 65_536, 65_536),
            ("a=max-message-size:99999999999999999999999\r\n", UInt64.max, Int.max),
            ("a=max-message-size:-5\r\n", 65_536, 65_536),
        ] as [(String, UInt64, Int)])
    func maxMessageSize(line: String, value: UInt64, limit: Int) throws {
        let description = try read("a=max-message-size:262144\r\n", line)
        #expect(description.maxMessageSize == value)
        #expect(description.messageSizeLimit == limit)
    }

    @Test("attributes count at the level of the section first, then of the session")
    func levels() throws {
        let text = Self.base.replacing(
            "t=0 0\r\n", with: "t=0 0\r\na=ice-ufrag:other\r\na=setup:passive\r\na=ice-lite\r\n")
        let both = try SessionDescription(parsing: text, type: .offer)
        #expect(both.iceUfrag == "EsAw")
        #expect(both.setup == .actpass)
        #expect(both.isICELite)
        let session = try SessionDescription(
            parsing: text.replacing("a=ice-ufrag:EsAw\r\n", with: "").replacing("a=setup:actpass\r\n", with: ""),
            type: .offer)
        #expect(session.iceUfrag == "other")
        #expect(session.setup == .passive)
    }

    @Test(
        "the Dreamer attribute counts before the first section, each part for itself",
        arguments: [
            ("a=dreamer:1", DreamerAttribute()),
            ("a=dreamer:1 lane=3", DreamerAttribute(lane: 3)),
            (
                "a=dreamer:1 nat=a/b/c future=1",
                DreamerAttribute(nat: .init(mapping: "a", filtering: "b", allocation: "c"))
            ),
            ("a=dreamer:1 lane=x nat=a/b lane", DreamerAttribute()),
            ("a=dreamer:1 lane=-1 lane=99999999999999999999", DreamerAttribute()),
            ("a=dreamer:2 lane=3", nil),
            ("a=dreamer", nil),
            ("a=sendrecv", nil),
        ] as [(String, DreamerAttribute?)])
    func dreamer(line: String, expected: DreamerAttribute?) throws {
        #expect(try read("t=0 0\r\n", "t=0 0\r\n\(line)\r\n").dreamer == expected)
        #expect(try read("a=mid:0\r\n", "a=mid:0\r\n\(line)\r\n").dreamer == nil)
    }

    @Test("foreign text is bounded")
    func bounds() throws {
        let candidates = String(repeating: "a=candidate:1 1 udp 1 192.0.2.1 6 typ host\r\n", count: 1000)
        #expect(try read("a=mid:0\r\n", "a=mid:0\r\n" + candidates).candidates.count == 256)
        let long = "a=candidate:1 1 udp 1 192.0.2.1 6 typ host " + String(repeating: "x", count: 2000) + "\r\n"
        #expect(try read("a=mid:0\r\n", "a=mid:0\r\n" + long).candidates.count == 1)
        for flood in [
            String(repeating: "a=x\r\n", count: 5000), String(repeating: "m=a 0 b c\r\n", count: 200),
            "a=" + String(repeating: "x", count: 70_000),
        ] {
            #expect(throws: SDPError.self) { try SessionDescription(parsing: Self.base + flood, type: .offer) }
        }
    }

    @Test("no value forges a line of what is written from it")
    func forgery() {
        #expect(throws: SDPError.self) { try read("a=mid:0", "a=mid:0\ra=setup:active") }
    }

    @Test(
        "signalling objects that are none are refused",
        arguments: [
            #"{}"#, #"{"type":"offer"}"#, #"{"type":"rollback","sdp":"v=0"}"#, #"{"type":1,"sdp":2}"#, #"[]"#,
        ])
    func signalling(text: String) throws {
        let json = try JSON(parsing: Array(text.utf8).span.bytes)
        #expect(throws: SDPError.self) { try SessionDescription(json: json) }
    }

    @Test("candidates travel by themselves in the members that browsers use")
    func trickle() throws {
        let text =
            #"{"candidate":"candidate:1 1 udp 1 192.0.2.1 6 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"EsAw"}"#
        let json = try JSON(parsing: Array(text.utf8).span.bytes)
        let candidate = try #require(TrickleCandidate(json: json))
        #expect(candidate.json == json)
        #expect(!candidate.isEndOfCandidates)
        #expect(TrickleCandidate(candidate: " a=candidate:x\r\n").candidate == "candidate:x")
        #expect(TrickleCandidate(candidate: "").isEndOfCandidates)
        #expect(TrickleCandidate(candidate: "a=end-of-candidates").isEndOfCandidates)
        #expect(TrickleCandidate(json: .null) == nil)
    }
}
