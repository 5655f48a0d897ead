// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Compute

@Suite("Plans of kernels")
struct DispatchPlanTests {
    /// What steps are, in words.
    private func words(_ program: Program) -> [String] {
        DispatchPlan(program).steps.map { step in
            switch step {
            case .embed: "embed"
            case .normalize: "normalize"
            case .product(let product):
                switch product.ending {
                case .stored: "product of \(product.products.count)"
                case .added: "product, added"
                case .gated: "product, gated"
                }
            case .rotate: "rotate"
            case .store(_, _, _, let rotation): rotation == nil ? "store" : "turn, store"
            case .attend(_, _, _, _, let rotation): rotation == nil ? "attend" : "turn, attend"
            case .gate: "gate"
            case .add: "add"
            case .gather: "gather"
            case .route: "route"
            case .expertGates: "gates of experts"
            case .expertDowns: "downs of experts"
            case .expertSum: "sum of experts"
            }
        }
    }

    /// A network of some layers of the usual kind.
    private func network(layers: Int, format: BlockFormat = .q8_0, valueFormat: BlockFormat? = nil) throws -> Program {
        var program = Program()
        func matrix(_ rows: Int, _ columns: Int, _ format: BlockFormat) throws -> WeightID {
            try program.weight("w", format: format, rows: rows, columns: columns)
        }
        let table = try matrix(10, 64, format)
        let norm = try program.weight("norm", format: .f32, columns: 64)
        let x = try program.activation(64)
        let normed = try program.activation(64)
        let rows = try (0..<4).map { _ in try program.activation(64) }
        let (gates, ups) = (try program.activation(128), try program.activation(128))
        let rotation = program.rotation(RotaryEmbedding(convention: .halfSplit, dimensions: 32, base: 1e4))
        let shape = try AttentionShape(heads: 2, keyValueHeads: 2, headLength: 32)
        try program.append(.embed(table: table, scale: 1, into: x))
        for layer in 0..<layers {
            program.beginSegment("layer \(layer)")
            try program.append(.normalize(x, weight: norm, offset: 0, epsilon: 1e-5, into: normed))
            try program.append(
                .multiply(
                    [
                        .init(try matrix(64, 64, format), into: rows[0]),
                        .init(try matrix(64, 64, format), into: rows[1]),
                        .init(try matrix(64, 64, valueFormat ?? format), into: rows[2]),
                    ], by: normed))
            let cache = try program.cache(keyValueHeads: 2, headLength: 32)
            try program.append(.rotate(rows[0], headLength: 32, by: rotation))
            try program.append(.rotate(rows[1], headLength: 32, by: rotation))
            try program.append(.store(keys: rows[1], values: rows[2], in: cache))
            try program.append(.attend(rows[0], in: cache, shape: shape, into: rows[3]))
            try program.append(.multiply([.init(try matrix(64, 64, format), into: normed)], by: rows[3]))
            try program.append(.add(normed, to: x))
            try program.append(
                .multiply(
                    [.init(try matrix(128, 64, format), into: gates), .init(try matrix(128, 64, format), into: ups)],
                    by: x))
            try program.append(.gate(.swiGLU, gates, up: ups, into: gates))
            try program.append(.multiply([.init(try matrix(64, 128, format), into: normed)], by: gates))
            try program.append(.add(normed, to: x))
        }
        return program
    }

    @Test("steps melt where what lies between is overwritten, and stay where it can be read")
    func melts() throws {
        let melted = [
            "normalize", "product of 3", "turn, store", "turn, attend", "product, added", "product, gated",
            "product, added",
        ]
        let last = [
            "normalize", "product of 3", "rotate", "rotate", "store", "attend", "product, added", "product of 2",
            "gate",
            "product of 1", "add",
        ]
        #expect(try words(network(layers: 2)) == ["embed"] + melted + last)
    }

    @Test("matrices of different formats are not stacked")
    func formats() throws {
        let steps = try words(network(layers: 1, valueFormat: .f16))
        #expect(steps[2...3] == ["product of 2", "product of 1"])
    }

    @Test("segments end where they ended, and nothing melts across")
    func segments() throws {
        var program = Program()
        let table = try program.weight("table", format: .f32, rows: 4, columns: 8)
        let weight = try program.weight("w", format: .f32, rows: 8, columns: 8)
        let (x, y) = (try program.activation(8), try program.activation(8))
        program.beginSegment("first")
        try program.append(.embed(table: table, scale: 1, into: x))
        try program.append(.multiply([.init(weight, into: y)], by: x))
        program.beginSegment("second")
        try program.append(.add(y, to: x))
        try program.append(.multiply([.init(weight, into: y)], by: x))
        #expect(words(program) == ["embed", "product of 1", "add", "product of 1"])
        #expect(DispatchPlan(program).segments == [0..<2, 2..<4])
    }
}
