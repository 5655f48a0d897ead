// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing
import Wire

@testable import Compute

@Suite("Attention")
struct AttentionTests {
    struct Case: CustomStringConvertible {
        let format: BlockFormat
        let instructions: InstructionSet
        var description: String { "\(format.name) with \(instructions.rawValue)" }
    }

    static let cases = [BlockFormat.f32, .f16, .q8_0].flatMap { format in
        InstructionSet.supported.map { Case(format: format, instructions: $0) }
    }

    /// Rows of keys or values: position after position, each with its heads, stored in a format.
    private struct Cache {
        let bytes: [UInt8]
        let numbers: [Float]
        let rowBytes: Int

        init(_ format: BlockFormat, positions: Int, heads: Int, length: Int, from entropy: inout Entropy) throws {
            let exact = randomNumbers(positions * heads * length, from: &entropy)
            let rowBytes = try #require(format.byteCount(of: length))
            var stored = [UInt8](repeating: 0, count: positions * heads * rowBytes)
            stored.withUnsafeMutableBytes { stored in
                exact.withUnsafeBufferPointer { exact in
                    if let target = stored.baseAddress, let source = exact.baseAddress {
                        format.encode(source, count: exact.count, into: target)
                    }
                }
            }
            var decoded = exact
            var span = decoded.mutableSpan
            try format.dequantize(stored.span.bytes, into: &span)
            // What is stored differs by no more than the format's precision.
            let precision: Float = format == .f32 ? 0 : format == .f16 ? 0x1p-11 : 1.02 / 254
            var i = 0
            while i < exact.count {
                let found = decoded[i]
                if abs(found - exact[i]) > precision {
                    Issue.record("\(exact[i]) is stored as \(found)")
                    break
                }
                i += 1
            }
            self.rowBytes = rowBytes
            bytes = stored
            numbers = decoded
        }

        func rows(
            _ pointer: UnsafeRawBufferPointer, _ format: BlockFormat, _ shape: AttentionShape, _ positions: Int
        ) throws -> CachedRows {
            try CachedRows(
                pointer, format: format, shape: shape, rowStride: rowBytes * shape.keyValueHeads, headStride: rowBytes,
                count: positions)
        }
    }

    @Test("is the mean of what is seen, weighted by likeness", arguments: cases)
    func attention(_ test: Case) throws {
        var entropy = Entropy(seed: 40)
        let backend = CPUBackend(threads: 2, instructions: test.instructions)
        // More tokens than are taken at a time, more positions, positions that two threads share, windows that end within
        // what is taken at a time.
        let shapes: [(Int, Int, Int, Int?, [(Int, Int)])] = [
            (9, 3, 64, nil, [(0, 1), (0, 5), (12, 2), (190, 1), (29, 20)]),
            (4, 1, 96, 5, [(0, 1), (37, 1), (30, 14)]),
            (2, 2, 32, 1, [(0, 3), (63, 2)]),
            (3, 3, 32, 200, [(291, 9), (20, 52)]),
            (8, 1, 32, nil, [(140, 2), (300, 1)]),
        ]
        for (heads, keyValueHeads, length, window, tokens) in shapes {
            for (first, count) in tokens {
                let shape = try AttentionShape(
                    heads: heads, keyValueHeads: keyValueHeads, headLength: length, window: window)
                let positions = first + count
                let keys = try Cache(
                    test.format, positions: positions, heads: keyValueHeads, length: length, from: &entropy)
                let values = try Cache(
                    test.format, positions: positions, heads: keyValueHeads, length: length, from: &entropy)
                let queries = randomNumbers(count * heads * length, from: &entropy).map { $0 * 4 }
                var output = [Float](repeating: .nan, count: queries.count)
                try keys.bytes.withUnsafeBytes { keyBytes in
                    try values.bytes.withUnsafeBytes { valueBytes in
                        try backend.attend(
                            queries, first: first, count: count,
                            keys: keys.rows(keyBytes, test.format, shape, positions),
                            values: values.rows(valueBytes, test.format, shape, positions), shape: shape, into: &output)
                    }
                }
                let expected = reference(queries, first, count, keys.numbers, values.numbers, shape)
                for i in output.indices where !(abs(Double(output[i]) - expected[i]) <= 2e-6) {
                    Issue.record("\(shape) from \(first), number \(i): \(output[i]), not \(expected[i])")
                    return
                }
            }
        }
    }

