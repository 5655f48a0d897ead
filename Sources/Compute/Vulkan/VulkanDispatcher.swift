// SPDX-License-Identifier: Apache-2.0

internal import CVulkan

/// What a device runs for each step of a plan: which kernel, for how many rows, with which arguments.
struct VulkanDispatcher {
    let program: Program
    let options: ExecutionOptions
    let context: VulkanContext
    let weights: VulkanWeights
    let rows: VulkanRows

    /// Invocations of groups that take numbers alone.
    private var width: Int { max(64, context.subgroup) }
    private var isLanes: Bool { context.kernels == .lanes }

    /// For how many rows a recording is: at most so many, of either kind.
    struct Counts: Hashable {
        let tokens, outputs: Int

        subscript(kind: Activation.Rows) -> Int { kind == .tokens ? tokens : outputs }
    }

    /// The kernels of a step, which may run beside each other.
    func calls(_ step: DispatchPlan.Step, _ counts: Counts) throws(ComputeError) -> [KernelCall] {
        switch step {
        case .embed(let table, let scale, let output):
            return [try embed(table, scale, output, counts)]
        case .normalize(let x, let weight, let offset, let epsilon, let output):
            return [try normalize(x, weight, offset, epsilon, output, counts)]
        case .product(let product):
            return try calls(product, counts)
        case .rotate(let x, let headLength, let rotation):
            let turn = program[rotation]
            let pairs = turn.frequencies.count
            let heads = x.length / headLength
            let place = rows.activations[x.index]
            guard pairs > 0 else { return [] }
            return [
                KernelCall(
                    .rotate, [width],
                    KernelArguments(
                        addresses: [rows.arena.address, rows.host.address, rows.host.address],
                        numbers: [place.offset, place.stride, headLength, heads] + turning(rotation)),
                    groups: (groups(heads * pairs, width), counts.tokens))
            ]
        case .store(let keys, let values, let cache, let rotation):
            return [store(keys, values, cache, rotation, counts)]
        case .attend(let queries, let cache, let shape, let output, let rotation):
            return [try attend(queries, cache, shape, output, rotation, counts)]
        case .gate(let gate, let x, let up, let output):
            return [elements(gate == .swiGLU ? 2 : 3, place(x), place(up), place(output), x.length, x.rows, counts)]
        case .add(let x, let y):
            return [elements(0, place(x), place(y), place(y), x.length, x.rows, counts)]
        case .gather(let x, let output):
            return [elements(1, place(x), place(x), place(output), x.length, .outputs, counts)]
        case .route(let mixture, let router):
            return try route(mixture, router, counts)
        case .expertGates(let mixture, let x):
            return try expertGates(mixture, x, counts)
        case .expertDowns(let mixture, let router):
            return try expertDowns(mixture, router, counts)
        case .expertSum(let mixture, let output):
            guard let experts = rows.experts else { return [] }
            return [
                elements(
                    4, experts.results, experts.results, place(output), output.length, .tokens, counts,
                    shares: experts.shares, used: mixture.used)
            ]
        }
    }

    // MARK: Rows

    private func place(_ activation: Activation) -> VulkanRows.Rows { rows.activations[activation.index] }
    private func groups(_ count: Int, _ size: Int) -> Int { (count + size - 1) / size }

    private func embed(
        _ table: WeightID, _ scale: Float, _ output: Activation, _ counts: Counts
    ) throws(ComputeError) -> KernelCall {
        let (location, stack) = try weights.location(table)
        let block = try weights.block(stack.place)
        var arguments = KernelArguments(
            addresses: [block.address, rows.arena.address, rows.host.address],
            numbers: sections(stack) + [location.firstRow, place(output).offset / 4, place(output).stride / 4])
        arguments.append(scale)
        return KernelCall(
            isLanes ? .embedLanes : .embed, [width, Int(stack.layout.format.rawValue)], arguments,
            groups: (groups(stack.layout.blocks * 8, width), counts.tokens), texels: block)
    }

