// SPDX-License-Identifier: Apache-2.0

/// Keys and values in and out: rows of blocks in the order of files, here in sections of bytes and of scales.
extension VulkanExecutable {
    func readCache(_ cache: CacheID, sequence: Int, positions: Range<Int>) throws(ComputeError) -> [UInt8] {
        let pieces = try pieces(cache, sequence, positions)
        var bytes = [UInt8](repeating: 0, count: pieces.total)
        try bytes.withUnsafeMutableBufferPointer { bytes throws(ComputeError) in
            guard let first = bytes.baseAddress else { return }
            let base = UnsafeMutableRawPointer(first)
            for piece in pieces.list {
                try staging.read(piece.rows.count, from: piece.block, at: piece.rows.lowerBound) {
                    source, start, length in
                    for at in stride(from: 0, to: length, by: piece.unit) {
                        (base + piece.target + (start + at) / piece.unit * piece.stride).copyMemory(
                            from: source + at, byteCount: min(piece.kept, piece.unit))
                    }
                }
            }
        }
        return bytes
    }

    func writeCache(
        _ cache: CacheID, sequence: Int, positions: Range<Int>, _ bytes: Span<UInt8>
    ) throws(ComputeError) {
        let pieces = try pieces(cache, sequence, positions)
        guard bytes.count == pieces.total else {
            throw ComputeError(.shape, "\(bytes.count) bytes for \(positions.count) positions of \(pieces.total)")
        }
        try bytes.withUnsafeBytes { bytes throws(ComputeError) in
            guard let base = bytes.baseAddress else { return }
            for piece in pieces.list {
                try staging.write(
                    piece.rows.count, unit: piece.unit, to: piece.block, at: piece.rows.lowerBound
                ) { target, start, length in
                    target.initializeMemory(as: UInt8.self, repeating: 0, count: length)
                    for at in stride(from: 0, to: length, by: piece.unit) {
                        (target + at).copyMemory(
                            from: base + piece.target + (start + at) / piece.unit * piece.stride,
                            byteCount: min(piece.kept, piece.unit))
                    }
                }
            }
        }
    }

    /// Bytes of a section: units of so many bytes, of which some are kept, and where they go.
    private struct Piece {
        let block: VulkanBlock
        let rows: Range<Int>
        let unit, kept, target, stride: Int
    }

    private func pieces(
        _ cache: CacheID, _ sequence: Int, _ positions: Range<Int>
    ) throws(ComputeError) -> (list: [Piece], total: Int) {
        guard program.caches.indices.contains(cache.index), sequence >= 0, sequence < options.sequences,
            positions.lowerBound >= 0, positions.upperBound <= options.positions
        else {
            throw ComputeError(.shape, "positions \(positions) of sequence \(sequence) of cache \(cache.index)")
        }
        let place = rows.caches[cache.index]
        let block = rows.block(place)
        let length = program[cache].rowLength
        let count = positions.count * length
        let first = (sequence * options.positions + positions.lowerBound) * length
        let format = options.cacheFormat
        let bytes = count / format.blockLength * format.blockSize
        var list: [Piece] = []
        guard count > 0 else { return ([], 0) }
        for (index, (section, scales)) in [(place.keys, place.keyScales), (place.values, place.valueScales)]
            .enumerated()
        {
            if format.isQuantized {
                // A half, kept in four bytes, and 32 bytes.
                list.append(
                    Piece(
                        block: block, rows: scales + first / 8..<scales + (first + count) / 8, unit: 4, kept: 2,
                        target: index * bytes, stride: format.blockSize))
                list.append(
                    Piece(
                        block: block, rows: section + first..<section + first + count, unit: 32, kept: 32,
                        target: index * bytes + 2, stride: format.blockSize))
            } else {
                let size = format.blockSize
                let unit = length * size
                list.append(
                    Piece(
                        block: block, rows: section + first * size..<section + (first + count) * size, unit: unit,
                        kept: unit, target: index * bytes, stride: unit))
            }
        }
        return (list, 2 * bytes)
    }
}
