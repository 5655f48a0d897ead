// SPDX-License-Identifier: Apache-2.0
import CCompute
import Testing
import Wire

@testable import Compute

@Suite("Products with weights")
struct ProductTests {
    struct Case: CustomStringConvertible {
        let format: BlockFormat
        let instructions: InstructionSet
        var description: String { "\(format.name) with \(instructions.rawValue)" }
    }

    static let cases = BlockFormat.allCases.flatMap { format in
        InstructionSet.supported.map { Case(format: format, instructions: $0) }
    }

    /// Rows that are no multiple of what kernels take, and columns around what they take at a time: of sixteen rows and
    /// eight columns on, weights are put in another order first.
    private static let shapes = [(1, 1), (11, 1), (2, 3), (5, 5), (4, 7), (3, 8), (19, 8), (16, 13), (17, 29)]

    /// Lengths of rows, in blocks: those of 32 weights are taken four at a time, and what is left.
    private static func lengths(_ format: BlockFormat, rows: Int) -> [Int] {
        switch format.blockLength {
        case 1: rows < 16 ? [37, 111] : [53]
        case 32: rows < 16 ? [32, 96, 160] : [192]
        default: rows < 16 ? [256, 512] : [256]
        }
    }

    private func multiply(
        _ weights: RandomWeights, _ x: [Float], _ precision: Precision, _ backend: CPUBackend
    ) throws -> [Float] {
        var output = [Float](repeating: 0, count: x.count / weights.columns * weights.rows)
        try weights.withMatrix { matrix in
            var span = output.mutableSpan
            try backend.multiply(matrix, by: x.span, into: &span, precision: precision)
        }
        return output
    }

    @Test("are those of the weights' values, to rounding", arguments: cases)
    func single(_ test: Case) throws {
        var entropy = Entropy(seed: 10)
        let backend = CPUBackend(threads: 2, instructions: test.instructions)
        for (rows, columns) in Self.shapes {
            for length in Self.lengths(test.format, rows: rows) {
                let weights = RandomWeights(test.format, rows: rows, columns: length, from: &entropy)
                let x = randomNumbers(length * columns, from: &entropy)
                let found = try multiply(weights, x, .single, backend)
                try check(found, weights.values(), x, length: length, rows: rows, tolerance: 1e-6)
            }
        }
    }

    @Test("with integers are those of what the integers stand for", arguments: cases.filter(\.format.isQuantized))
    func integers(_ test: Case) throws {
        var entropy = Entropy(seed: 11)
        let backend = CPUBackend(threads: 2, instructions: test.instructions)
        for (rows, columns) in Self.shapes {
            for length in Self.lengths(test.format, rows: rows) {
                let weights = RandomWeights(test.format, rows: rows, columns: length, from: &entropy)
                let x = randomNumbers(length * columns, from: &entropy)
                let found = try multiply(weights, x, .integers, backend)
                let quantized = try QuantizedColumns(capacity: x.count)
                try quantized.quantize(x.span, length: length)
                let rounded = (0..<columns).flatMap { quantized.values(ofColumn: $0) }
                for (a, b) in zip(x, rounded) where abs(a - b) > 1.01 / 32512 { Issue.record("\(a) became \(b)") }
                try check(found, weights.values(), rounded, length: length, rows: rows, tolerance: 4e-6)
            }
        }
    }

    /// Compares with the product in double precision, by the sum of the magnitudes that it is made of.
    private func check(
        _ found: [Float], _ w: [Float], _ x: [Float], length: Int, rows: Int, tolerance: Double
    ) throws {
        w.withUnsafeBufferPointer { w in
            x.withUnsafeBufferPointer { x in
                for i in found.indices {
                    var (value, size) = (0.0, 0.0)
                    var (a, b) = (i % rows * length, i / rows * length)
                    let end = a + length
                    while a < end {
                        let product = Double(w[a]) * Double(x[b])
                        value += product
                        size += product.magnitude
                        a += 1
                        b += 1
                    }
                    guard abs(Double(found[i]) - value) <= tolerance * size + 1e-9 else {
                        Issue.record(
                            "row \(i % rows) of \(rows), column \(i / rows): \(found[i]), not \(value) (size \(size))")
                        return
                    }
                }
            }
        }
    }

