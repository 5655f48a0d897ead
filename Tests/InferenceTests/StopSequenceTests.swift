// SPDX-License-Identifier: Apache-2.0
import Inference
import Testing
import Wire

@Suite("Stop sequences")
struct StopSequenceTests {
    /// The definition: the sequence that ends first, of those the longest.
    private func search(_ text: [UInt8], _ stops: [String]) -> (before: [UInt8], found: String?) {
        let byLength = stops.sorted { $0.utf8.count > $1.utf8.count }
        for end in 0...text.count {
            for stop in byLength where text[..<end].suffix(stop.utf8.count).elementsEqual(stop.utf8) {
                return (Array(text[..<(end - stop.utf8.count)]), stop)
            }
        }
        return (text, nil)
    }

    /// Cuts text between characters.
    private func pieces(_ text: String, _ random: inout Entropy) -> [String] {
        var pieces: [String] = []
        var rest = text.unicodeScalars[...]
        while !rest.isEmpty {
            let count = min(rest.count, Int.random(in: 0...4, using: &random))
            pieces.append(String(String.UnicodeScalarView(rest.prefix(count))))
            rest = rest.dropFirst(count)
        }
        return pieces
    }

    @Test(
        "whatever the pieces, the text before the first is given out, and nothing of it",
        arguments: 1...8 as ClosedRange<UInt64>)
    func random(seed: UInt64) throws {
        var random = Entropy(seed: seed)
        let letters: [Unicode.Scalar] = ["a", "b", "a", "é", "è", "😀"]
        func text(_ count: Int) -> String {
            var text = String.UnicodeScalarView()
            for _ in 0..<count { text.append(letters[Int.random(in: 0..<letters.count, using: &random)]) }
            return String(text)
        }
        for _ in 0..<200 {
            let stops = (0..<Int.random(in: 0...3, using: &random)).map { _ in
                text(Int.random(in: 1...6, using: &random))
            }
            let whole = text(Int.random(in: 0...40, using: &random))
            let expected = search(Array(whole.utf8), stops)
            var matcher = try StopSequences(stops)
            var given: [UInt8] = []
            var came = 0
            for piece in pieces(whole, &random) {
                came += piece.utf8.count
                given += matcher.append(piece).utf8
                #expect(expected.before.starts(with: given), "seed \(seed)")
                // No more is held back than what could begin a sequence.
                if matcher.found == nil {
                    let held = Array(whole.utf8)[given.count..<came]
                    #expect(held.isEmpty || stops.contains { $0.utf8.starts(with: held) }, "seed \(seed)")
                }
            }
            given += matcher.finish().utf8
            #expect(given == expected.before && matcher.found == expected.found, "seed \(seed): \(whole), \(stops)")
        }
    }

    @Test("what began like a sequence comes when it turns out to be none, or when the text ends")
    func heldBack() throws {
        var matcher = try StopSequences(["\nUser:", "</s>"])
        #expect(matcher.append("Hi\n") == "Hi")
        #expect(matcher.append("Us") == "")
        #expect(matcher.append("age </") == "\nUsage ")
        #expect(matcher.finish() == "</")
        #expect(matcher.found == nil)
        matcher = try StopSequences(["\nUser:"])
        #expect(matcher.append("a\nUser: b") == "a")
        #expect(matcher.found == "\nUser:")
        #expect(matcher.append("c") == "" && matcher.finish() == "")
    }

    @Test("empty sequences, and too many, are refused")
    func refused() {
        for stops in [["a", ""], [String](repeating: "a", count: 65)] {
            let error = #expect(throws: SamplingError.self) { try StopSequences(stops) }
            #expect(error?.code == .invalidOption && error?.place == "stop")
        }
    }
}
