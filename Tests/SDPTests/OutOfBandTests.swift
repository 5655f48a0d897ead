// SPDX-License-Identifier: Apache-2.0
import SDP
import Testing
import Wire

@Suite struct OutOfBandTests {
    @Test("a text that another program wrote is read")
    func readsForeign() throws {
        let text = try Fixture.text("deflate/chrome-offer.dreamer1")
        let expected = try SessionDescription(parsing: Fixture.text("sdp/chrome-offer.sdp"), type: .offer)
        #expect(try OutOfBand.decode(text) == expected)
        // As terminals and mail break it.
        let broken = text.enumerated().map { $0.offset % 60 == 59 ? "\($0.element)\r\n  " : "\($0.element)" }.joined()
        #expect(try OutOfBand.decode(" " + broken + "\n") == expected)
    }

    @Test("what is written is read back, without padding and in characters that survive a URL")
    func roundTrip() throws {
        for name in ["sdp/aiortc-offer.sdp", "sdp/chrome-media-offer.sdp", "sdp/libtorrent-offer.sdp"] {
            let description = try SessionDescription(parsing: Fixture.text(name), type: .offer)
            let text = OutOfBand.encode(description)
            #expect(text.hasPrefix("dreamer1:"))
            #expect(
                text.dropFirst(9).allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") })
            #expect(try OutOfBand.decode(text).json == description.json)
        }
    }

    @Test("padding is accepted, and only where it belongs")
    func padding() throws {
        let text = OutOfBand.encode(.offer(OfferAnswerTests.own))
        let missing = (4 - (text.utf8.count - 9) % 4) % 4
        #expect(try OutOfBand.decode(text + String(repeating: "=", count: missing)).type == .offer)
        #expect(throws: OutOfBand.Failure.invalidBase64) { try OutOfBand.decode("dreamer1:AB=C") }
        #expect(throws: OutOfBand.Failure.invalidBase64) { try OutOfBand.decode("dreamer1:A") }
        #expect(throws: OutOfBand.Failure.invalidBase64) { try OutOfBand.decode("dreamer1:AB===") }
    }

    @Test("what is wrong with a text is named")
    func failures() throws {
        func text(_ json: String) -> String {
            // The prefix and alphabet through the writer, the content through ours.
            "dreamer1:" + base64URL(Deflate.compress(Array(json.utf8)))
        }
        #expect(throws: OutOfBand.Failure.notDreamer) { try OutOfBand.decode("hello") }
        #expect(throws: OutOfBand.Failure.notDreamer) { try OutOfBand.decode("dreamer2:AAAA") }
        #expect(throws: OutOfBand.Failure.invalidBase64) { try OutOfBand.decode("dreamer1:AA+A") }
        #expect(throws: OutOfBand.Failure.invalidCompression(.truncated)) { try OutOfBand.decode("dreamer1:") }
        #expect(throws: OutOfBand.Failure.invalidJSON) { try OutOfBand.decode(text("no")) }
        #expect(throws: OutOfBand.Failure.self) { try OutOfBand.decode(text(#"{"type":"offer"}"#)) }
        #expect(throws: OutOfBand.Failure.self) { try OutOfBand.decode(text(#"{"type":"offer","sdp":"x"}"#)) }
        // A small text that would fill memory.
        let bomb = String(repeating: "a", count: 100_000)
        #expect(throws: OutOfBand.Failure.invalidCompression(.tooLarge)) { try OutOfBand.decode(text(bomb)) }
        let whole = OutOfBand.encode(.offer(OfferAnswerTests.own))
        #expect(throws: OutOfBand.Failure.self) { try OutOfBand.decode(String(whole.dropLast(40))) }
    }

    private func base64URL(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        var text = ""
        var index = 0
        while index < bytes.count {
            let rest = bytes[index..<min(index + 3, bytes.count)]
            var group = rest.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - rest.count))
            for _ in 0...rest.count {
                text.append(alphabet[group >> 18 & 63])
                group <<= 6
            }
            index += 3
        }
        return text
    }
}
