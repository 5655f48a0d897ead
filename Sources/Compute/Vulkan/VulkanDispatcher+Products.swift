// SPDX-License-Identifier: Apache-2.0

/// Products with matrices: of the network's own, and of experts.
extension VulkanDispatcher {
    /// Where the sections of a stack are, in the units that kernels count in, and blocks of a row.
    func sections(_ stack: VulkanWeights.Stack) -> [Int] {
        var numbers = stack.sections.enumerated().map { $1 / stack.layout.unit(ofSection: $0) }
        while numbers.count < 4 { numbers.append(0) }
        return numbers + [stack.layout.blocks]
    }

    func calls(_ product: DispatchPlan.Product, _ counts: Counts) throws(ComputeError) -> [KernelCall] {
        guard weights.areStacked(product.products.map(\.weight)) else {
            if case .gated = product.ending { throw ComputeError(.shape, "a gate of weights that lie apart") }
            var calls: [KernelCall] = []
            for each in product.products {
                let one = DispatchPlan.Product(products: [each], x: product.x, ending: product.ending)
                calls.append(try call(one, counts))
            }
            return calls
        }
        return [try call(product, counts)]
    }

    private func call(_ product: DispatchPlan.Product, _ counts: Counts) throws(ComputeError) -> KernelCall {
        let (location, stack) = try weights.location(product.products[0].weight)
        let lengths = product.products.map { program[$0.weight].rows }
        var work = ProductWork(
            stack: stack, row: location.firstRow, rows: lengths.reduce(0, +), x: place(product.x),
            columns: counts[product.x.rows], counting: product.x.rows == .tokens ? 0 : 1)
        work.hasBias = product.products.contains { $0.bias != nil }
        switch product.ending {
        case .stored:
            work.outputs = product.products.map { place($0.output) }
            work.starts = [lengths[0], lengths[0] + (lengths.count > 1 ? lengths[1] : 0)]
        case .added(let target):
            work.outputs = [place(target)]
            work.mode = 1
        case .gated(let gate, let output):
            work.outputs = [place(output)]
            work.mode = gate == .swiGLU ? 2 : 3
            work.rows = lengths[0]
            work.partner = lengths[0]
        }
        return try call(work)
    }

    /// What kernels of products are told.
    private struct ProductWork {
        var stack: VulkanWeights.Stack
        var row: Int
        var rows: Int
        var partner = 0
        var x: VulkanRows.Rows
        var sharers = 1
        var outputs: [VulkanRows.Rows] = []
        /// From which rows on the second and the third output take them.
        var starts: [Int] = []
        var mode = 0
        var columns: Int
        var counting: Int
        /// What the count of tokens is multiplied with.
        var factor = 1
        var hasBias = false
        /// Where the experts of columns are.
        var experts: UInt64 = 0
    }

    private func call(_ work: ProductWork) throws(ComputeError) -> KernelCall {
        let block = try weights.block(work.stack.place)
        var bias: UInt64 = 0
        if work.hasBias, let place = work.stack.bias {
            bias = try weights.block(place).address + UInt64(place.offset)
        }
        func output(_ index: Int) -> VulkanRows.Rows {
            index < work.outputs.count ? work.outputs[index] : VulkanRows.Rows(offset: 0, stride: 0)
        }
        func start(_ index: Int) -> Int { index < work.outputs.count ? work.starts[index - 1] : Int(UInt32.max) }
        var arguments = KernelArguments(
            addresses: [block.address, rows.arena.address, rows.host.address, bias],
            numbers: sections(work.stack) + [
                work.row, work.rows, work.partner, work.x.offset / 4, work.x.stride / 4, work.sharers,
                output(0).offset, output(1).offset, output(2).offset, start(1), start(2), output(0).stride,
                output(1).stride, output(2).stride, work.mode, work.counting | work.factor << 16,
            ])
        // Addresses lie at multiples of eight.
        arguments.append(0)
        arguments.append(work.experts)
        let format = Int(work.stack.layout.format.rawValue)
        let pairs = work.mode >= 2 ? work.rows : (work.rows + 1) / 2
        let columns = work.columns
        if isLanes {
            let size = max(16, context.subgroup)
            let taken = work.experts != 0 || columns == 1 ? 1 : columns <= 4 ? 4 : columns <= 8 ? 8 : 16
            return KernelCall(
                .productLanes, [size, format, taken], arguments, groups: (groups(pairs, size), groups(columns, taken)),
                texels: block)
        }
        if columns > 8, work.experts == 0 {
            return KernelCall(
                .productTile, [format], arguments, groups: (groups(pairs, 32), groups(columns, 64)), texels: block)
        }
        let subgroups = max(1, 128 / context.subgroup)
        // Of as many columns as fit into half of the memory that groups share, 144 bytes for each block of 32 numbers.
        let fitting = context.sharedBytes / 2 / (context.subgroup * 144)
        let taken = work.experts != 0 || columns == 1 || fitting < 2 ? 1 : columns == 2 || fitting < 4 ? 2 : 4
        return KernelCall(
            .productRows, [subgroups * context.subgroup, format, taken, context.subgroup], arguments,
            groups: (groups(pairs, 2 * subgroups), groups(columns, taken)), texels: block)
    }

    // MARK: Experts

    func route(
        _ mixture: ExpertMixture, _ router: Activation, _ counts: Counts
    ) throws(ComputeError) -> [KernelCall] {
        guard let experts = rows.experts else { return [] }
        let arena = rows.arena.address
        return [
            KernelCall(
                .route, [width],
                KernelArguments(
                    addresses: [
                        arena, rows.host.address, arena + UInt64(experts.choices) * 4,
                        arena + UInt64(experts.shares) * 4,
                    ],
                    numbers: [
                        place(router).offset, place(router).stride, router.length, mixture.used,
                        mixture.normalizes ? 1 : 0,
                    ]), groups: (groups(counts.tokens, width), 1))
        ]
    }

    func expertGates(
        _ mixture: ExpertMixture, _ x: Activation, _ counts: Counts
    ) throws(ComputeError) -> [KernelCall] {
        guard let experts = rows.experts else { return [] }
        let (location, stack) = try weights.location(mixture.gates)
        guard weights.areStacked([mixture.gates, mixture.ups]) else {
            throw ComputeError(.format, "\(program[mixture.gates].name): gates and ups of experts are stored alike")
        }
        let shape = program[mixture.gates]
        var work = ProductWork(
            stack: stack, row: location.firstRow, rows: shape.rows / shape.parts, x: place(x),
            columns: counts.tokens * mixture.used, counting: 0)
        work.partner = shape.rows
        work.sharers = mixture.used
        work.outputs = [experts.hidden]
        work.mode = mixture.gate == .swiGLU ? 2 : 3
        work.factor = mixture.used
        work.experts = rows.arena.address + UInt64(experts.choices) * 4
        return [try call(work)]
    }

    func expertDowns(
        _ mixture: ExpertMixture, _ router: Activation, _ counts: Counts
    ) throws(ComputeError) -> [KernelCall] {
        guard let experts = rows.experts else { return [] }
        let (location, stack) = try weights.location(mixture.downs)
        let shape = program[mixture.downs]
        var work = ProductWork(
            stack: stack, row: location.firstRow, rows: shape.rows / shape.parts, x: experts.hidden,
            columns: counts.tokens * mixture.used, counting: 0)
        work.outputs = [experts.results]
        work.factor = mixture.used
        work.experts = rows.arena.address + UInt64(experts.choices) * 4
        return [try call(work)]
    }
}
