// SPDX-License-Identifier: Apache-2.0

/// Weights in a device's memory: where each lies, and which parts are there. Matrices that are multiplied with the same
/// column are stacked, so that one kernel takes them all.
final class VulkanWeights {
    /// Matrices of a format, one's rows after the other's.
    struct Stack {
        let layout: WeightLayout
        let rows: Int
        let place: VulkanLayout.Place
        /// Where each section begins, from the start of the block.
        let sections: [Int]
        /// Where what is added to the rows lies: a number for each.
        let bias: VulkanLayout.Place?
    }

    /// Where weights lie in a stack.
    struct Location {
        let stack: Int
        let firstRow: Int
    }

    private(set) var stacks: [Stack] = []
    private var locations: [Location?]
    /// Vectors that are added to the rows of stacks: which stack's rows, from where on.
    private var biases: [[Location]]
    private var bound: [[Bool]]
    private let program: Program
    private let context: VulkanContext
    private var places: VulkanLayout
    private var blocks: [VulkanBlock?] = []
    private let staging: VulkanStaging

    /// As many rows as two for each of eight invocations: `TOGETHER` of the kernels.
    private static let bundle = 16

    init(_ program: Program, _ plan: DispatchPlan, _ context: VulkanContext, _ staging: VulkanStaging)
        throws(ComputeError)
    {
        self.program = program
        self.context = context
        self.staging = staging
        places = VulkanLayout(context)
        locations = Array(repeating: nil, count: program.weights.count)
        biases = Array(repeating: [], count: program.weights.count)
        bound = program.weights.map { Array(repeating: false, count: $0.parts) }
        // First what is stacked, as what is used twice has one place.
        for case .product(let product) in plan.steps { try stack(product) }
        for step in plan.steps {
            switch step {
            case .embed(let table, _, _): try stack([table])
            case .normalize(_, let weight, _, _, _): try stack([weight], isVector: true)
            case .expertGates(let mixture, _): try stack([mixture.gates, mixture.ups])
            case .expertDowns(let mixture, _): try stack([mixture.downs])
            default: break
            }
        }
        blocks = Array(repeating: nil, count: places.sizes.count)
    }

    // MARK: Places

    private func stack(_ product: DispatchPlan.Product) throws(ComputeError) {
        let weights = product.products.map(\.weight)
        guard weights.allSatisfy({ locations[$0.index] == nil }), Set(weights).count == weights.count,
            !product.products.contains(where: { $0.bias != nil })
        else {
            // Some of them have their places already, or something is added to them: each has its own rows.
            return try stackWithBias(product)
        }
        try stack(weights)
    }

    private func stackWithBias(_ product: DispatchPlan.Product) throws(ComputeError) {
        let weights = product.products.map(\.weight)
        if weights.allSatisfy({ locations[$0.index] == nil }), Set(weights).count == weights.count {
            try stack(weights, hasBias: true)
            for each in product.products {
                guard let bias = each.bias, let location = locations[each.weight.index] else { continue }
                biases[bias.index].append(location)
            }
        } else {
            for each in product.products where locations[each.weight.index] == nil {
                try stack([each.weight], hasBias: each.bias != nil)
                if let bias = each.bias, let location = locations[each.weight.index] {
                    biases[bias.index].append(location)
                }
            }
            for each in product.products {
                guard let bias = each.bias, let location = locations[each.weight.index] else { continue }
                let isThere = biases[bias.index].contains {
                    $0.stack == location.stack && $0.firstRow == location.firstRow
                }
                if !isThere {
                    throw ComputeError(
                        .shape, "\(program[each.weight].name) is used with several biases: Vulkan has room for one")
                }
            }
        }
    }

