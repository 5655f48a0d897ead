// SPDX-License-Identifier: Apache-2.0

/// How weights lie in a device's memory: what is read by sixteen bytes lies in one section, and what else blocks have
/// in sections of their own. No byte more than in the file, except where rows are no multiples of 32 weights.
///
///     F32, F16, BF16   the numbers, rows filled up with zeros to 32
///     Q8_0             32 bytes a block; halves d
///     Q4_0             16 bytes of nibbles; halves d
///     Q4_1             16 bytes of nibbles; d and m
///     Q5_0             16 bytes of nibbles; four bytes of fifth bits; halves d
///     Q4_K             16 bytes of nibbles for 32 weights, in Q4_0's order; for 256 d, dmin, 12 bytes of scales
///     Q5_K             the same; four bytes of fifth bits for 32 weights
///     Q6_K             16 bytes of nibbles for 32 weights; 16 scales for 256; eight bytes of two more bits for 32;
///                      halves d for 256
///
/// Rows lie one after the other, or in bundles: then the first unit of every row of a bundle, then the second of each.
struct WeightLayout {
    let format: BlockFormat
    let columns: Int
    /// Rows of a bundle: 1, or a power of two.
    let together: Int

    /// Blocks of 32 weights in a row.
    var blocks: Int { (columns + 31) / 32 }

    /// A section: of each row so many units of so many bytes.
    struct Section {
        let unit: Int
        let count: Int

        /// Bytes of a row.
        var row: Int { unit * count }

        init(_ unit: Int, _ count: Int) {
            self.unit = unit
            self.count = count
        }
    }

    /// What there is of each row.
    var sections: [Section] {
        switch format {
        case .f32: [Section(16, blocks * 8)]
        case .f16, .bf16: [Section(16, blocks * 4)]
        case .q8_0: [Section(16, blocks * 2), Section(2, blocks)]
        case .q4_0: [Section(16, blocks), Section(2, blocks)]
        case .q4_1: [Section(16, blocks), Section(4, blocks)]
        case .q5_0: [Section(16, blocks), Section(4, blocks), Section(2, blocks)]
        case .q4_K: [Section(16, blocks), Section(16, blocks / 8)]
        case .q5_K: [Section(16, blocks), Section(16, blocks / 8), Section(4, blocks)]
        case .q6_K: [Section(16, blocks), Section(16, blocks / 8), Section(8, blocks), Section(2, blocks / 8)]
        }
    }

    /// Rows in whole bundles.
    func padded(_ rows: Int) -> Int { (rows + together - 1) / together * together }

    /// Bytes of the unit in which kernels count from the start of memory to a section.
    func unit(ofSection section: Int) -> Int {
        section == 0 || section == 1 && (format == .q4_K || format == .q5_K) ? 16 : 4
    }

    /// Puts rows of a section, which lie one after the other in a file's order, to their places in it; `first` is the
    /// first one's number there.
    func pack(
        _ source: UnsafeRawPointer, rows: Int, first: Int, section: Int, into target: UnsafeMutableRawPointer
    ) {
        if together == 1 {
            return pack(source, rows: rows, section: section, into: target + first * sections[section].row)
        }
        let (unit, count) = (sections[section].unit, sections[section].count)
        let rowBytes = columns / format.blockLength * format.blockSize
        withUnsafeTemporaryAllocation(byteCount: unit * count, alignment: 16) { room in
            guard let packed = room.baseAddress else { return }
            for row in 0..<rows {
                pack(source + row * rowBytes, rows: 1, section: section, into: packed)
                let place = target + ((first + row) / together * count * together + (first + row) % together) * unit
                switch unit {
                case 16:
                    for index in 0..<count {
                        place.storeBytes(
                            of: packed.load(fromByteOffset: index * 16, as: SIMD16<UInt8>.self),
                            toByteOffset: index * together * 16, as: SIMD16<UInt8>.self)
                    }
                case 4:
                    for index in 0..<count {
                        place.storeBytes(
                            of: packed.load(fromByteOffset: index * 4, as: UInt32.self),
                            toByteOffset: index * together * 4, as: UInt32.self)
                    }
                default:
                    for index in 0..<count {
                        (place + index * together * unit).copyMemory(from: packed + index * unit, byteCount: unit)
                    }
                }
            }
        }
    }