    private func reference(
        _ queries: [Float], _ first: Int, _ count: Int, _ keys: [Float], _ values: [Float], _ shape: AttentionShape
    ) -> [Double] {
        let length = shape.headLength
        let stride = shape.keyValueHeads * length
        var output = [Double](repeating: 0, count: count * shape.heads * length)
        queries.withUnsafeBufferPointer { queries in
            keys.withUnsafeBufferPointer { keys in
                values.withUnsafeBufferPointer { values in
                    for item in 0..<count * shape.heads {
                        let position = first + item / shape.heads
                        let head = item % shape.heads / (shape.heads / shape.keyValueHeads)
                        let seen = max(0, position + 1 - (shape.window ?? .max))...position
                        let scores = seen.map { p -> Double in
                            var score = 0.0
                            var i = 0
                            while i < length {
                                let key = keys[p * stride + head * length + i]
                                score += Double(queries[item * length + i]) * Double(key)
                                i += 1
                            }
                            return score * Double(shape.scale)
                        }
                        let highest = scores.max() ?? 0
                        let powers = scores.map { exp($0 - highest) }
                        let sum = powers.reduce(0, +)
                        for (p, power) in zip(seen, powers) {
                            var i = 0
                            while i < length {
                                let value = values[p * stride + head * length + i]
                                output[item * length + i] += power / sum * Double(value)
                                i += 1
                            }
                        }
                    }
                }
            }
        }
        return output
    }

    @Test("of a cache with a NaN is NaN in the heads that see it", arguments: InstructionSet.supported)
    func notANumber(_ instructions: InstructionSet) throws {
        let shape = try AttentionShape(heads: 4, keyValueHeads: 2, headLength: 32)
        var keys = [Float](repeating: 0.5, count: 3 * 64)
        let values = keys
        keys[64 + 32 + 3] = .nan
        let queries = [Float](repeating: 1, count: 128 * 3)
        var output = [Float](repeating: 0, count: 128 * 3)
        try keys.withUnsafeBytes { keys in
            try values.withUnsafeBytes { values in
                func rows(_ bytes: UnsafeRawBufferPointer) throws -> CachedRows {
                    try CachedRows(bytes, format: .f32, shape: shape, rowStride: 256, headStride: 128, count: 3)
                }
                try CPUBackend(threads: 1, instructions: instructions).attend(
                    queries, first: 0, count: 3, keys: rows(keys), values: rows(values), shape: shape, into: &output)
            }
        }
        for token in 0..<3 {
            for head in 0..<4 { #expect(output[token * 128 + head * 32].isNaN == (token >= 1 && head >= 2)) }
        }
    }

    @Test("over what does not fit is refused")
    func shapes() throws {
        let wrong: [(Int, Int, Int, Int?)] = [
            (0, 1, 8, nil), (3, 2, 8, nil), (2, 1, 0, nil), (2, 0, 8, nil), (2, 1, 8, 0),
        ]
        for (heads, keyValueHeads, length, window) in wrong {
            #expect(throws: ComputeError.self) {
                try AttentionShape(heads: heads, keyValueHeads: keyValueHeads, headLength: length, window: window)
            }
        }
        let shape = try AttentionShape(heads: 2, keyValueHeads: 1, headLength: 8)
        let bytes = [Float](repeating: 0, count: 8 * 4)
        try bytes.withUnsafeBytes { bytes in
            func rows(_ format: BlockFormat, _ stride: Int, _ count: Int) throws -> CachedRows {
                try CachedRows(bytes, format: format, shape: shape, rowStride: stride, headStride: 0, count: count)
            }
            let wrong: [(BlockFormat, Int, Int)] = [
                (.f32, 32, 5), (.f32, .max, 2), (.f32, -32, 2), (.f32, 32, 0), (.q8_0, 34, 1), (.q4_1, 20, 1),
            ]
            for (format, stride, count) in wrong {
                #expect(throws: ComputeError.self) { try rows(format, stride, count) }
            }
            let four = try rows(.f32, 32, 4)
            let queries = [Float](repeating: 0, count: 16 * 5)
            for (first, count) in [(-1, 1), (4, 1), (0, 5), (Int.max, 1)] {
                #expect(throws: ComputeError.self) {
                    var output = queries
                    try CPUBackend(threads: 1).attend(
                        queries, first: first, count: count, keys: four, values: four, shape: shape, into: &output)
                }
            }
        }
    }
}