    /// Gives weights places one after the other, where they have none.
    private func stack(
        _ weights: [WeightID], hasBias: Bool = false, isVector: Bool = false
    ) throws(ComputeError) {
        guard weights.allSatisfy({ locations[$0.index] == nil }), let first = weights.first else {
            if isVector, let location = locations[weights[0].index], stacks[location.stack].layout.together > 1 {
                throw ComputeError(.shape, "\(program[weights[0]].name) is both a matrix and what normalizes")
            }
            return
        }
        let layout = WeightLayout(
            format: program[first].format, columns: program[first].columns,
            together: context.hasTexels && !isVector ? Self.bundle : 1)
        let rows = weights.reduce(0) { $0 + program[$1].rows }
        var offsets: [Int] = []
        var size = 0
        for section in layout.sections {
            offsets.append(size)
            size += (section.row * layout.padded(rows) + 15) & ~15
        }
        let place = try places.place(size, of: program[first].name)
        let bias = hasBias ? try places.place(rows * 4, of: program[first].name) : nil
        var row = 0
        for weight in weights {
            locations[weight.index] = Location(stack: stacks.count, firstRow: row)
            row += program[weight].rows
        }
        stacks.append(
            Stack(layout: layout, rows: rows, place: place, sections: offsets.map { place.offset + $0 }, bias: bias))
    }

    /// Where weights lie.
    func location(_ weight: WeightID) throws(ComputeError) -> (Location, Stack) {
        guard let location = locations[weight.index] else {
            throw ComputeError(.shape, "\(program[weight].name) has no place")
        }
        return (location, stacks[location.stack])
    }

    /// Whether weights lie one after the other in a stack.
    func areStacked(_ weights: [WeightID]) -> Bool {
        var row: Int?
        var stack: Int?
        for weight in weights {
            guard let location = locations[weight.index], stack ?? location.stack == location.stack,
                row ?? location.firstRow == location.firstRow
            else { return false }
            stack = location.stack
            row = location.firstRow + program[weight].rows
        }
        return true
    }

    /// The memory of a place, taken if it was not.
    func block(_ place: VulkanLayout.Place) throws(ComputeError) -> VulkanBlock {
        if let block = blocks[place.block] { return block }
        let block = try VulkanBlock(places.sizes[place.block], of: "weights", context)
        blocks[place.block] = block
        // What is added to rows of a stack is zero where it is not bound.
        for stack in stacks {
            guard let bias = stack.bias, bias.block == place.block else { continue }
            try staging.write(stack.rows * 4, to: block, at: bias.offset) { target, _, count in
                target.initializeMemory(as: UInt8.self, repeating: 0, count: count)
            }
        }
        return block
    }

    /// Bytes that weights take of the device.
    var bytes: Int { blocks.reduce(0) { $0 + ($1?.size ?? 0) } }

    // MARK: Binding

    func isBound(_ weight: WeightID, part: Int) -> Bool { bound[weight.index][part] }

    /// The first part of weights that is not there.
    func missing(of weight: WeightID) -> Int? { bound[weight.index].firstIndex(of: false) }

    /// Copies a part of weights to its place.
    func bind(_ weight: WeightID, part: Int, to bytes: UnsafeRawBufferPointer) throws(ComputeError) {
        let shape = program[weight]
        guard part >= 0, part < shape.parts else {
            throw ComputeError(.shape, "\(shape.name): part \(part) of \(shape.parts)")
        }
        guard let source = bytes.baseAddress, bytes.count == shape.partBytes else {
            throw ComputeError(
                .shape, "\(shape.name): \(bytes.count) bytes, its shape has \(shape.partBytes)")
        }
        let rows = shape.rows / shape.parts
        if let location = locations[weight.index] {
            let stack = stacks[location.stack]
            let block = try block(stack.place)
            let firstRow = location.firstRow + part * rows
            for (section, kind) in stack.layout.sections.enumerated() {
                let start = stack.sections[section]
                if let mapped = block.mapped {
                    stack.layout.pack(source, rows: rows, first: firstRow, section: section, into: mapped + start)
                    continue
                }
                // Rows of bundles do not lie together; but devices whose memory is not mapped have none.
                try staging.write(
                    rows * kind.row, unit: kind.row, to: block, at: start + firstRow * kind.row
                ) { target, start, count in
                    stack.layout.pack(
                        source + start / kind.row * shape.rowBytes, rows: count / kind.row, first: 0, section: section,
                        into: target)
                }
            }
        }
        for location in biases[weight.index] {
            guard let bias = stacks[location.stack].bias else { continue }
            try staging.write(
                bytes.count, to: try block(bias), at: bias.offset + location.firstRow * 4
            ) { target, start, count in
                target.copyMemory(from: source + start, byteCount: count)
            }
        }
        bound[weight.index][part] = true
    }
}
