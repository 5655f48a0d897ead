// SPDX-License-Identifier: Apache-2.0

internal import CVulkan
internal import Glibc

/// Where everything but weights lies: activations, what experts work in, caches, and the values of a batch.
final class VulkanRows {
    /// Rows of an activation: numbers from the start of the arena, and from a row to the next. Rows are filled up to 32
    /// numbers, with zeros that nobody changes.
    struct Rows {
        let offset: Int
        let stride: Int
    }

    /// Keys and values of a layer, from the start of their block; scales lie apart.
    struct Cache {
        let place: VulkanLayout.Place
        let keys, values, keyScales, valueScales: Int
    }

    /// What experts work in: which are chosen, how much they count, gates and results of each choice.
    struct Experts {
        let choices, shares: Int
        let hidden, results: Rows
    }

    let arena: VulkanBlock
    let host: VulkanBlock
    private(set) var activations: [Rows] = []
    private(set) var caches: [Cache] = []
    private(set) var experts: Experts?
    /// Where the cosines of each rotation begin, in numbers from the start of the host's block.
    private(set) var rotations: [Int] = []
    private var cacheBlocks: [VulkanBlock] = []
    private let options: ExecutionOptions
    private let program: Program

    /// Kernels of products take up to so many columns, and write all of them.
    private static let columnsAtATime = 16
    /// Numbers of the host's block before the values of tokens.
    private static let header = 4

    init(_ program: Program, options: ExecutionOptions, _ context: VulkanContext) throws(ComputeError) {
        self.options = options
        self.program = program
        var size = 0
        func rows(_ length: Int, _ count: Int) -> Rows {
            let rows = Rows(offset: size, stride: (length + 31) & ~31)
            size += rows.stride * ((count + Self.columnsAtATime - 1) / Self.columnsAtATime * Self.columnsAtATime)
            return rows
        }
        for activation in program.activations {
            activations.append(rows(activation.length, activation.rows == .tokens ? options.tokens : options.outputs))
        }
        var (hidden, width, choices) = (0, 0, 0)
        for case .mix(let mixture, _, _, let output) in program.operations {
            hidden = max(hidden, program[mixture.downs].columns)
            width = max(width, output.length)
            choices = max(choices, mixture.used * options.tokens)
        }
        if choices > 0 {
            let numbers = [rows(choices, 1), rows(choices, 1)]
            experts = Experts(
                choices: numbers[0].offset, shares: numbers[1].offset, hidden: rows(hidden, choices),
                results: rows(width, choices))
        }
        guard size < 1 << 32 else { throw ComputeError(.outOfMemory, "\(size >> 18) MiB for activations") }
        arena = try VulkanBlock(size * 4, of: "activations", context)

        var host = Self.header + 3 * options.tokens + options.outputs
        for rotation in program.rotations {
            rotations.append(host)
            host += 2 * rotation.frequencies.count * options.tokens
        }
        self.host = try VulkanBlock(host * 4, of: "values of a batch", kind: .shared, context)

        var places = VulkanLayout(context)
        for shape in program.caches {
            let count = shape.rowLength * options.sequences * options.positions
            let isQuantized = options.cacheFormat.isQuantized
            let bytes = isQuantized ? count : count * options.cacheFormat.blockSize
            let scales = isQuantized ? count / 32 * 4 : 0
            let place = try places.place(2 * (bytes + 16) + 2 * scales, of: "keys and values of a layer")
            let aligned = (bytes + 15) & ~15
            caches.append(
                Cache(
                    place: place, keys: place.offset, values: place.offset + aligned,
                    keyScales: place.offset + 2 * aligned, valueScales: place.offset + 2 * aligned + scales))
        }
        for size in places.sizes { cacheBlocks.append(try VulkanBlock(size, of: "keys and values", context)) }
    }

    /// Zeros where nobody writes: what rows are filled up with.
    func clear(_ staging: VulkanStaging) throws(ComputeError) {
        try staging.write(arena.size, to: arena, at: 0) { target, _, count in
            target.initializeMemory(as: UInt8.self, repeating: 0, count: count)
        }
    }

    func block(_ cache: Cache) -> VulkanBlock { cacheBlocks[cache.place.block] }

    /// Bytes of caches, and of everything else.
    var bytes: (caches: Int, working: Int) {
        (cacheBlocks.reduce(0) { $0 + $1.size }, arena.size + host.size)
    }

    /// Puts the values of a batch where kernels read them.
    func put(_ batch: Batch) throws(ComputeError) {
        guard let base = host.mapped else { throw ComputeError(.system, "Vulkan: memory of the host is not mapped") }
        let words = base.assumingMemoryBound(to: Int32.self)
        words[0] = Int32(batch.count)
        words[1] = Int32(batch.outputs.count)
        words[2] = Int32(options.tokens)
        let values = words + Self.header
        for index in 0..<batch.count {
            values[index] = batch.ids[index]
            values[options.tokens + index] = batch.positions[index]
            values[2 * options.tokens + index] = batch.sequences[index]
        }
        for (index, token) in batch.outputs.enumerated() { values[3 * options.tokens + index] = token }
        let numbers = base.assumingMemoryBound(to: Float.self)
        for (rotation, start) in zip(program.rotations, rotations) {
            var at = start
            for position in batch.positions {
                for frequency in rotation.frequencies {
                    let angle = Double(position) * frequency
                    numbers[at] = Float(cos(angle))
                    numbers[at + 1] = Float(sin(angle))
                    at += 2
                }
            }
        }
    }
}