    private func normalize(
        _ x: Activation, _ weight: WeightID, _ offset: Float, _ epsilon: Float, _ output: Activation, _ counts: Counts
    ) throws(ComputeError) -> KernelCall {
        let (location, stack) = try weights.location(weight)
        let block = try weights.block(stack.place)
        let length = program[weight].columns
        let runs = x.length / length
        let at = stack.sections[0] + location.firstRow * stack.layout.sections[0].row
        var arguments = KernelArguments(
            addresses: [block.address + UInt64(at), rows.arena.address, rows.host.address],
            numbers: [
                length, runs, place(x).offset, place(x).stride, place(output).offset, place(output).stride,
                x.rows == .tokens ? 0 : 1,
            ])
        arguments.append(offset)
        arguments.append(epsilon)
        // Runs are short: a group has one subgroup of them where there is no more to do.
        return KernelCall(
            isLanes ? .normalizeLanes : .normalize, [context.subgroup, context.subgroup], arguments,
            groups: (runs, counts[x.rows]))
    }

    private func elements(
        _ kind: Int, _ x: VulkanRows.Rows, _ y: VulkanRows.Rows, _ target: VulkanRows.Rows, _ length: Int,
        _ count: Activation.Rows, _ counts: Counts, shares: Int = 0, used: Int = 0
    ) -> KernelCall {
        let vectors = (length + 3) / 4
        return KernelCall(
            .elements, [width, kind],
            KernelArguments(
                addresses: [rows.arena.address, rows.host.address, rows.arena.address + UInt64(shares) * 4],
                numbers: [
                    x.offset / 4, x.stride / 4, y.offset / 4, y.stride / 4, target.offset / 4, target.stride / 4, vectors,
                    count == .tokens ? 0 : 1, used,
                ]), groups: (groups(vectors, width), counts[count]))
    }

    // MARK: Attention

    /// Pairs, whether they are neighbours, where their cosines are.
    private func turning(_ rotation: RotationID?) -> [Int] {
        guard let rotation else { return [0, 0, 0] }
        let turn = program[rotation]
        return [
            turn.frequencies.count, turn.convention == .interleaved ? 1 : 0, rows.rotations[rotation.index],
        ]
    }

    private func store(
        _ keys: Activation, _ values: Activation, _ cache: CacheID, _ rotation: RotationID?, _ counts: Counts
    ) -> KernelCall {
        let shape = program[cache]
        let kept = rows.caches[cache.index]
        let units = shape.rowLength / (options.cacheFormat.isQuantized ? 32 : 8)
        return KernelCall(
            .store, [width, Int(options.cacheFormat.rawValue)],
            KernelArguments(
                addresses: [rows.arena.address, rows.host.address, rows.host.address, rows.block(kept).address],
                numbers: [
                    place(keys).offset, place(keys).stride, place(values).offset, place(values).stride, kept.keys / 4,
                    kept.values / 4, kept.keyScales / 4, kept.valueScales / 4, shape.headLength, shape.keyValueHeads,
                    options.positions,
                ] + turning(rotation)), groups: (groups(2 * units, width), counts.tokens))
    }

    private func attend(
        _ queries: Activation, _ cache: CacheID, _ shape: AttentionShape, _ output: Activation, _ rotation: RotationID?,
        _ counts: Counts
    ) throws(ComputeError) -> KernelCall {
        let kept = rows.caches[cache.index]
        let block = rows.block(kept)
        let size = context.subgroup
        let eights = shape.headLength / 8
        let shares = eights < size && eights & (eights - 1) == 0 ? size / eights : 1
        // Several subgroups look at different positions; where invocations are not threads, that brings nothing.
        let subgroups = isLanes ? 1 : max(1, min(8, Int(context.facts.largest_group) / size))
        var arguments = KernelArguments(
            addresses: [rows.arena.address, rows.host.address, rows.host.address, block.address],
            numbers: [
                place(queries).offset, place(queries).stride, place(output).offset, place(output).stride, kept.keys / 4,
                kept.values / 4, kept.keyScales / 4, kept.valueScales / 4, shape.keyValueHeads,
                shape.heads / shape.keyValueHeads, options.positions, shape.window ?? Int(UInt32.max),
            ])
        arguments.append(shape.scale)
        for number in turning(rotation) { arguments.append(number) }
        return KernelCall(
            isLanes ? .attendLanes : .attend,
            [
                size * subgroups, Int(options.cacheFormat.rawValue), size, eights, (eights + size - 1) / size, shares,
                subgroups,
            ], arguments, groups: (shape.heads, counts.tokens), texels: block)
    }

