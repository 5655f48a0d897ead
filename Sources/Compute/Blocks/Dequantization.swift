// SPDX-License-Identifier: Apache-2.0

/// What stored weights stand for, one after the other: the reference that every kernel is tested against.
extension BlockFormat {
    /// Weights of a tensor as single-precision numbers.
    ///
    /// - Parameters:
    ///   - bytes: whole blocks, at least as many as there are values to fill.
    ///   - values: takes the weights; their number must be that of whole blocks.
    public func dequantize(_ bytes: RawSpan, into values: inout MutableSpan<Float>) throws(ComputeError) {
        guard let needed = byteCount(of: values.count) else {
            throw ComputeError(
                .shape, "\(values.count) weights do not fill blocks of \(blockLength), which \(name) has")
        }
        guard bytes.byteCount >= needed else {
            throw ComputeError(
                .shape, "\(values.count) weights of \(name) take \(needed) bytes; there are \(bytes.byteCount)")
        }
        guard values.count > 0 else { return }
        let count = values.count
        bytes.withUnsafeBytes { bytes in
            values.withUnsafeMutableBufferPointer { values in
                if let source = bytes.baseAddress, let target = values.baseAddress {
                    dequantize(source, count: count, into: target)
                }
            }
        }
    }

    /// The same without checks; `count` fills whole blocks.
    package func dequantize(_ source: UnsafeRawPointer, count: Int, into target: UnsafeMutablePointer<Float>) {
        switch self {
        case .f32:
            UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count * 4)
        case .f16:
            for i in 0..<count { target[i] = source.half(at: i * 2) }
        case .bf16:
            for i in 0..<count {
                let bits = source.loadUnaligned(fromByteOffset: i * 2, as: UInt16.self)
                target[i] = Half.widenedBrain(UInt16(littleEndian: bits))
            }
        default:
            for index in 0..<count / 32 {
                let block = QuantizedBlock(self, source, index: index)
                block.write(to: target + index * 32)
            }
        }
    }
}

/// 32 weights of a row: `scale · quant + minimum`, with a scale for each sixteen of them.
struct QuantizedBlock {
    var quants: SIMD32<Int8>
    var scales: (Float, Float)
    var minimum: Float

    /// Unpacks weights `index * 32` and following of a row.
    @inline(__always)
    init(_ format: BlockFormat, _ row: UnsafeRawPointer, index: Int) {
        switch format {
        case .q4_0:
            let block = row + index * 18
            let quants = Self.nibbles(block + 2) &- SIMD32(repeating: 8)
            self.init(quants: quants, scale: block.half(at: 0), minimum: 0)
        case .q4_1:
            let block = row + index * 20
            self.init(quants: Self.nibbles(block + 4), scale: block.half(at: 0), minimum: block.half(at: 2))
        case .q5_0:
            let block = row + index * 22
            let bits = UInt32(littleEndian: block.loadUnaligned(fromByteOffset: 2, as: UInt32.self))
            var quants = Self.nibbles(block + 6)
            for i in 0..<32 where bits >> UInt32(i) & 1 != 0 { quants[i] |= 16 }
            self.init(quants: quants &- SIMD32(repeating: 16), scale: block.half(at: 0), minimum: 0)
        case .q8_0:
            let block = row + index * 34
            self.init(
                quants: block.loadUnaligned(fromByteOffset: 2, as: SIMD32<Int8>.self), scale: block.half(at: 0),
                minimum: 0)
        case .q4_K:
            let block = row + index / 8 * 144
            self.init(superblock: block, quants: Self.nibbles(block + 16, index % 8), index: index % 8)
        case .q5_K:
            let block = row + index / 8 * 176
            let sub = index % 8
            let fifth = (block + 16).loadUnaligned(as: SIMD32<UInt8>.self) &>> UInt8(sub)
            let quants = Self.nibbles(block + 48, sub) | SIMD32<Int8>(truncatingIfNeeded: (fifth & 1) &<< 4)
            self.init(superblock: block, quants: quants, index: sub)
        default:
            // Q6_K: each half of the block has 64 bytes of low nibbles, 32 bytes of high pairs of bits and 8 scales.
            let half = index % 8 / 4
            let quarter = index % 4
            let block = row + index / 8 * 210
            let low = (block + half * 64 + quarter % 2 * 32).loadUnaligned(as: SIMD32<UInt8>.self)
            let high = (block + 128 + half * 32).loadUnaligned(as: SIMD32<UInt8>.self)
            let four = (low &>> UInt8(quarter / 2 * 4)) & 15
            let two = (high &>> UInt8(quarter * 2)) & 3
            let quants = SIMD32<Int8>(truncatingIfNeeded: four | (two &<< 4)) &- SIMD32(repeating: 32)
            let scale = block.half(at: 208)
            let first = block.load(fromByteOffset: 192 + half * 8 + quarter * 2, as: Int8.self)
            let second = block.load(fromByteOffset: 193 + half * 8 + quarter * 2, as: Int8.self)
            self.init(quants: quants, scale: scale * Float(first), minimum: 0)
            scales.1 = scale * Float(second)
        }
    }

