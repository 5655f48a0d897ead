// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import Wire

@testable import Compute

@Suite("Rotary embedding")
struct RotaryEmbeddingTests {
    @Test("each pair turns by its own angle", arguments: RotaryEmbedding.Convention.allCases)
    func turns(_ convention: RotaryEmbedding.Convention) {
        var entropy = Entropy(seed: 30)
        // Heads of ten, of which eight turn; tokens are 32 numbers apart, of which two are no head's.
        var rotation = RotaryEmbedding(convention: convention, dimensions: 8, base: 10_000)
        rotation.prepare(first: 1000, count: 5)
        let x = randomNumbers(32 * 5, from: &entropy)
        var y = x
        CPUBackend(threads: 2).rotate(&y, rotation, heads: 3, headLength: 10, stride: 32, position: 1000, count: 5)
        var expected = x
        for token in 0..<5 {
            for head in 0..<3 {
                for pair in 0..<4 {
                    let base = token * 32 + head * 10
                    let isInterleaved = convention == .interleaved
                    let a = isInterleaved ? base + 2 * pair : base + pair
                    let b = isInterleaved ? a + 1 : a + 4
                    let angle = Double(1000 + token) * pow(10_000, -Double(pair) / 4)
                    expected[a] = Float(Double(x[a]) * cos(angle) - Double(x[b]) * sin(angle))
                    expected[b] = Float(Double(x[a]) * sin(angle) + Double(x[b]) * cos(angle))
                }
            }
        }
        for i in x.indices where abs(y[i] - expected[i]) > 4e-7 {
            Issue.record("number \(i): \(y[i]), not \(expected[i])")
        }
    }

    @Test("positions that were not prepared stay")
    func unprepared() {
        var rotation = RotaryEmbedding(convention: .halfSplit, dimensions: 4, base: 10_000)
        rotation.prepare(first: 3, count: 2)
        for position in [0, 2, 5] {
            var x: [Float] = [1, 2, 3, 4]
            rotation.apply(&x, count: 1, headLength: 4, position: position)
            #expect(x == [1, 2, 3, 4])
        }
        // A factor stretches positions.
        var stretched = RotaryEmbedding(convention: .halfSplit, dimensions: 4, base: 10_000, factor: 8)
        stretched.prepare(first: 24, count: 1)
        var x: [Float] = [1, 2, 3, 4]
        var y = x
        stretched.apply(&x, count: 1, headLength: 4, position: 24)
        rotation.apply(&y, count: 1, headLength: 4, position: 3)
        #expect(x == y)
    }
}
