// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import Wire

@testable import Compute

@Suite("Arithmetic of tokens")
struct VectorMathTests {
    private static let lengths = [0, 1, 7, 8, 9, 64, 577]

    private func expect(_ found: [Float], _ expected: [Double], tolerance: Double, _ note: String) {
        for i in found.indices where !(abs(Double(found[i]) - expected[i]) <= tolerance * max(1, abs(expected[i]))) {
            Issue.record("\(note), number \(i) of \(found.count): \(found[i]), not \(expected[i])")
            return
        }
    }

    @Test("the exponential is right to two units in the last place")
    func exponential() {
        for step in -870_000...880_000 where step % 37 == 0 {
            let x = Float(step) / 10_000
            let found = Double(VectorMath.exp(SIMD8(repeating: x))[3])
            let expected = Foundation.exp(Double(x))
            guard abs(found - expected) <= 2.4e-7 * expected else {
                Issue.record("e^\(x) is \(expected), not \(found)")
                return
            }
        }
        let edges = VectorMath.exp(SIMD8(-100, -.infinity, 100, .infinity, .nan, 0, -0.0, 1))
        #expect(edges[0] == 0 && edges[1] == 0 && edges[2] == .infinity && edges[3] == .infinity && edges[4].isNaN)
        #expect(edges[5] == 1 && edges[6] == 1)
    }

    @Test("gates multiply", arguments: Compute.Operation.Gate.allCases, InstructionSet.supported)
    func gates(_ kind: Compute.Operation.Gate, _ instructions: InstructionSet) {
        var entropy = Entropy(seed: 20)
        let backend = CPUBackend(threads: 2, instructions: instructions)
        for length in Self.lengths + [9_001] {
            let gates = (0..<length).map { _ in Float.random(in: -12...12, using: &entropy) }
            var ups = randomNumbers(length, from: &entropy)
            let expected = zip(gates, ups).map { gate, up -> Double in
                let x = Double(gate)
                guard kind == .geGLU else { return Double(up) * x / (1 + Foundation.exp(-x)) }
                let cubic = (2 / Double.pi).squareRoot() * (x + 0.044_715 * x * x * x)
                return Double(up) * x / 2 * (1 + tanh(cubic))
            }
            // In place.
            gates.withUnsafeBufferPointer { gates in
                ups.withUnsafeMutableBufferPointer { ups in
                    guard let gate = gates.baseAddress, let up = ups.baseAddress else { return }
                    backend.gate(kind, gate, up, count: length, into: up)
                }
            }
            expect(ups, expected, tolerance: 2e-6, "\(kind)")
        }
    }

    @Test("a gate that is far out is open or shut", arguments: InstructionSet.supported)
    func farGates(_ instructions: InstructionSet) {
        let gates: [Float] = [-1e30, -100, 100, 1e10, .nan, 0, 1, 1]
        let ups = [Float](repeating: 1, count: 8)
        for kind in Compute.Operation.Gate.allCases {
            var output = [Float](repeating: 9, count: 8)
            CPUBackend(threads: 1, instructions: instructions).gate(
                kind, gates, ups, count: 8, into: &output)
            #expect(output[1].magnitude < 1e-35 && output[2] == 100 && output[3] == 1e10 && output[5] == 0)
            #expect(output[4].isNaN)
        }
    }

    @Test("sums are added", arguments: InstructionSet.supported)
    func sums(_ instructions: InstructionSet) {
        var entropy = Entropy(seed: 21)
        let backend = CPUBackend(threads: 2, instructions: instructions)
        for length in Self.lengths + [10_001] {
            let x = randomNumbers(length, from: &entropy)
            var y = randomNumbers(length, from: &entropy)
            let expected = zip(x, y).map { $0 + $1 }
            backend.add(x, to: &y, count: length)
            #expect(y == expected)
        }
    }

    @Test("tokens are divided by the root of their mean square", arguments: InstructionSet.supported)
    func norm(_ instructions: InstructionSet) {
        var entropy = Entropy(seed: 22)
        let backend = CPUBackend(threads: 2, instructions: instructions)
        for length in Self.lengths where length > 0 {
            for count in [1, 3, 20] {
                let x = randomNumbers(length * count, from: &entropy)
                let weight = randomNumbers(length, from: &entropy)
                var output = x
                output.withUnsafeMutableBufferPointer { output in
                    guard let base = output.baseAddress else { return }
                    backend.rmsNorm(base, weight: weight, epsilon: 1e-5, length: length, count: count, into: base)
                }
                var expected: [Double] = []
                for token in 0..<count {
                    let values = x[(token * length)..<(token * length + length)].map { Double($0) }
                    let mean = values.reduce(0) { $0 + $1 * $1 } / Double(length)
                    expected += zip(values, weight).map { $0 / (mean + 1e-5).squareRoot() * Double($1) }
                }
                expect(output, expected, tolerance: 2.5e-7, "norm of \(length)")
            }
        }
    }

    @Test("a token of thousands of like numbers keeps its digits", arguments: InstructionSet.supported)
    func longNorm(_ instructions: InstructionSet) {
        let length = 65_536
        let x = [Float](repeating: 0.1, count: length)
        var output = x
        CPUBackend(threads: 1, instructions: instructions).rmsNorm(
            x, weight: [Float](repeating: 1, count: length), epsilon: 0, length: length, count: 1, into: &output)
        #expect(output.allSatisfy { abs($0 - 1) < 1e-6 })
    }

    @Test("shares add up to one")
    func softmax() {
        var entropy = Entropy(seed: 23)
        for length in Self.lengths {
            var x = (0..<length).map { _ in Float.random(in: -30...30, using: &entropy) }
            let highest = Double(x.max() ?? 0)
            let powers = x.map { Foundation.exp(Double($0) - highest) }
            let sum = powers.reduce(0, +)
            VectorMath.softmax(&x, count: length)
            expect(x, powers.map { $0 / sum }, tolerance: 1e-6, "softmax")
        }
        var masked: [Float] = [1, -.infinity, 1]
        VectorMath.softmax(&masked, count: 3)
        #expect(masked == [0.5, 0, 0.5])
        for bad in [[Float.nan, 1, 2], [-.infinity, -.infinity], [.infinity, 0]] {
            var x = bad
            VectorMath.softmax(&x, count: x.count)
            #expect(x[0].isNaN)
        }
    }

    @Test("the largest number is found, the first of equal ones")
    func argmax() {
        let backend = CPUBackend(threads: 1)
        #expect(backend.argmax([], count: 0) == nil)
        #expect(backend.argmax([.nan], count: 1) == nil)
        #expect(backend.argmax([-.infinity], count: 1) == 0)
        #expect(backend.argmax([.nan, -2, -1, .nan, -1], count: 5) == 2)
        #expect(backend.argmax([0, .infinity, .infinity], count: 3) == 1)
    }
}
