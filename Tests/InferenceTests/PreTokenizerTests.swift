// SPDX-License-Identifier: Apache-2.0
import Inference
import Testing

@Suite("Pre-tokenizers")
struct PreTokenizerTests {
    @Test(
        "GPT-2's rule",
        arguments: [
            ("Hello world", ["Hello", " world"]), ("a  b", ["a", " ", " b"]), ("a  ", ["a", "  "]),
            ("a \n b", ["a", " \n", " b"]),
            ("it's IT'S", ["it", "'s", " IT", "'", "S"]), ("x123y", ["x", "123", "y"]),
            ("a, b!?", ["a", ",", " b", "!?"]),
            (" 12", [" 12"]), ("''s", ["''", "s"]), ("\u{A0}a", ["\u{A0}", "a"]), ("", []),
        ])
    func gpt2(text: String, words: [String]) {
        #expect(PreTokenizer.gpt2.words(of: text) == words)
    }

    @Test(
        "SmolLM's rule takes digits out first, so that white space before one is whole",
        arguments: [
            ("a  12", ["a", "  ", "1", "2"]), ("½x", ["½", "x"]), ("a 1's", ["a", " ", "1", "'s"]), ("1", ["1"]),
        ])
    func smollm(text: String, words: [String]) {
        #expect(PreTokenizer.smollm.words(of: text) == words)
    }

    @Test(
        "Llama 3's rule",
        arguments: [
            ("12345", ["123", "45"]), ("it'S", ["it", "'S"]), ("'ſx", ["'ſ", "x"]), ("(a) b", ["(a", ")", " b"]),
            ("a \n\n b", ["a", " \n\n", " b"]), ("a\n \n  b", ["a", "\n \n", " ", " b"]),
            ("x;\n\ny", ["x", ";\n\n", "y"]),
            (" 12", [" ", "12"]), ("\tfoo", ["\tfoo"]), ("a   ", ["a", "   "]),
        ])
    func llama3(text: String, words: [String]) {
        #expect(PreTokenizer.llama3.words(of: text) == words)
    }

    @Test("Qwen's rule takes each digit for itself")
    func qwen2() {
        #expect(PreTokenizer.qwen2.words(of: "a 12\n") == ["a", " ", "1", "2", "\n"])
    }

    @Test("words leave nothing out, whatever the text", arguments: PreTokenizer.allCases)
    func complete(rule: PreTokenizer) throws {
        for string in try TokenizerVectors("gpt-2").strings {
            let text = String(decoding: string, as: UTF8.self)
            #expect(rule.words(of: text).joined().utf8.elementsEqual(text.utf8))
        }
    }
}