    // MARK: Products

    /// Where the sections of a stack are, in the units that kernels count in, and blocks of a row.
    private func sections(_ stack: VulkanWeights.Stack) -> [Int] {
        var numbers = stack.sections.enumerated().map { $1 / stack.layout.unit(ofSection: $0) }
        while numbers.count < 4 { numbers.append(0) }
        return numbers + [stack.layout.blocks]
    }

    private func calls(_ product: DispatchPlan.Product, _ counts: Counts) throws(ComputeError) -> [KernelCall] {
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
            let taken = work.experts != 0 || columns == 1 ? 1 : columns <= 4 ? 4 : 8
            return KernelCall(
                .productLanes, [size, format, taken], arguments, groups: (groups(pairs, size), groups(columns, taken)),
                texels: block)
        }
        if columns > 8, work.experts == 0 {
            return KernelCall(
                .productTile, [format], arguments, groups: (groups(pairs, 32), groups(columns, 64)), texels: block)
        }
        let subgroups = max(1, 128 / context.subgroup)
        let taken = work.experts != 0 || columns == 1 ? 1 : columns == 2 ? 2 : 4
        return KernelCall(
            .productRows, [subgroups * context.subgroup, format, taken], arguments,
            groups: (groups(pairs, 2 * subgroups), groups(columns, taken)), texels: block)
    }

    // MARK: Experts

    private func route(
        _ mixture: ExpertMixture, _ router: Activation, _ counts: Counts
    ) throws(ComputeError) -> [KernelCall] {
        guard let experts = rows.experts else { return [] }
        let arena = rows.arena.address
        return [
            KernelCall(
                .route, [width],
                KernelArguments(
                    addresses: [
                        arena, rows.host.address, arena + UInt64(experts.choices) * 4, arena + UInt64(experts.shares) * 4,
                    ],
                    numbers: [
                        place(router).offset, place(router).stride, router.length, mixture.used,
                        mixture.normalizes ? 1 : 0,
                    ]), groups: (groups(counts.tokens, width), 1))
        ]
    }

    private func expertGates(
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

    private func expertDowns(
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

    // MARK: What depends on what

    /// What a step reads and writes: activations by their numbers, then caches, then what experts work in.
    func access(_ step: DispatchPlan.Step) -> StepAccess {
        let caches = program.activations.count
        let experts = caches + program.caches.count
        switch step {
        case .embed(_, _, let output): return StepAccess(writes: [output.index])
        case .normalize(let x, _, _, _, let output): return StepAccess(reads: [x.index], writes: [output.index])
        case .product(let product):
            switch product.ending {
            case .stored: return StepAccess(reads: [product.x.index], writes: product.products.map(\.output.index))
            case .added(let target): return StepAccess(reads: [product.x.index, target.index], writes: [target.index])
            case .gated(_, let output): return StepAccess(reads: [product.x.index], writes: [output.index])
            }
        case .rotate(let x, _, _): return StepAccess(reads: [x.index], writes: [x.index])
        case .store(let keys, let values, let cache, _):
            return StepAccess(reads: [keys.index, values.index], writes: [caches + cache.index])
        case .attend(let queries, let cache, _, let output, _):
            return StepAccess(reads: [queries.index, caches + cache.index], writes: [output.index])
        case .gate(_, let x, let up, let output): return StepAccess(reads: [x.index, up.index], writes: [output.index])
        case .add(let x, let y): return StepAccess(reads: [x.index, y.index], writes: [y.index])
        case .gather(let x, let output): return StepAccess(reads: [x.index], writes: [output.index])
        case .route(_, let router): return StepAccess(reads: [router.index], writes: [experts])
        case .expertGates(_, let x): return StepAccess(reads: [x.index, experts], writes: [experts + 1])
        case .expertDowns: return StepAccess(reads: [experts, experts + 1], writes: [experts + 2])
        case .expertSum(_, let output): return StepAccess(reads: [experts, experts + 2], writes: [output.index])
        }
    }
}
