// SPDX-License-Identifier: Apache-2.0

/// Keys and values of a layer: for each sequence and head a row for each position, first all keys, then all values, since
/// attention reads a head's rows one after the other. The system gives memory for what is written to.
struct CPUCache {
    private let shape: CacheShape
    private let format: BlockFormat
    private let instructions: InstructionSet
    private let sequences: Int
    private let positions: Int
    private let heads: Int
    /// Bytes of the keys, or the values, of a position in a head.
    private let rowBytes: Int
    private let memory: HostMemory
    private var base: UnsafeMutableRawPointer { memory.base }
    /// Bytes of all keys: where the values begin.
    private let half: Int

    init(
        _ shape: CacheShape, options: ExecutionOptions, instructions: InstructionSet
    ) throws(ComputeError) {
        self.shape = shape
        self.instructions = instructions
        format = options.cacheFormat
        sequences = options.sequences
        positions = options.positions
        heads = shape.rowLength / max(1, shape.headLength)
        rowBytes = format.byteCount(of: shape.headLength) ?? 0
        let (rows, overflow) = (heads * positions).multipliedReportingOverflow(by: sequences)
        let (half, overflow2) = rows.multipliedReportingOverflow(by: rowBytes)
        let (all, overflow3) = half.multipliedReportingOverflow(by: 2)
        guard !overflow, !overflow2, !overflow3 else {
            throw ComputeError(.outOfMemory, "\(sequences) sequences of \(positions) positions are too many")
        }
        self.half = half
        memory = try HostMemory(byteCount: all, for: "keys and values")
    }

    private func keys(_ sequence: Int, head: Int, _ position: Int) -> UnsafeMutableRawPointer {
        base + ((sequence * heads + head) * positions + position) * rowBytes
    }

    func store(keys: UnsafePointer<Float>, values: UnsafePointer<Float>, _ batch: Batch) {
        let length = shape.headLength
        for index in 0..<batch.count {
            let sequence = Int(batch.sequences[index])
            let position = Int(batch.positions[index])
            for head in 0..<heads {
                let row = self.keys(sequence, head: head, position)
                let offset = index * shape.rowLength + head * length
                instructions.encode(format, keys + offset, count: length, into: row)
                instructions.encode(format, values + offset, count: length, into: row + half)
            }
        }
    }

    /// The first `count` positions of a sequence, as attention reads them.
    func rows(
        ofSequence sequence: Int, count: Int, shape: AttentionShape
    ) throws(ComputeError) -> (keys: CachedRows, values: CachedRows) {
        let bytes = ((heads - 1) * positions + count) * rowBytes
        func rows(_ start: UnsafeMutableRawPointer) throws(ComputeError) -> CachedRows {
            try CachedRows(
                UnsafeRawBufferPointer(start: start, count: bytes), format: format, shape: shape, rowStride: rowBytes,
                headStride: positions * rowBytes, count: count)
        }
        let start = keys(sequence, head: 0, 0)
        return (try rows(start), try rows(start + half))
    }

    /// The keys of each position, head after head, then the values.
    func read(sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8] {
        try check(sequence, positions)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(2 * positions.count * heads * rowBytes)
        for offset in [0, half] {
            for position in positions {
                for head in 0..<heads {
                    let row = keys(sequence, head: head, position) + offset
                    bytes.append(contentsOf: UnsafeRawBufferPointer(start: row, count: rowBytes))
                }
            }
        }
        return bytes
    }

    func write(sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>) throws(ComputeError) {
        try check(sequence, positions)
        let count = positions.count * heads * rowBytes
        guard bytes.count == 2 * count else {
            throw ComputeError(
                .shape, "\(bytes.count) bytes for \(positions.count) positions of \(2 * heads * rowBytes)")
        }
        bytes.withUnsafeBytes { bytes in
            guard var source = bytes.baseAddress else { return }
            for offset in [0, half] {
                for position in positions {
                    for head in 0..<heads {
                        (keys(sequence, head: head, position) + offset).copyMemory(from: source, byteCount: rowBytes)
                        source += rowBytes
                    }
                }
            }
        }
    }

    private func check(_ sequence: Int, _ range: Range<Int>) throws(ComputeError) {
        guard sequence >= 0, sequence < sequences, range.lowerBound >= 0, range.upperBound <= positions else {
            throw ComputeError(
                .shape, "positions \(range) of sequence \(sequence): there are \(sequences) of \(positions)")
        }
    }
}
