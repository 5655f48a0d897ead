// SPDX-License-Identifier: Apache-2.0

internal import CCompute

/// What each head of keys has to do with some tokens is one item; where there are few tokens, a part of the positions.
struct AttentionJob {
    let queries: UnsafePointer<Float>
    let first: Int
    let count: Int
    let keys: CachedRows
    let values: CachedRows
    let shape: AttentionShape
    let output: UnsafeMutablePointer<Float>
    let instructions: InstructionSet
    let counter: UnsafeMutablePointer<Int>
    var scratch: UnsafeMutablePointer<Float>?
    var scratchStride = 0
    var shared: UnsafeMutablePointer<Float>?

    /// Tokens of an item.
    private var tokens = 1
    private var blocks = 1
    /// Parts of the positions that are looked at apart.
    private(set) var parts = 1

    init(
        queries: UnsafePointer<Float>, first: Int, count: Int, keys: CachedRows, values: CachedRows,
        shape: AttentionShape, output: UnsafeMutablePointer<Float>, instructions: InstructionSet,
        counter: UnsafeMutablePointer<Int>
    ) {
        self.queries = queries
        self.first = first
        self.count = count
        self.keys = keys
        self.values = values
        self.shape = shape
        self.output = output
        self.instructions = instructions
        self.counter = counter
    }

    /// Queries of an item: enough for keys and values to be worth being unpacked for them, and few enough to stay in the
    /// caches next to the processor.
    private static let queriesAtATime = 48
    /// Positions that are worth being looked at apart.
    private static let worthParting = 64

    private var group: Int { shape.heads / shape.keyValueHeads }

    mutating func plan(_ threads: Int) {
        tokens = min(count, max(1, Self.queriesAtATime / group))
        blocks = (count + tokens - 1) / tokens
        guard blocks == 1 else { return }
        parts = max(1, min(threads, seen(by: 0..<count).count / Self.worthParting))
    }

    /// Positions that some of these tokens see.
    private func seen(by tokens: Range<Int>) -> Range<Int> {
        let start = max(0, first + tokens.lowerBound + 1 - (shape.window ?? first + count))
        return start..<(first + tokens.upperBound)
    }

    var scratchLength: Int { compute_attention_scratch(shape.headLength, tokens * group) }

    /// Of each query in each part: the sums of values, the largest product, the sum of powers.
    var sharedLength: Int { parts == 1 ? 0 : parts * count * shape.heads * (compute_padded(shape.headLength) + 2) }

    func run(_ thread: Int) {
        let items = shape.keyValueHeads * blocks * parts
        while true {
            let item = compute_take(counter)
            guard item < items else { return }
            // Later tokens see more: the longest items come first.
            let block = blocks - 1 - item / (shape.keyValueHeads * parts)
            run(head: item / parts % shape.keyValueHeads, block: block, part: item % parts, thread)
        }
    }

    private func run(head: Int, block: Int, part: Int, _ thread: Int) {
        let range = block * tokens..<min(count, block * tokens + tokens)
        let seen = seen(by: range)
        let offset = range.lowerBound * shape.heads * shape.headLength + head * group * shape.headLength
        let queryCount = range.count * group
        var attention = compute_attention(
            queries: queries + offset, query_stride: shape.heads * shape.headLength,
            keys: (keys.base + head * keys.headStride).assumingMemoryBound(to: UInt8.self),
            values: (values.base + head * values.headStride).assumingMemoryBound(to: UInt8.self),
            key_stride: keys.rowStride, value_stride: values.rowStride, key_format: CInt(keys.format.rawValue),
            value_format: CInt(values.format.rawValue), length: shape.headLength, group: group,
            first: first + range.lowerBound, count: range.count, window: shape.window ?? first + count,
            begin: seen.lowerBound + seen.count * part / parts, end: seen.lowerBound + seen.count * (part + 1) / parts,
            scale: shape.scale, output: output + offset, sums: nil, largest: nil, powers: nil,
            scratch: scratch.map { $0 + thread * scratchStride })
        if parts > 1, let shared {
            let padded = compute_padded(shape.headLength)
            let sums = shared + (head * parts + part) * queryCount * (padded + 2)
            attention.sums = sums
            attention.largest = sums + queryCount * padded
            attention.powers = sums + queryCount * (padded + 1)
        }
        instructions.attend(&attention)
    }

    /// Puts the parts of each query together, by the largest product of all.
    func merge() {
        guard let shared else { return }
        let padded = compute_padded(shape.headLength)
        let queryCount = count * group
        for head in 0..<shape.keyValueHeads {
            let pieces = shared + head * parts * queryCount * (padded + 2)
            for query in 0..<queryCount {
                let target =
                    output
                    + (query / group * shape.heads + head * group + query % group) * shape.headLength
                merge(pieces, query, queryCount, padded, into: target)
            }
        }
    }

    private func merge(
        _ pieces: UnsafeMutablePointer<Float>, _ query: Int, _ queryCount: Int, _ padded: Int,
        into target: UnsafeMutablePointer<Float>
    ) {
        let stride = queryCount * (padded + 2)
        var largest = -Float.infinity
        for part in 0..<parts { largest = max(largest, pieces[part * stride + queryCount * padded + query]) }
        var sum: Float = 0
        for i in 0..<shape.headLength { target[i] = 0 }
        for part in 0..<parts {
            let piece = pieces + part * stride
            let powers = piece[queryCount * (padded + 1) + query]
            // A part may have seen nothing.
            if powers == 0 { continue }
            let factor = VectorMath.exp(SIMD8(repeating: piece[queryCount * padded + query] - largest))[0]
            sum += powers * factor
            for i in 0..<shape.headLength { target[i] += piece[query * padded + i] * factor }
        }
        let inverse = 1 / sum
        for i in 0..<shape.headLength { target[i] *= inverse }
    }
}
