// SPDX-License-Identifier: Apache-2.0

internal import CProcessor
#if arch(x86_64)
internal import HashingAVX2
internal import HashingAVX512
internal import HashingSSE41
#endif

/// How many inputs are compressed at a time, and with which instructions.
///
/// Which one is used never changes a result. The choice is made once a process; benchmarks and tests may name another.
package enum BLAKE3Kernel: String, Sendable, CaseIterable {
    /// One at a time; the reference that the others are tested against.
    case scalar
    /// Four lanes of the instructions that every processor of the architecture has (SSE2, NEON).
    case portable
    #if arch(x86_64)
    /// Four lanes.
    case sse41
    /// Eight lanes, and fewer where fewer inputs are left.
    case avx2
    /// Sixteen lanes, and fewer where fewer inputs are left.
    case avx512
    #endif

    /// The fastest that this processor runs.
    package static let best = supported.last ?? .scalar

    /// Those that this processor runs, the slowest first.
    package static var supported: [BLAKE3Kernel] { allCases.filter(\.isSupported) }

    private static let features = processor_features()

    /// Whether this processor has the instructions.
    package var isSupported: Bool {
        switch self {
        case .scalar, .portable: true
        #if arch(x86_64)
        case .sse41: Self.features.sse41
        case .avx2: Self.features.avx2
        case .avx512: Self.features.avx512 && Self.features.avx2
        #endif
        }
    }

    /// Chaining values of `count` whole chunks that lie one after the other, the first of them number `counter`.
    func chunks(
        _ input: UnsafeRawPointer, count: Int, counter: UInt64, key: SIMD8<UInt32>, flags: UInt32,
        into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) {
        compress(
            input, Batch(
                stride: BLAKE3Constants.chunkLength, blocks: 16, counterStep: 1,
                flags: (flags, BLAKE3Constants.chunkStart, BLAKE3Constants.chunkEnd)),
            count: count, counter: counter, key: key, into: values)
    }

    /// Values of `count` parents over twice as many children; `values` may be `children`, its front is then replaced.
    func parents(
        _ children: UnsafePointer<SIMD8<UInt32>>, count: Int, key: SIMD8<UInt32>, flags: UInt32,
        into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) {
        compress(
            UnsafeRawPointer(children),
            Batch(stride: BLAKE3Constants.blockLength, blocks: 1, counterStep: 0, flags: (flags, 0, 0)),
            count: count, counter: 0, key: key, into: values)
    }

    /// What chunks and parents differ in.
    private struct Batch {
        let stride: Int
        let blocks: Int
        let counterStep: UInt32
        let flags: (every: UInt32, first: UInt32, last: UInt32)
    }

    private func compress(
        _ input: UnsafeRawPointer, _ batch: Batch, count: Int, counter: UInt64, key: SIMD8<UInt32>,
        into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) {
        var done = 0
        while done < count {
            let (kernel, lanes) = widest(for: count - done)
            let take = min(lanes, count - done)
            kernel.compressOnce(
                input + done * batch.stride, batch, count: take,
                counter: counter &+ UInt64(done) * UInt64(batch.counterStep), key: key,
                output: UnsafeMutableRawPointer(values + done))
            done += take
        }
    }

    /// The kernel for a number of inputs that are left. Spare lanes cost less than a second pass.
    private func widest(for count: Int) -> (BLAKE3Kernel, lanes: Int) {
        if count == 1 { return (.scalar, 1) }
        switch self {
        case .scalar: return (.scalar, 1)
        case .portable: return (.portable, 4)
        #if arch(x86_64)
        case .sse41: return (.sse41, 4)
        case .avx2: return count <= 4 ? (.sse41, 4) : (.avx2, 8)
        case .avx512: return count <= 4 ? (.sse41, 4) : count <= 8 ? (.avx2, 8) : (.avx512, 16)
        #endif
        }
    }

    /// One pass over no more inputs than there are lanes.
    private func compressOnce(
        _ input: UnsafeRawPointer, _ batch: Batch, count: Int, counter: UInt64, key: SIMD8<UInt32>,
        output: UnsafeMutableRawPointer
    ) {
        withUnsafeBytes(of: key) { key in
            // A value that is not empty has an address.
            guard let key = key.baseAddress else { return }
            switch self {
            case .scalar:
                compressScalar(input, batch, key: key, counter: counter, output: output)
            case .portable:
                compressLanes(
                    input, stride: batch.stride, count: count, blocks: batch.blocks, key: key, counter: counter,
                    counterStep: batch.counterStep, flags: batch.flags, output: output)
            #if arch(x86_64)
            case .sse41:
                HashingSSE41.compressLanes(
                    input, stride: batch.stride, count: count, blocks: batch.blocks, key: key, counter: counter,
                    counterStep: batch.counterStep, flags: batch.flags, output: output)
            case .avx2:
                HashingAVX2.compressLanes(
                    input, stride: batch.stride, count: count, blocks: batch.blocks, key: key, counter: counter,
                    counterStep: batch.counterStep, flags: batch.flags, output: output)
            case .avx512:
                HashingAVX512.compressLanes(
                    input, stride: batch.stride, count: count, blocks: batch.blocks, key: key, counter: counter,
                    counterStep: batch.counterStep, flags: batch.flags, output: output)
            #endif
            }
        }
    }

    private func compressScalar(
        _ input: UnsafeRawPointer, _ batch: Batch, key: UnsafeRawPointer, counter: UInt64,
        output: UnsafeMutableRawPointer
    ) {
        var value = key.loadUnaligned(as: SIMD8<UInt32>.self)
        for block in 0..<batch.blocks {
            var flags = batch.flags.every
            if block == 0 { flags |= batch.flags.first }
            if block == batch.blocks - 1 { flags |= batch.flags.last }
            let words = input.loadUnaligned(
                fromByteOffset: block * BLAKE3Constants.blockLength, as: SIMD16<UInt32>.self)
            value = Hashing.compress(
                value, words, blockLength: UInt32(BLAKE3Constants.blockLength), counter: counter, flags: flags
            ).lowHalf
        }
        output.storeBytes(of: value, as: SIMD8<UInt32>.self)
    }
}
