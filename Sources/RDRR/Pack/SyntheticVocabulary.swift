// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// A byte-level BPE vocabulary that works: special tokens, the 256 bytes, and merges of what is there already.
struct SyntheticVocabulary {
    private(set) var tokens: [String] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    private(set) var types: [Int32] = [3, 3, 3]
    private(set) var merges: [String] = []

    /// ChatML, the form that most small models are trained on.
    static let chatTemplate =
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        + "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

    /// So many tokens; at least 259.
    init(count: Int, seed: UInt64) {
        tokens += (0...255).map { String(Self.character(forByte: $0)) }
        var random = Entropy(seed: seed)
        var taken = Set(tokens)
        let printable = 3 + 0x21..<3 + 0x7F
        while tokens.count < count {
            // A letter in front of what was merged early keeps tokens short and different.
            let left = tokens[Int.random(in: printable, using: &random)]
            let right = tokens[
                merges.isEmpty || Bool.random(using: &random)
                    ? Int.random(in: printable, using: &random) : Int.random(in: 259..<tokens.count, using: &random)]
            guard right.utf8.count < 8, taken.insert(left + right).inserted else { continue }
            tokens.append(left + right)
            merges.append("\(left) \(right)")
        }
        types += [Int32](repeating: 1, count: tokens.count - types.count)
    }

    /// The character that stands for a byte in GPT-2's vocabularies: itself where it can be seen, else one from U+0100 on.
    private static func character(forByte byte: Int) -> Unicode.Scalar {
        func isVisible(_ byte: Int) -> Bool {
            (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
        }
        let code = isVisible(byte) ? byte : 0x100 + (0..<byte).count { !isVisible($0) }
        return Unicode.Scalar(UInt32(code)) ?? " "
    }
}
