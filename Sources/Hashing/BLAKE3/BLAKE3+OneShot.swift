// SPDX-License-Identifier: Apache-2.0

extension BLAKE3 {
    /// Bytes of a group, the unit in which shards are verified.
    public static let groupLength = 131_072

    /// The hash of `bytes`, computed by up to `threads` cores.
    public static func hash(_ bytes: [UInt8], threads: Int = 1) -> Digest {
        bytes.withUnsafeBytes { hash($0, threads: threads) }
    }

    /// The hash of `bytes`, computed by up to `threads` cores.
    public static func hash(_ bytes: RawSpan, threads: Int = 1) -> Digest {
        bytes.withUnsafeBytes { hash($0, threads: threads) }
    }

    /// The hash of `bytes`, computed by up to `threads` cores.
    public static func hash(_ bytes: UnsafeRawBufferPointer, threads: Int = 1) -> Digest {
        Digest(words: Mode.hash.root(of: bytes, threads: threads).rootDigest())
    }

    /// The same with a kernel that need not be the fastest, for benchmarks; it must be one that this processor runs.
    package static func hash(_ bytes: UnsafeRawBufferPointer, threads: Int = 1, kernel: BLAKE3Kernel) -> Digest {
        let mode = Mode(key: BLAKE3Constants.iv, flags: 0, kernel: kernel)
        return Digest(words: mode.root(of: bytes, threads: threads).rootDigest())
    }

    /// The name of the instructions with which this process hashes: `avx512`, `avx2`, `sse41` or `portable`.
    public static var instructionSet: String { BLAKE3Kernel.best.rawValue }

    /// The value of a subtree that is not the whole input: of a group, say.
    ///
    /// - Parameters:
    ///   - bytes: at most a group; shorter only where the input ends.
    ///   - chunkCounter: number of its first chunk, which is where it begins in the input divided by 1,024; a multiple
    ///     of 128 for groups.
    public static func chainingValue(ofSubtree bytes: UnsafeRawBufferPointer, chunkCounter: UInt64) -> Digest {
        precondition(bytes.count <= segmentLength, "the subtree is too large to be hashed in one go")
        return Digest(words: Mode.hash.subtreeValue(of: bytes, counter: chunkCounter))
    }

    /// The value of a subtree that is not the whole input: of a group, say.
    public static func chainingValue(ofSubtree bytes: RawSpan, chunkCounter: UInt64) -> Digest {
        bytes.withUnsafeBytes { chainingValue(ofSubtree: $0, chunkCounter: chunkCounter) }
    }

    /// The value of a subtree that is not the whole input: of a group, say.
    public static func chainingValue(ofSubtree bytes: [UInt8], chunkCounter: UInt64) -> Digest {
        bytes.withUnsafeBytes { chainingValue(ofSubtree: $0, chunkCounter: chunkCounter) }
    }

    /// The hash of the input whose groups have these values, in order; at least two.
    public static func rootFromGroups(_ values: [Digest]) -> Digest {
        precondition(values.count >= 2, "an input of one group is its own root")
        var words = values.map(\.words)
        return words.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("an array with elements has an address") }
            return Digest(words: Mode.hash.root(over: base, count: buffer.count).rootDigest())
        }
    }
}
