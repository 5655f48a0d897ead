// SPDX-License-Identifier: Apache-2.0

/// How many blocks are compressed at a time, and with which instructions.
enum BLAKE3Kernel: Sendable, CaseIterable {
    /// One block at a time, on any processor.
    case scalar

    /// The fastest that this processor runs.
    static let best = BLAKE3Kernel.scalar

    /// Whether this processor has the instructions.
    var isSupported: Bool { true }

    /// Chaining values of `count` whole chunks that lie one after the other.
    func chunks(
        _ input: UnsafeRawPointer, count: Int, counter: UInt64, key: SIMD8<UInt32>, flags: UInt32,
        into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) {
        for index in 0..<count {
            var value = key
            for block in 0..<16 {
                var blockFlags = flags
                if block == 0 { blockFlags |= BLAKE3Constants.chunkStart }
                if block == 15 { blockFlags |= BLAKE3Constants.chunkEnd }
                let words = input.loadUnaligned(
                    fromByteOffset: index * BLAKE3Constants.chunkLength + block * BLAKE3Constants.blockLength,
                    as: SIMD16<UInt32>.self)
                value = compress(
                    value, words, blockLength: 64, counter: counter &+ UInt64(index), flags: blockFlags
                ).lowHalf
            }
            values[index] = value
        }
    }

    /// Values of `count` parents over twice as many children; `values` may be `children`, its front is then replaced.
    func parents(
        _ children: UnsafePointer<SIMD8<UInt32>>, count: Int, key: SIMD8<UInt32>, flags: UInt32,
        into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) {
        for index in 0..<count {
            let words = SIMD16(lowHalf: children[2 * index], highHalf: children[2 * index + 1])
            values[index] = compress(key, words, blockLength: 64, counter: 0, flags: flags).lowHalf
        }
    }
}
