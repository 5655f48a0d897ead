// SPDX-License-Identifier: Apache-2.0
import Inference
import Testing
import Wire

@Suite("Detokenizer")
struct DetokenizerTests {
    @Test("what is given out is whole at each moment, and together what was put in", arguments: TokenizerVectors.names)
    func streaming(name: String) throws {
        let vectors = try TokenizerVectors(name)
        let tokenizer = try vectors.tokenizer(.bundled)
        for ids in try vectors.ids(trusted: false) {
            var detokenizer = Detokenizer(tokenizer)
            var text = ""
            for id in ids { text += detokenizer.append(id) }
            text += detokenizer.finish()
            let whole = tokenizer.decode(ids)
            #expect(text.utf8.elementsEqual(whole.utf8))
        }
    }

    @Test("a character whose bytes come one by one comes at once, with its last byte")
    func split() throws {
        let tokenizer = try TokenizerVectors("sentencepiece").tokenizer(.bundled)
        var detokenizer = Detokenizer(tokenizer)
        let given = Array("😀é".utf8).map { detokenizer.append(Int32($0) + 3) }
        #expect(given == ["", "", "", "😀", "", "é"])
        #expect(detokenizer.finish() == "")
    }

    @Test(
        "bytes that cannot become a character are replaced as soon as that is certain, half a one at the end",
        arguments: [
            ([0x41, 0xFF, 0x42], ["A", "\u{FFFD}", "B"], ""), ([0xC3], [""], "\u{FFFD}"),
            ([0xE2, 0x82], ["", ""], "\u{FFFD}"), ([0xE2, 0x28], ["", "\u{FFFD}("], ""),
            ([0xF0, 0x9F, 0x98], ["", "", ""], "\u{FFFD}"), ([0xED, 0xA0], ["", "\u{FFFD}\u{FFFD}"], ""),
            ([0xC0, 0xAF], ["\u{FFFD}", "\u{FFFD}"], ""), ([0xF4, 0x90], ["", "\u{FFFD}\u{FFFD}"], ""),
            ([0xE2, 0xC3, 0xA9], ["", "\u{FFFD}", "é"], ""),
        ] as [([UInt8], [String], String)])
    func malformed(bytes: [UInt8], given: [String], rest: String) throws {
        let tokenizer = try TokenizerVectors("sentencepiece").tokenizer(.bundled)
        var detokenizer = Detokenizer(tokenizer)
        #expect(bytes.map { detokenizer.append(Int32($0) + 3) } == given)
        #expect(detokenizer.finish() == rest)
    }
}
