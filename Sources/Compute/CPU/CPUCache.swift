// SPDX-License-Identifier: Apache-2.0

/// Keys and values of a layer: for each sequence and position a row of all heads, first all keys, then all values. The
/// system gives memory for what is written to.
struct CPUCache {
    private let shape: CacheShape
    private let format: BlockFormat
    private let sequences: Int
    private let positions: Int
    /// Bytes of the keys, or the values, of a position.
    private let rowBytes: Int
    private let headBytes: Int
    private let base: UnsafeMutableRawPointer
    /// Bytes of all keys: where the values begin.
    private let half: Int

    init(_ shape: CacheShape, options: ExecutionOptions) {
        self.shape = shape
        format = options.cacheFormat
        sequences = options.sequences
        positions = options.positions
        rowBytes = format.byteCount(of: shape.rowLength) ?? 0
        headBytes = format.byteCount(of: shape.headLength) ?? 0
        half = rowBytes * positions * sequences
        base = .allocate(byteCount: 2 * half, alignment: 64)
    }

    func deallocate() { base.deallocate() }

    private func keys(_ sequence: Int, _ position: Int) -> UnsafeMutableRawPointer {
        base + (sequence * positions + position) * rowBytes
    }

    func store(keys: UnsafePointer<Float>, values: UnsafePointer<Float>, _ batch: Batch) {
        let length = shape.rowLength
        for index in 0..<batch.count {
            let row = self.keys(Int(batch.sequences[index]), Int(batch.positions[index]))
            format.encode(keys + index * length, count: length, into: row)
            format.encode(values + index * length, count: length, into: row + half)
        }
    }

    /// The first `count` positions of a sequence, as attention reads them.
    func rows(
        ofSequence sequence: Int, count: Int, shape: AttentionShape
    ) throws(ComputeError) -> (keys: CachedRows, values: CachedRows) {
        func rows(_ start: UnsafeMutableRawPointer) throws(ComputeError) -> CachedRows {
            try CachedRows(
                UnsafeRawBufferPointer(start: start, count: count * rowBytes), format: format, shape: shape,
                rowStride: rowBytes, headStride: headBytes, count: count)
        }
        let start = keys(sequence, 0)
        return (try rows(start), try rows(start + half))
    }

    func read(sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8] {
        try check(sequence, positions)
        let count = positions.count * rowBytes
        let start = keys(sequence, positions.lowerBound)
        return Array(UnsafeRawBufferPointer(start: start, count: count))
            + Array(UnsafeRawBufferPointer(start: start + half, count: count))
    }

    func write(sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>) throws(ComputeError) {
        try check(sequence, positions)
        let count = positions.count * rowBytes
        guard bytes.count == 2 * count else {
            throw ComputeError(.shape, "\(bytes.count) bytes for \(positions.count) positions of \(2 * rowBytes)")
        }
        let start = keys(sequence, positions.lowerBound)
        bytes.withUnsafeBytes { bytes in
            guard let source = bytes.baseAddress, count > 0 else { return }
            start.copyMemory(from: source, byteCount: count)
            (start + half).copyMemory(from: source + count, byteCount: count)
        }
    }

    private func check(_ sequence: Int, _ range: Range<Int>) throws(ComputeError) {
        guard sequence >= 0, sequence < sequences, range.lowerBound >= 0, range.upperBound <= positions else {
            throw ComputeError(
                .shape, "positions \(range) of sequence \(sequence): there are \(sequences) of \(positions)")
        }
    }
}
