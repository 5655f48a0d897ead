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
    var width: Int { max(64, context.subgroup) }
    var isLanes: Bool { context.kernels == .lanes }

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

    func place(_ activation: Activation) -> VulkanRows.Rows { rows.activations[activation.index] }
    func groups(_ count: Int, _ size: Int) -> Int { (count + size - 1) / size }

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
                    x.offset / 4, x.stride / 4, y.offset / 4, y.stride / 4, target.offset / 4, target.stride / 4,
                    vectors,
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
        // Their parts of the sums meet in shared memory.
        let meeting = context.sharedBytes / 2 / (shape.headLength * 4)
        let subgroups = isLanes ? 1 : max(1, min(8, Int(context.facts.largest_group) / size, meeting))
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