    @Test("take integers that do not depend on the instructions", arguments: InstructionSet.supported)
    func quantization(_ instructions: InstructionSet) throws {
        var entropy = Entropy(seed: 17)
        var x = randomNumbers(32 * 40, from: &entropy)
        for (block, factor) in [(0, Float(0)), (1, 1e-37), (2, 1e-30), (3, 1e37), (4, 0x1p-140), (7, 1e-34)] {
            for i in 0..<32 { x[block * 32 + i] *= factor }
        }
        x[5 * 32 + 3] = .nan
        x[6 * 32 + 20] = -.infinity
        let expected = try QuantizedColumns(capacity: x.count)
        let found = try QuantizedColumns(capacity: x.count)
        try expected.prepare(length: 32, count: 40)
        try found.prepare(length: 32, count: 40)
        expected.fill(x, blocks: 0..<40, with: .portable)
        // In two parts, as two threads would.
        found.fill(x, blocks: 0..<17, with: instructions)
        found.fill(Array(x[(17 * 32)...]), blocks: 17..<40, with: instructions)
        // Six lists of four numbers a column, of which one is used.
        for block in 0..<40 {
            #expect((0..<64).allSatisfy { expected.digits[block * 64 + $0] == found.digits[block * 64 + $0] })
            #expect((0..<32).allSatisfy { expected.integer($0, ofColumn: block).magnitude <= 127 << 7 })
            #expect((0..<32).allSatisfy { -127...127 ~= expected.digits[block * 64 + $0] })
            #expect((32..<64).allSatisfy { -64...63 ~= expected.digits[block * 64 + $0] })
            #expect(expected.notes[block * 24].isNaN == (block == 5 || block == 6))
            for i in block * 24..<block * 24 + 24 {
                let (a, b) = (expected.notes[i], found.notes[i])
                #expect(a == b || a.isNaN && b.isNaN)
            }
        }
    }

    @Test("take extreme weights and activations", arguments: cases.filter(\.format.isQuantized))
    func extremes(_ test: Case) throws {
        let backend = CPUBackend(threads: 1, instructions: test.instructions)
        var entropy = Entropy(seed: 12)
        let length = test.format.blockLength
        for byte in [UInt8(0), 0x7F, 0x80, 0xFF] {
            // The largest integers, and those whose digits are the largest of both signs: 127 and −64, −127 and 63.
            for integer in [Float(16256), -16256, 16192, -16193] {
                var weights = RandomWeights(test.format, rows: 19, columns: length, from: &entropy)
                // Everything but the first halves; those of Q6_K are the last.
                let kept = test.format == .q6_K ? 208..<210 : 0..<4
                for i in weights.bytes.indices where !kept.contains(i % test.format.blockSize) {
                    weights.bytes[i] = byte
                }
                var x = [Float](repeating: integer * 0x1p-12, count: length * 9)
                for i in stride(from: 5, to: x.count, by: 32) { x[i] = 16256 * 0x1p-12 }
                let found = try multiply(weights, x, .integers, backend)
                try check(found, weights.values(), x, length: length, rows: 19, tolerance: 1e-5)
            }
        }
    }

    @Test("with what is no number stay in their row and column", arguments: cases)
    func notNumbers(_ test: Case) throws {
        let backend = CPUBackend(threads: 1, instructions: test.instructions)
        var entropy = Entropy(seed: 13)
        let length = test.format.isQuantized ? test.format.blockLength : 33
        for precision in Precision.allCases {
            for bad in [Float.nan, .infinity, -.infinity] {
                var weights = RandomWeights(test.format, rows: 6, columns: length, from: &entropy)
                var x = randomNumbers(length * 9, from: &entropy)
                x[length * 4 + 17] = bad
                let found = try multiply(weights, x, precision, backend)
                for i in found.indices where found[i].isFinite == (i / 6 == 4) {
                    Issue.record("\(precision), \(bad): row \(i % 6), column \(i / 6) is \(found[i])")
                }
                // A NaN in row 2: in its scale, where it has one.
                let row = weights.bytes.count / 6 * 2
                let at = row + (test.format == .q6_K ? 208 : test.format == .f32 ? 2 : 0)
                weights.bytes[at] = 0xC1
                weights.bytes[at + 1] = test.format == .f32 || test.format == .bf16 ? 0x7F : 0x7E
                x[length * 4 + 17] = 0.5
                let again = try multiply(weights, x, precision, backend)
                for i in again.indices where again[i].isFinite == (i % 6 == 2) {
                    Issue.record("\(precision), bad weight: row \(i % 6), column \(i / 6) is \(again[i])")
                }
            }
        }
    }

