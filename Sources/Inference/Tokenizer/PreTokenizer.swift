// SPDX-License-Identifier: Apache-2.0

/// How text is cut into words before bytes are merged. A word never merges with its neighbour, so that models depend on
/// the exact cuts. The rules were published as regular expressions; here each is a function that walks over them.
public enum PreTokenizer: String, Hashable, Sendable, CaseIterable {
    /// GPT-2: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    case gpt2 = "gpt-2"
    /// Each digit for itself, then GPT-2's rule on what lies between.
    case smollm
    /// Llama 3: contractions in any case, a mark before a word, numbers by three, marks with the line ends after them.
    case llama3 = "llama-bpe"
    /// Qwen 2 and 3: as Llama 3, each digit for itself.
    case qwen2

    /// The rule by GGUF's name for it (`tokenizer.ggml.pre`).
    public init?(name: String) {
        switch name {
        case "gpt-2", "gpt2": self = .gpt2
        case "smollm": self = .smollm
        case "llama-bpe", "llama3", "llama-v3": self = .llama3
        case "qwen2": self = .qwen2
        default: return nil
        }
    }

    /// The rule by the regular expression that says it.
    init?(expression: String) {
        switch expression {
        case Self.gpt2Expression: self = .gpt2
        case Self.llama3Expression(digits: #"\p{N}{1,3}"#): self = .llama3
        case Self.llama3Expression(digits: #"\p{N}"#): self = .qwen2
        default: return nil
        }
    }

    static let gpt2Expression = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    private static func llama3Expression(digits: String) -> String {
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + digits
            + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }

    /// The words of a text.
    public func words(of text: String) -> [String] {
        let bytes = Array(text.utf8)
        var words: [String] = []
        forEachWord(of: bytes, in: bytes.indices) { words.append(String(decoding: bytes[$0], as: UTF8.self)) }
        return words
    }

    /// Calls `body` for each word of `bytes[range]`, which is valid UTF-8, in order.
    func forEachWord<E: Error>(
        of bytes: [UInt8], in range: Range<Int>, _ body: (Range<Int>) throws(E) -> Void
    ) throws(E) {
        let text = ClassifiedText(bytes, range)
        var start = 0
        while start < text.count {
            // SmolLM's digits are boundaries: the rule looks neither back nor ahead past them.
            var end = text.count
            if self == .smollm {
                if text.classes[start].contains(.anyNumber) {
                    try body(text.offset(start)..<text.offset(start + 1))
                    start += 1
                    continue
                }
                end = start
                while end < text.count, !text.classes[end].contains(.anyNumber) { end += 1 }
            }
            while start < end {
                let next = nextBoundary(text, start, end)
                try body(text.offset(start)..<text.offset(next))
                start = next
            }
        }
    }

    /// Where the word that begins at `start` ends: the first alternative of the rule that matches.
    private func nextBoundary(_ text: ClassifiedText, _ start: Int, _ end: Int) -> Int {
        let isLlama = self == .llama3 || self == .qwen2
        if let contraction = text.contraction(start, end, anyCase: isLlama) { return contraction }
        let first = text.classes[start]
        let isSpace = text.byte(start) == 0x20
        if isLlama {
            if !first.contains(.letter), first.isDisjoint(with: [.number, .lineEnd]), start + 1 < end,
                text.classes[start + 1].contains(.letter)
            {
                return text.run(of: .letter, start + 1, end)
            }
            if first.contains(.letter) { return text.run(of: .letter, start, end) }
            if first.contains(.number) {
                return self == .qwen2 ? start + 1 : min(text.run(of: .number, start, end), start + 3)
            }
            let mark = isSpace && start + 1 < end ? start + 1 : start
            if text.classes[mark].isDisjoint(with: .wordOrSpace) {
                return text.run(of: .lineEnd, text.runOfMarks(mark, end), end)
            }
        } else {
            let begin = isSpace && start + 1 < end ? start + 1 : start
            let kind = text.classes[begin]
            if kind.contains(.letter) { return text.run(of: .letter, begin, end) }
            if kind.contains(.number) { return text.run(of: .number, begin, end) }
            if kind.isDisjoint(with: .wordOrSpace) { return text.runOfMarks(begin, end) }
        }
        // White space. A run belongs to itself up to its last line end; else its last character goes with what
        // follows.
        let run = text.run(of: .space, start, end)
        if isLlama {
            var last = run
            while last > start, !text.classes[last - 1].contains(.lineEnd) { last -= 1 }
            if last > start { return last }
        }
        return run < end && run - start > 1 ? run - 1 : run
    }
}
