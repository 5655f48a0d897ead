// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

/// What other stacks write (Fixtures/sdp/ORIGIN.md).
@Suite struct ForeignDescriptionTests {
    struct Expected: Sendable {
        var file: String
        var type = SessionDescription.Kind.offer
        var ufrag: String
        var setup = SessionDescription.Setup.actpass
        var mid: String? = "0"
        var candidates: Int
        var trickle = true
        var end = false
        var hashes = ["sha-256"]
        var maxMessageSize: UInt64 = 262_144
        var others: [String] = []
        var profile = SessionDescription.Profile.udp
    }

    static let all = [
        Expected(file: "chrome-offer", ufrag: "7sFv", candidates: 2),
        Expected(file: "chrome-media-offer", ufrag: "EsAw", mid: "2", candidates: 0, others: ["audio", "video"]),
        Expected(file: "chrome-max-bundle-offer", ufrag: "xW2q", mid: "data", candidates: 1, others: ["audio"]),
        Expected(file: "firefox-offer", ufrag: "47810943", candidates: 3, end: true, maxMessageSize: 1_073_741_823),
        Expected(
            file: "firefox-2016-offer", ufrag: "d1b0c5f2", mid: "sdparta_0", candidates: 0,
            maxMessageSize: 1_073_741_823, profile: .sctpmap),
        Expected(file: "safari-offer", ufrag: "PwQm", candidates: 3, maxMessageSize: 65_536),
        Expected(
            file: "pion-answer", type: .answer, ufrag: "XTfCVRUpmKQmYHLa", setup: .active, candidates: 2,
            trickle: false, end: true, maxMessageSize: 1_073_741_823),
        Expected(
            file: "aiortc-offer", ufrag: "iIQT", candidates: 2, trickle: false, end: true,
            hashes: ["sha-256", "sha-384", "sha-512"]),
        Expected(
            file: "aiortc-answer", type: .answer, ufrag: "C9K4", setup: .active, candidates: 2, trickle: false,
            end: true, hashes: ["sha-256", "sha-384", "sha-512"]),
        Expected(
            file: "aiortc-media-offer", ufrag: "MC3T", mid: "2", candidates: 2, trickle: false, end: true,
            hashes: ["sha-256", "sha-384", "sha-512"], others: ["audio", "video"]),
        Expected(file: "libtorrent-offer", ufrag: "C0e0", candidates: 2, end: true),
        Expected(file: "libtorrent-answer", type: .answer, ufrag: "kJCo", setup: .active, candidates: 2, end: true),
    ]

    @Test("the descriptions of other stacks are understood", arguments: all)
    func understood(expected: Expected) throws {
        let text = try Fixture.text("sdp/\(expected.file).sdp")
        let description = try SessionDescription(parsing: text, type: expected.type)
        #expect(description.iceUfrag == expected.ufrag)
        #expect((22...32).contains(description.icePwd.utf8.count))
        #expect(description.setup == expected.setup)
        #expect(description.mid == expected.mid)
        #expect(description.candidates.count == expected.candidates)
        #expect(description.acceptsTrickle == expected.trickle)
        #expect(description.endOfCandidates == expected.end)
        #expect(description.fingerprints.map(\.algorithm) == expected.hashes)
        #expect(description.fingerprints.map(\.bytes.count) == [32, 48, 64].prefix(expected.hashes.count).map { $0 })
        #expect(description.maxMessageSize == expected.maxMessageSize)
        #expect(description.otherSections.map(\.media) == expected.others)
        #expect(description.profile == expected.profile)
        #expect(description.sctpPort == 5000)
        #expect(description.isBundled)
        #expect(!description.isRejected)
        #expect(!description.isICELite)
        #expect(description.dreamer == nil)
        // Ends of lines as files and terminals change them, and spaces at their ends.
        let unix = text.split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: " \n")
        #expect(try SessionDescription(parsing: unix, type: expected.type) == description)
        // What we make of it is understood in the same way.
        #expect(try SessionDescription(parsing: description.description, type: expected.type) == description)
    }

    @Test(
        "every offer of other stacks is answered with its sections in order and nothing but data active",
        arguments:
            all.filter { $0.type == .offer })
    func answered(expected: Expected) throws {
        let offer = try SessionDescription(parsing: Fixture.text("sdp/\(expected.file).sdp"), type: .offer)
        let answer = try offer.answer(OfferAnswerTests.own)
        try offer.check(answer: answer)
        let lines = answer.description.split(separator: "\r\n").map(String.init)
        let sections = lines.filter { $0.hasPrefix("m=") }
        #expect(sections.count == expected.others.count + 1)
        for (section, media) in zip(sections, expected.others) {
            #expect(section.hasPrefix(media == "audio" ? "m=audio 41000 " : "m=\(media) 0 "))
        }
        #expect(lines.count { $0 == "a=inactive" } == expected.others.count)
        #expect(lines.count { $0 == "a=sendrecv" } == 1)
        #expect(sections.last?.hasPrefix("m=application 41000 ") == true)
        let audio = answer.otherSections.filter { $0.audio != nil }.compactMap(\.mid)
        #expect(audio.count == expected.others.count { $0 == "audio" })
        let mids = (audio + [expected.mid ?? ""]).joined(separator: " ")
        #expect(lines.filter { $0.hasPrefix("a=group") } == ["a=group:BUNDLE \(mids)"])
        #expect(!lines.contains("a=bundle-only"))
        #expect(lines.count { $0 == "a=setup:active" } == audio.count + 1)
        #expect(lines.filter { $0.hasPrefix("a=sctp-port") || $0.hasPrefix("a=sctpmap") }.count == 1)
        #expect(answer.acceptsTrickle == expected.trickle)
        #expect(try SessionDescription(parsing: answer.description, type: .answer) == answer)
    }

    @Test("a description with bytes changed, lost and doubled is read or refused", arguments: 1...6)
    func mutations(seed: Int) throws {
        var entropy = Entropy(seed: UInt64(seed))
        let texts = try Self.all.map { try Fixture.bytes("sdp/\($0.file).sdp") }
        for _ in 0..<100 {
            guard var text = texts.randomElement(using: &entropy) else { return }
            for _ in 0..<Int.random(in: 1...8, using: &entropy) {
                let place = Int.random(in: 0..<text.count, using: &entropy)
                switch Int.random(in: 0..<4, using: &entropy) {
                case 0: text[place] = UInt8.random(in: 0...255, using: &entropy)
                case 1: text.removeSubrange(place..<min(place + Int.random(in: 1...40, using: &entropy), text.count))
                case 2: text.insert(contentsOf: text[place..<min(place + 50, text.count)], at: place)
                default: text.insert(contentsOf: [13, 10], at: place)
                }
                if text.isEmpty { break }
            }
            for type in [SessionDescription.Kind.offer, .answer] {
                guard let description = try? SessionDescription(parsing: text.span.bytes, type: type) else { continue }
                // What was accepted can be written, and then says the same.
                let again = try SessionDescription(parsing: description.description, type: type)
                #expect(again == description, "seed \(seed)")
                if type == .offer { _ = try description.answer(OfferAnswerTests.own).description }
            }
        }
    }
}
