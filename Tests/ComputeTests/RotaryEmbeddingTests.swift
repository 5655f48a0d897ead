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
        // Heads of ten, of which eight turn.
        var rotation = RotationTable(RotaryEmbedding(convention: convention, dimensions: 8, base: 10_000))
        let positions: [Int32] = [1000, 1001, 7, 8, 0]
        rotation.prepare(positions: positions)
        let x = randomNumbers(30 * 5, from: &entropy)
        var y = x
        CPUBackend(threads: 2).rotate(&y, rotation, heads: 3, headLength: 10, count: 5)
        var expected = x
        for token in 0..<5 {
            for head in 0..<3 {
                for pair in 0..<4 {
                    let base = token * 30 + head * 10
                    let isInterleaved = convention == .interleaved
                    let a = isInterleaved ? base + 2 * pair : base + pair
                    let b = isInterleaved ? a + 1 : a + 4
                    let angle = Double(positions[token]) * pow(10_000, -Double(pair) / 4)
                    expected[a] = Float(Double(x[a]) * cos(angle) - Double(x[b]) * sin(angle))
                    expected[b] = Float(Double(x[a]) * sin(angle) + Double(x[b]) * cos(angle))
                }
            }
        }
        for i in x.indices where abs(y[i] - expected[i]) > 4e-7 {
            Issue.record("number \(i): \(y[i]), not \(expected[i])")
        }
    }

    @Test("tokens that were not prepared stay, and a factor stretches positions")
    func unprepared() {
        var rotation = RotationTable(RotaryEmbedding(convention: .halfSplit, dimensions: 4, base: 10_000))
        rotation.prepare(positions: [3, 4])
        for token in [-1, 2] {
            var x: [Float] = [1, 2, 3, 4]
            rotation.apply(&x, count: 1, headLength: 4, token: token)
            #expect(x == [1, 2, 3, 4])
        }
        var stretched = RotationTable(
            RotaryEmbedding(convention: .halfSplit, dimensions: 4, base: 10_000, factor: 8))
        stretched.prepare(positions: [24])
        var x: [Float] = [1, 2, 3, 4]
        var y = x
        stretched.apply(&x, count: 1, headLength: 4, token: 0)
        rotation.apply(&y, count: 1, headLength: 4, token: 0)
        #expect(x == y)
    }
}
