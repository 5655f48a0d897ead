// SPDX-License-Identifier: Apache-2.0

extension BLAKE3 {
    /// What the three modes differ in (specification §2.3), and the work on the tree that is the same in all of them.
    struct Mode: Sendable {
        /// The first chaining value of every chunk and parent.
        let key: SIMD8<UInt32>
        /// The mode's flags, set in every compression.
        let flags: UInt32
        /// How to compress many blocks at a time.
        let kernel: BLAKE3Kernel

        init(key: SIMD8<UInt32>, flags: UInt32, kernel: BLAKE3Kernel = .best) {
            self.key = key
            self.flags = flags
            self.kernel = kernel
        }

        static var hash: Mode { Mode(key: BLAKE3Constants.iv, flags: 0) }
    }

    /// Chunks that are hashed in one go, 1 MiB: large enough that the narrow top of a subtree costs nothing, small
    /// enough for a second-level cache.
    static let segmentChunks = 1024
    /// Bytes of such a segment.
    static let segmentLength = segmentChunks * BLAKE3Constants.chunkLength
}

extension BLAKE3.Mode {
    /// Chaining values of the chunks of `bytes`, the last of which may be short, written to `values`; their number.
    ///
    /// - Parameter counter: number of the first chunk in the whole input.
    func chunkValues(
        of bytes: UnsafeRawBufferPointer, counter: UInt64, into values: UnsafeMutablePointer<SIMD8<UInt32>>
    ) -> Int {
        let whole = bytes.count / BLAKE3Constants.chunkLength
        if whole > 0, let base = bytes.baseAddress {
            kernel.chunks(base, count: whole, counter: counter, key: key, flags: flags, into: values)
        }
        let used = whole * BLAKE3Constants.chunkLength
        guard used < bytes.count || whole == 0 else { return whole }
        var last = ChunkState(mode: self, counter: counter &+ UInt64(whole))
        last.update(UnsafeRawBufferPointer(rebasing: bytes[used...]))
        values[whole] = last.finish().output()
        return whole + 1
    }

    /// Merges neighbours, level by level, until no more than `limit` values are left; their number.
    ///
    /// A value without a neighbour moves up unchanged, which gives exactly the tree of specification §2.1: every left
    /// subtree is the largest power of two of chunks that leaves something to its right.
    func merge(_ values: UnsafeMutablePointer<SIMD8<UInt32>>, count: Int, downTo limit: Int) -> Int {
        var count = count
        while count > limit {
            let pairs = count / 2
            kernel.parents(values, count: pairs, key: key, flags: flags | BLAKE3Constants.parent, into: values)
            if count % 2 == 1 { values[pairs] = values[count - 1] }
            count = pairs + count % 2
        }
        return count
    }

    /// Chaining value, not of a root, of a subtree of at most a segment.
    func subtreeValue(of bytes: UnsafeRawBufferPointer, counter: UInt64) -> SIMD8<UInt32> {
        withValues(BLAKE3.chunkCount(bytes.count)) { values in
            let count = chunkValues(of: bytes, counter: counter, into: values)
            _ = merge(values, count: count, downTo: 1)
            return values[0]
        }
    }

    /// The two children of the root of a subtree of at most a segment and more than one chunk.
    func subtreeChildren(
        of bytes: UnsafeRawBufferPointer, counter: UInt64
    ) -> (SIMD8<UInt32>, SIMD8<UInt32>) {
        withValues(BLAKE3.chunkCount(bytes.count)) { values in
            let count = chunkValues(of: bytes, counter: counter, into: values)
            _ = merge(values, count: count, downTo: 2)
            return (values[0], values[1])
        }
    }

    /// The root over the values of equal subtrees, in order, of which the last may be short; at least two.
    func root(over values: UnsafeMutablePointer<SIMD8<UInt32>>, count: Int) -> Node {
        _ = merge(values, count: count, downTo: 2)
        return Node.parent(values[0], values[1], key: key, flags: flags)
    }

    /// The root of the tree over a whole input, hashed by up to `threads` threads.
    func root(of bytes: UnsafeRawBufferPointer, threads: Int) -> Node {
        if bytes.count <= BLAKE3Constants.chunkLength {
            var chunk = ChunkState(mode: self, counter: 0)
            chunk.update(bytes)
            return chunk.finish()
        }
        if bytes.count <= BLAKE3.segmentLength {
            let (left, right) = subtreeChildren(of: bytes, counter: 0)
            return Node.parent(left, right, key: key, flags: flags)
        }
        let count = BLAKE3.segmentCount(bytes.count)
        return withValues(count) { values in
            // Each value is written by the one thread that took its number, and read after all threads have ended.
            nonisolated(unsafe) let values = values
            nonisolated(unsafe) let bytes = bytes
            let segments = WorkList(count: count)
            Workers.run(threads: min(threads, count)) {
                while let segment = segments.next() {
                    let part = UnsafeRawBufferPointer(rebasing: bytes[BLAKE3.segmentRange(segment, of: bytes.count)])
                    values[segment] = subtreeValue(of: part, counter: UInt64(segment * BLAKE3.segmentChunks))
                }
            }
            return root(over: values, count: count)
        }
    }

    /// Room for some values, of which there is at least one.
    func withValues<Result, Failure: Error>(
        _ count: Int, _ body: (UnsafeMutablePointer<SIMD8<UInt32>>) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let values = UnsafeMutablePointer<SIMD8<UInt32>>.allocate(capacity: count)
        defer { values.deallocate() }
        return try body(values)
    }
}

extension BLAKE3 {
    /// How many chunks an input has, the last of which may be short; an empty input has one.
    static func chunkCount(_ byteCount: Int) -> Int {
        max(1, byteCount / BLAKE3Constants.chunkLength + (byteCount % BLAKE3Constants.chunkLength == 0 ? 0 : 1))
    }

    /// How many segments an input has, the last of which may be short.
    static func segmentCount(_ byteCount: Int) -> Int {
        byteCount / segmentLength + (byteCount % segmentLength == 0 ? 0 : 1)
    }

    /// Where one segment of an input lies.
    static func segmentRange(_ index: Int, of byteCount: Int) -> Range<Int> {
        index * segmentLength..<min(byteCount, (index + 1) * segmentLength)
    }
}
