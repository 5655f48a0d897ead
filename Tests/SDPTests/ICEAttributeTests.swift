// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

@Suite("What RFC 8839 requires of descriptions")
struct ICEAttributeTests {
    private static let own = OfferAnswerTests.own

    private func parse(_ change: (String) -> String) throws -> SessionDescription {
        try SessionDescription(parsing: change(SessionDescription.offer(Self.own).description), type: .offer)
    }

    @Test(
        "offers and answers have fragment, password, ice2 and candidates, and no ice-lite (§4.2.1.4, §4.3)"
    )
    func present() throws {
        let offer = SessionDescription.offer(Self.own)
        for text in [offer.description, try offer.answer(Self.own).description] {
            for wanted in ["a=ice-ufrag:", "a=ice-pwd:", "a=candidate:"] { #expect(text.contains(wanted)) }
            let options = text.split(separator: "\r\n").first { $0.hasPrefix("a=ice-options:") }
            #expect(options?.split(whereSeparator: { $0 == ":" || $0 == " " }).contains("ice2") == true)
            #expect(!text.contains("ice-lite") && !text.contains("remote-candidates"))
        }
    }

    @Test("the default destination without an address is no failure (§4.2.5)", arguments: ["IP4 0.0.0.0", "IP6 ::"])
    func noDefault(connection: String) throws {
        let offer = try parse {
            $0.replacing("m=application 41000", with: "m=application 9").replacing(
                "c=IN IP4 192.0.2.7", with: "c=IN \(connection)")
        }
        #expect(!offer.isRejected && offer.candidates.count == 1)
    }

    @Test("fragments of up to 256 characters are taken, longer and shorter ones are not (§5.4)")
    func lengths() throws {
        for (count, isFine) in [(3, false), (4, true), (32, true), (256, true), (257, false)] {
            let ufrag = String(repeating: "a", count: count)
            let offer = try? parse { $0.replacing("a=ice-ufrag:EsAw", with: "a=ice-ufrag:\(ufrag)") }
            #expect((offer?.iceUfrag == ufrag) == isFine)
        }
        for (count, isFine) in [(21, false), (22, true), (256, true), (257, false)] {
            let password = String(repeating: "p", count: count)
            let offer = try? parse {
                $0.replacing("a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", with: "a=ice-pwd:\(password)")
            }
            #expect((offer?.icePwd == password) == isFine)
        }
    }

    @Test("options that nobody knows are taken and not given back (§5.6)")
    func unknownOptions() throws {
        let offer = try parse { $0.replacing("a=ice-options:trickle ice2", with: "a=ice-options:ice2 foo trickle") }
        #expect(offer.iceOptions.contains("foo"))
        #expect(try offer.answer(Self.own).iceOptions == ["trickle", "ice2"])
    }

    @Test("sections without a port have no candidates (§4.2.1.6, §4.4.1.1.2)")
    func refused() throws {
        let offer = try parse { $0.replacing("m=application 41000", with: "m=application 0") }
        let text = try offer.answer(Self.own).description
        #expect(text.contains("m=application 0") && !text.contains("a=candidate") && !text.contains("ice-ufrag"))
    }

    @Test(
        "an offer without ICE is no offer for us (§4.3.2)",
        arguments: ["a=ice-ufrag:EsAw\r\n", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"])
    func noICE(line: String) {
        #expect(throws: SDPError.self) { try parse { $0.replacing(line, with: "") } }
    }
}