    @Test("of several matrices go where they should", arguments: InstructionSet.supported)
    func several(_ instructions: InstructionSet) throws {
        var entropy = Entropy(seed: 14)
        let a = RandomWeights(.q4_1, rows: 100, columns: 64, from: &entropy)
        let b = RandomWeights(.f16, rows: 70, columns: 64, from: &entropy)
        let backend = CPUBackend(threads: 3, instructions: instructions)
        // Little enough for one thread, and enough for three.
        for count in [3, 15] {
            let x = randomNumbers(64 * count, from: &entropy)
            let expectedA = try multiply(a, x, .integers, backend)
            let expectedB = try multiply(b, x, .integers, backend)
            // Columns are 173 numbers apart: a hundred, seventy, and three that stay.
            var output = [Float](repeating: -77, count: 173 * count)
            try a.withMatrix { a in
                try b.withMatrix { b in
                    try output.withUnsafeMutableBufferPointer { output in
                        let base = try #require(output.baseAddress)
                        let products = [
                            MatrixProduct(a, into: base, stride: 173), MatrixProduct(b, into: base + 100, stride: 173),
                        ]
                        try products.withUnsafeBufferPointer { products in
                            try x.withUnsafeBufferPointer { x in
                                try backend.multiply(
                                    products, by: #require(x.baseAddress), length: 64, count: count,
                                    precision: .integers)
                            }
                        }
                    }
                }
            }
            for column in 0..<count {
                let start = column * 173
                #expect(output[start..<start + 100] == expectedA[column * 100..<column * 100 + 100])
                #expect(output[start + 100..<start + 170] == expectedB[column * 70..<column * 70 + 70])
                #expect(output[start + 170..<start + 173] == [-77, -77, -77])
            }
        }
    }

    @Test("do not depend on how many threads there are", arguments: InstructionSet.supported)
    func threads(_ instructions: InstructionSet) throws {
        var entropy = Entropy(seed: 15)
        for (rows, length, columns) in [(37, 96, 100), (261, 512, 1)] {
            let weights = RandomWeights(.q4_1, rows: rows, columns: length, from: &entropy)
            let x = randomNumbers(length * columns, from: &entropy)
            for precision in Precision.allCases {
                let alone = CPUBackend(threads: 1, instructions: instructions)
                let expected = try multiply(weights, x, precision, alone)
                for threads in [2, 3, 7] {
                    let backend = CPUBackend(threads: threads, instructions: instructions)
                    #expect(try multiply(weights, x, precision, backend) == expected)
                }
            }
        }
    }

    @Test("find their room on borders of lines, whatever else has worked there", arguments: InstructionSet.supported)
    func room(_ instructions: InstructionSet) throws {
        var entropy = Entropy(seed: 18)
        let backend = CPUBackend(threads: 3, instructions: instructions)
        let weights = RandomWeights(.q4_1, rows: 160, columns: 64, from: &entropy)
        let x = randomNumbers(64 * 40, from: &entropy)
        let expected = try multiply(weights, x, .integers, backend)
        for length in [1, 7, 12_345, 20_001] {
            let room = try backend.scratch(length: length, shared: length)
            for thread in 0..<3 { #expect(Int(bitPattern: room.base + thread * room.stride) % 64 == 0) }
            #expect(Int(bitPattern: room.shared) % 64 == 0 && room.stride >= length)
            #expect(try multiply(weights, x, .integers, backend) == expected)
        }
    }

    @Test("of shapes that do not fit are refused, and of none are none")
    func shapes() throws {
        var entropy = Entropy(seed: 16)
        let backend = CPUBackend(threads: 2)
        let weights = RandomWeights(.q8_0, rows: 3, columns: 64, from: &entropy)
        for (inputs, outputs) in [(63, 3), (64, 2), (128, 3), (0, 3)] {
            let x = [Float](repeating: 1, count: inputs)
            var output = [Float](repeating: 0, count: outputs)
            #expect(throws: ComputeError.self) {
                try weights.withMatrix { matrix in
                    var span = output.mutableSpan
                    try backend.multiply(matrix, by: x.span, into: &span, precision: .integers)
                }
            }
        }
        #expect(try multiply(weights, [], .integers, backend) == [])
        weights.bytes.withUnsafeBytes { bytes in
            for (rows, columns) in [(0, 64), (3, 0), (-1, 64), (3, 63), (4, 64), (.max, 64), (3, .max / 32 * 32)] {
                #expect(throws: ComputeError.self) {
                    try WeightMatrix(bytes, format: .q8_0, rows: rows, columns: columns)
                }
            }
        }
    }
}
