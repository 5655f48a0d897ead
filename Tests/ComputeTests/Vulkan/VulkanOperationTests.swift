// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Compute

/// What a device computes against what the processor does. Tolerances are shares of the largest number of a row.
@Suite("Operations on Vulkan", .enabled(if: VulkanDevices.isAvailable), .serialized)
struct VulkanOperationTests {
    private static let kernels = VulkanDevice.Kernels.allCases.filter { VulkanDevices.all[$0] != nil }

    private func device(_ kernels: VulkanDevice.Kernels) throws -> VulkanDevice {
        try #require(VulkanDevices.all[kernels])
    }

    /// Single precision, sums in another order.
    private static let rounding: Float = 1e-5

    @Test("embeddings of every format", arguments: BlockFormat.allCases)
    func embeds(_ format: BlockFormat) throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 1)
            let table = try comparison.weight("table", format, rows: 20, columns: 256)
            let x = try comparison.program.activation(256)
            try comparison.program.append(.embed(table: table, scale: 1.5, into: x))
            try comparison.compare(
                on: device(kernels), options: ExecutionOptions(tokens: 4, positions: 4),
                batches: [Batch([3, 19, 0]), Batch([7])], [x], tolerance: 1e-6)
        }
    }

    // Kernels for several columns take seconds to compile on a processor: the formats of the gates below stand for all.
    @Test("products of every format", arguments: BlockFormat.allCases)
    func products(_ format: BlockFormat) throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 2)
            let columns = format.isQuantized ? 512 : 104
            let x = try comparison.input(columns)
            let first = try comparison.program.activation(37)
            let second = try comparison.program.activation(70)
            let weights = [
                try comparison.weight("first", format, rows: 37, columns: columns),
                try comparison.weight("second", format, rows: 70, columns: columns),
            ]
            let bias = try comparison.weight("bias", .f32, columns: 70)
            try comparison.program.append(
                .multiply([.init(weights[0], into: first), .init(weights[1], bias: bias, into: second)], by: x))
            var options = ExecutionOptions(tokens: 20, positions: 32)
            options.precision = .single
            try comparison.compare(
                on: device(kernels), options: options,
                batches: format == .q4_0 ? [Batch([1]), Batch([2, 3, 4])] : [Batch([1])], [first, second],
                tolerance: Self.rounding)
        }
    }

    @Test("products that are added, and that are gated, at once or one by one", arguments: Operation.Gate.allCases)
    func fusions(_ gate: Operation.Gate) throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 3)
            let x = try comparison.input(64)
            let gates = try comparison.program.activation(96)
            let ups = try comparison.program.activation(96)
            let result = try comparison.program.activation(64)
            let matrices = try (0..<6).map {
                try comparison.weight(
                    "w\($0)", $0 < 3 ? .q4_1 : .q8_0, rows: $0 % 3 == 2 ? 64 : 96, columns: $0 % 3 == 2 ? 96 : 64)
            }
            // Twice, so that of the first time only `x` is seen: what lies between is made at once.
            for layer in 0..<2 {
                try comparison.program.append(
                    .multiply(
                        [.init(matrices[3 * layer], into: gates), .init(matrices[3 * layer + 1], into: ups)], by: x))
                try comparison.program.append(.gate(gate, gates, up: ups, into: gates))
                try comparison.program.append(.multiply([.init(matrices[3 * layer + 2], into: result)], by: gates))
                try comparison.program.append(.add(result, to: x))
            }
            #expect(DispatchPlan(comparison.program).steps.count == 7)
            var options = ExecutionOptions(tokens: 40, positions: 64)
            options.precision = .single
            try comparison.compare(
                on: device(kernels), options: options, batches: [Batch([5]), Batch((0..<33).map { $0 % 16 })],
                [x, gates, result], tolerance: 1e-4)
        }
    }

    @Test("rows and heads are normalized, into others or in place")
    func normalizes() throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 4)
            let x = try comparison.input(200)
            let whole = try comparison.weight("whole", .f32, columns: 200)
            let head = try comparison.weight("head", .f32, columns: 40)
            let output = try comparison.program.activation(200)
            try comparison.program.append(.normalize(x, weight: whole, offset: 0, epsilon: 1e-5, into: output))
            try comparison.program.append(.normalize(x, weight: head, offset: 1, epsilon: 1e-6, into: x))
            try comparison.compare(
                on: device(kernels), options: ExecutionOptions(tokens: 5, positions: 8),
                batches: [Batch([9]), Batch([1, 2, 3, 4, 5])], [x, output], tolerance: Self.rounding)
        }
    }

    @Test("rows of outputs are gathered")
    func gathers() throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 5)
            let x = try comparison.input(50)
            let y = try comparison.program.activation(50, rows: .outputs)
            try comparison.program.append(.gather(x, into: y))
            var batch = Batch([1, 2, 3], outputs: 2)
            batch.append(4, position: 0, sequence: 1, wantsOutput: true)
            try comparison.compare(
                on: device(kernels), options: ExecutionOptions(tokens: 8, outputs: 4, sequences: 2, positions: 8),
                batches: [batch, Batch([6]), Batch([1, 2], outputs: 0)], [y], tolerance: 0)
        }
    }

    struct Heads: CustomTestStringConvertible {
        let heads, keyValueHeads, length: Int
        let window: Int?
        let convention: RotaryEmbedding.Convention
        let testDescription: String

        init(
            _ heads: Int, _ keyValueHeads: Int, _ length: Int, _ window: Int?, _ convention: RotaryEmbedding.Convention
        ) {
            (self.heads, self.keyValueHeads, self.length, self.window) = (heads, keyValueHeads, length, window)
            self.convention = convention
            testDescription = "\(heads) of \(keyValueHeads) heads of \(length), window \(window ?? 0), \(convention)"
        }
    }

    @Test(
        "attention over what was stored",
        arguments: zip(
            [
                Heads(3, 1, 64, nil, .interleaved), Heads(2, 2, 128, 7, .halfSplit), Heads(4, 2, 32, nil, .halfSplit),
                Heads(2, 1, 96, 3, .interleaved), Heads(3, 1, 64, nil, .halfSplit),
            ], [BlockFormat.f32, .f16, .q8_0, .f16, .f16]))
    func attention(_ heads: Heads, _ format: BlockFormat) throws {
        for kernels in Self.kernels where kernels == .lanes || heads.convention == .interleaved || format == .q8_0 {
            var comparison = Comparison(seed: 6)
            let width = heads.heads * heads.length
            let kept = heads.keyValueHeads * heads.length
            let x = try comparison.input(32)
            let queries = try comparison.program.activation(width)
            let keys = try comparison.program.activation(kept)
            let values = try comparison.program.activation(kept)
            let output = try comparison.program.activation(width)
            let shape = try AttentionShape(
                heads: heads.heads, keyValueHeads: heads.keyValueHeads, headLength: heads.length, window: heads.window)
            let rotation = comparison.program.rotation(
                RotaryEmbedding(convention: heads.convention, dimensions: heads.length, base: 10_000))
            // Two layers, of which the second shows that rotations go along with what follows them.
            for _ in 0..<2 {
                let weights = [
                    try comparison.weight("q", .f32, rows: width, columns: 32),
                    try comparison.weight("k", .f32, rows: kept, columns: 32),
                    try comparison.weight("v", .f32, rows: kept, columns: 32),
                ]
                let cache = try comparison.program.cache(
                    keyValueHeads: heads.keyValueHeads, headLength: heads.length)
                try comparison.program.append(
                    .multiply(zip(weights, [queries, keys, values]).map { .init($0, into: $1) }, by: x))
                try comparison.program.append(.rotate(queries, headLength: heads.length, by: rotation))
                try comparison.program.append(.rotate(keys, headLength: heads.length, by: rotation))
                try comparison.program.append(.store(keys: keys, values: values, in: cache))
                try comparison.program.append(.attend(queries, in: cache, shape: shape, into: output))
            }
            var other = Batch([1, 2, 3], position: 0, sequence: 1)
            other.append(4, position: 21, sequence: 0)
            try comparison.compare(
                on: device(kernels),
                options: ExecutionOptions(
                    tokens: 24, sequences: 2, positions: 40, cacheFormat: format, precision: .single),
                batches: [Batch((0..<20).map { $0 % 16 }), Batch([3], position: 20), other, Batch([5], position: 22)],
                [queries, keys, output], tolerance: format == .f32 ? 2e-5 : format == .f16 ? 1e-3 : 1e-2)
        }
    }

    @Test("keys and values come out as they went in", arguments: [BlockFormat.f32, .f16, .q8_0])
    func caches(_ format: BlockFormat) throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 7)
            let x = try comparison.input(64)
            let y = try comparison.input(64)
            let cache = try comparison.program.cache(keyValueHeads: 2, headLength: 32)
            try comparison.program.append(.store(keys: x, values: y, in: cache))
            let options = ExecutionOptions(tokens: 8, sequences: 2, positions: 8, cacheFormat: format)
            let expected = try CPUDevice(threads: 1).compile(comparison.program, options: options)
            let found = try device(kernels).compile(comparison.program, options: options)
            for executable in [expected, found] {
                try comparison.bind(executable)
                try executable.run(Batch([1, 2, 3, 4, 5], position: 2, sequence: 1))
            }
            let bytes = try expected.readCache(cache, sequence: 1, positions: 3..<6)
            #expect(try found.readCache(cache, sequence: 1, positions: 3..<6) == bytes)
            try found.writeCache(cache, sequence: 0, positions: 1..<4, bytes.span)
            #expect(try found.readCache(cache, sequence: 0, positions: 1..<4) == bytes)
            #expect(throws: ComputeError.self) { try found.readCache(cache, sequence: 2, positions: 0..<1) }
            #expect(throws: ComputeError.self) { try found.readCache(cache, sequence: 0, positions: 7..<9) }
        }
    }

    @Test("experts are asked, also those that come when they are needed", arguments: [true, false])
    func experts(_ normalizes: Bool) throws {
        for kernels in Self.kernels {
            var comparison = Comparison(seed: 8)
            let x = try comparison.input(64)
            let router = try comparison.program.activation(5)
            let output = try comparison.program.activation(64)
            let routing = try comparison.weight("router", .f32, rows: 5, columns: 64)
            let mixture = ExpertMixture(
                gates: try comparison.weight("gates", .q4_1, rows: 5 * 32, columns: 64, parts: 5),
                ups: try comparison.weight("ups", .q4_1, rows: 5 * 32, columns: 64, parts: 5),
                downs: try comparison.weight("downs", .q8_0, rows: 5 * 64, columns: 32, parts: 5), used: 2,
                normalizes: normalizes, gate: .swiGLU)
            try comparison.program.append(.multiply([.init(routing, into: router)], by: x))
            try comparison.program.append(.mix(mixture, router: router, by: x, into: output))
            try comparison.program.append(.add(output, to: x))
            var options = ExecutionOptions(tokens: 8, positions: 16)
            options.precision = .single
            try comparison.compare(
                on: device(kernels), options: options, batches: [Batch([3]), Batch([4, 5, 6, 7, 8])], [router, x],
                tolerance: 1e-4)

            // The same without the experts, which come one by one.
            let expected = try CPUDevice(threads: 1).compile(comparison.program, options: options)
            try comparison.bind(expected)
            let found = try device(kernels).compile(comparison.program, options: options)
            var asked: Set<[Int]> = []
            found.provide { weight, part in
                let size = comparison.program[weight].partBytes
                asked.insert([weight.index, part])
                return comparison.bytes(of: weight.index, from: part * size, count: size)
            }
            for token in [1, 2] {
                try expected.run(Batch([token]))
                try found.run(Batch([token]))
                try expectAlike(found.row(0, of: x), expected.row(0, of: x), tolerance: 1e-4, "token \(token)")
            }
            // Table and router, and the three matrices of each expert that was chosen.
            #expect(asked.count < 2 + 15 && asked.count >= 2 + 6)
            #expect(try device(kernels).complaints.isEmpty)
        }
    }
}