    /// Puts rows of a section one after the other.
    private func pack(_ source: UnsafeRawPointer, rows: Int, section: Int, into target: UnsafeMutableRawPointer) {
        let rowBytes = sections[section].row
        guard format.isQuantized else {
            let bytes = columns * format.blockSize
            for row in 0..<rows {
                (target + row * rowBytes).copyMemory(from: source + row * bytes, byteCount: bytes)
                (target + row * rowBytes + bytes).initializeMemory(
                    as: UInt8.self, repeating: 0, count: rowBytes - bytes)
            }
            return
        }
        let blocks = rows * columns / format.blockLength
        switch (format, section) {
        case (.q8_0, 0): copy(source + 2, 32, blocks, target)
        case (.q8_0, _), (.q4_0, 1), (.q5_0, 2): copy(source, 2, blocks, target)
        case (.q4_0, _): copy(source + 2, 16, blocks, target)
        case (.q4_1, 0): copy(source + 4, 16, blocks, target)
        case (.q4_1, _): copy(source, 4, blocks, target)
        case (.q5_0, 0): copy(source + 6, 16, blocks, target)
        case (.q5_0, _): copy(source + 2, 4, blocks, target)
        case (.q4_K, 1), (.q5_K, 1): copy(source, 16, blocks, target)
        case (.q4_K, _): packNibbles(source + 16, blocks, target)
        case (.q5_K, 0): packNibbles(source + 48, blocks, target)
        case (.q5_K, _): packFifthBits(source + 16, blocks, target)
        case (.q6_K, 0): packSixBits(source, blocks, target)
        case (.q6_K, 1): copy(source + 192, 16, blocks, target)
        case (.q6_K, 2): packHighBits(source + 128, blocks, target)
        default: copy(source + 208, 2, blocks, target)
        }
    }

    /// Of each block of the file so many bytes.
    private func copy(_ source: UnsafeRawPointer, _ count: Int, _ blocks: Int, _ target: UnsafeMutableRawPointer) {
        let stride = format.blockSize
        switch count {
        case 16:
            for block in 0..<blocks {
                target.storeBytes(
                    of: (source + block * stride).loadUnaligned(as: SIMD16<UInt8>.self), toByteOffset: block * 16,
                    as: SIMD16<UInt8>.self)
            }
        case 4:
            for block in 0..<blocks {
                target.storeBytes(
                    of: (source + block * stride).loadUnaligned(as: UInt32.self), toByteOffset: block * 4,
                    as: UInt32.self)
            }
        default:
            for block in 0..<blocks {
                (target + block * count).copyMemory(from: source + block * stride, byteCount: count)
            }
        }
    }

    /// Of 64 weights the file has the first half in low nibbles, the second in high ones.
    private func packNibbles(_ source: UnsafeRawPointer, _ blocks: Int, _ target: UnsafeMutableRawPointer) {
        for block in 0..<blocks {
            for pair in 0..<4 {
                let bytes = source + block * format.blockSize + pair * 32
                let first = bytes.loadUnaligned(as: SIMD16<UInt8>.self)
                let second = (bytes + 16).loadUnaligned(as: SIMD16<UInt8>.self)
                let at = block * 128 + pair * 32
                target.storeBytes(of: first & 15 | second &<< 4, toByteOffset: at, as: SIMD16<UInt8>.self)
                target.storeBytes(of: first &>> 4 | second & 0xF0, toByteOffset: at + 16, as: SIMD16<UInt8>.self)
            }
        }
    }

    /// Bit k of byte i belongs to weight i of the block's run k.
    private func packFifthBits(_ source: UnsafeRawPointer, _ blocks: Int, _ target: UnsafeMutableRawPointer) {
        for block in 0..<blocks {
            let bytes = (source + block * format.blockSize).loadUnaligned(as: SIMD32<UInt8>.self)
            for run in 0..<8 {
                var word: UInt32 = 0
                for i in 0..<32 { word |= UInt32(bytes[i] >> UInt8(run) & 1) << UInt32(i) }
                target.storeBytes(of: word.littleEndian, toByteOffset: block * 32 + run * 4, as: UInt32.self)
            }
        }
    }

    private func packSixBits(_ source: UnsafeRawPointer, _ blocks: Int, _ target: UnsafeMutableRawPointer) {
        for block in 0..<blocks {
            for run in 0..<8 {
                let bytes = source + block * 210 + run / 4 * 64 + run % 2 * 32
                let shift = SIMD16<UInt8>(repeating: UInt8(run % 4 / 2 * 4))
                let first = bytes.loadUnaligned(as: SIMD16<UInt8>.self) &>> shift & 15
                let second = (bytes + 16).loadUnaligned(as: SIMD16<UInt8>.self) &>> shift & 15
                target.storeBytes(
                    of: first | second &<< 4, toByteOffset: block * 128 + run * 16, as: SIMD16<UInt8>.self)
            }
        }
    }

    private func packHighBits(_ source: UnsafeRawPointer, _ blocks: Int, _ target: UnsafeMutableRawPointer) {
        for block in 0..<blocks {
            for run in 0..<8 {
                let bytes = (source + block * 210 + run / 4 * 32).loadUnaligned(as: SIMD32<UInt8>.self)
                var word: UInt64 = 0
                for i in 0..<32 { word |= UInt64(bytes[i] >> UInt8(run % 4 * 2) & 3) << UInt64(2 * i) }
                target.storeBytes(of: word.littleEndian, toByteOffset: block * 64 + run * 8, as: UInt64.self)
            }
        }
    }
}