    private init(quants: SIMD32<Int8>, scale: Float, minimum: Float) {
        self.quants = quants
        scales = (scale, scale)
        self.minimum = minimum
    }

    /// The eight scales and eight minima of a Q4_K or Q5_K block lie in twelve bytes: the lower four of each in six bits
    /// of bytes 0 to 7, of the upper four the low nibbles in bytes 8 to 11 and the two bits above in what bytes 0 to 7
    /// have left.
    @inline(__always)
    private init(superblock: UnsafeRawPointer, quants: SIMD32<Int8>, index: Int) {
        func byte(_ offset: Int) -> UInt8 { superblock.load(fromByteOffset: 4 + offset, as: UInt8.self) }
        let scale: UInt8
        let minimum: UInt8
        if index < 4 {
            scale = byte(index) & 63
            minimum = byte(index + 4) & 63
        } else {
            scale = (byte(index + 4) & 15) | (byte(index - 4) >> 6) << 4
            minimum = (byte(index + 4) >> 4) | (byte(index) >> 6) << 4
        }
        self.init(
            quants: quants, scale: superblock.half(at: 0) * Float(scale),
            minimum: -(superblock.half(at: 2) * Float(minimum)))
    }

    /// 32 nibbles of 16 bytes: the low ones first.
    @inline(__always)
    private static func nibbles(_ bytes: UnsafeRawPointer) -> SIMD32<Int8> {
        let packed = bytes.loadUnaligned(as: SIMD16<UInt8>.self)
        return SIMD32(
            lowHalf: SIMD16(truncatingIfNeeded: packed & 15), highHalf: SIMD16(truncatingIfNeeded: packed &>> 4))
    }

    /// Of 32 bytes for each two runs of 32 weights, the low or the high nibbles.
    @inline(__always)
    private static func nibbles(_ bytes: UnsafeRawPointer, _ sub: Int) -> SIMD32<Int8> {
        let packed = (bytes + sub / 2 * 32).loadUnaligned(as: SIMD32<UInt8>.self)
        return SIMD32(truncatingIfNeeded: (packed &>> UInt8(sub % 2 * 4)) & 15)
    }

    /// The weights as numbers. A product is rounded before the minimum is added to it.
    @inline(__always)
    func write(to target: UnsafeMutablePointer<Float>) {
        let low = SIMD16<Float>(quants.lowHalf) * scales.0 + minimum
        let high = SIMD16<Float>(quants.highHalf) * scales.1 + minimum
        let bytes = UnsafeMutableRawPointer(target)
        bytes.storeBytes(of: low, as: SIMD16<Float>.self)
        bytes.storeBytes(of: high, toByteOffset: 64, as: SIMD16<Float>.self)
    }
}

extension BlockFormat {
    /// All weights of whole blocks, as single-precision numbers; bytes after the last whole block are left out.
    public func numbers(_ bytes: UnsafeRawBufferPointer) -> [Float] {
        let count = bytes.count / blockSize * blockLength
        guard let base = bytes.baseAddress, count > 0 else { return [] }
        return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            if let target = buffer.baseAddress { dequantize(base, count: count, into: target) }
            initialized = count
        }
    }
}
