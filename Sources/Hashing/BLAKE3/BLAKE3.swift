// SPDX-License-Identifier: Apache-2.0

/// BLAKE3 over an input that arrives in pieces: hash, keyed hash and key derivation, with output of any length.
///
/// For input that lies in memory whole ``hash(_:threads:)-([UInt8],_)`` does the same in one call, on several cores.
/// Pieces of some KiB and more are hashed many chunks at a time; the split into pieces never changes the result.
public struct BLAKE3: Sendable {
    private let mode: Mode
    private var chunk: ChunkState
    /// Values of finished subtrees from left to right, each larger than the next; the last two may be equal in size
    /// and still unmerged, because their parent is the root if nothing follows.
    private var stack: [SIMD8<UInt32>] = []

    /// The plain hash.
    public init() {
        self.init(mode: .hash)
    }

    /// The keyed hash, a message authentication code; the key has exactly 32 bytes.
    public init(key: [UInt8]) {
        self.init(mode: Mode(key: Digest(bytes: key).words, flags: BLAKE3Constants.keyedHash))
    }

    /// The key derivation: what is hashed is key material, and `deriveKeyContext` names, once for all the world, what
    /// the derived key is for (specification §2.3).
    public init(deriveKeyContext: String) {
        var context = BLAKE3(mode: Mode(key: BLAKE3Constants.iv, flags: BLAKE3Constants.deriveKeyContext))
        var text = deriveKeyContext
        text.withUTF8 { context.update(UnsafeRawBufferPointer($0)) }
        self.init(
            mode: Mode(key: context.root().rootDigest(), flags: BLAKE3Constants.deriveKeyMaterial))
    }

    init(mode: Mode) {
        self.mode = mode
        chunk = ChunkState(mode: mode, counter: 0)
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { update($0) }
    }

    /// Takes the next bytes of the input.
    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        if chunk.count > 0 {
            take(min(rest.count, chunk.space), from: &rest)
            if rest.isEmpty { return }
            finishChunk()
        }
        // While more than a chunk is left, the largest subtree that begins here and fits is hashed in one go.
        while rest.count > BLAKE3Constants.chunkLength {
            let counter = chunk.counter
            let fitting = rest.count / BLAKE3Constants.chunkLength
            var chunks = min(1 << (Int.bitWidth - 1 - fitting.leadingZeroBitCount), BLAKE3.segmentChunks)
            if counter > 0 { chunks = min(chunks, 1 << min(counter.trailingZeroBitCount, 62)) }
            let count = chunks * BLAKE3Constants.chunkLength
            let part = UnsafeRawBufferPointer(rebasing: rest[..<count])
            if chunks == 1 {
                push(mode.subtreeValue(of: part, counter: counter), after: counter)
            } else {
                let (left, right) = mode.subtreeChildren(of: part, counter: counter)
                push(left, after: counter)
                push(right, after: counter + UInt64(chunks / 2))
            }
            chunk = ChunkState(mode: mode, counter: counter + UInt64(chunks))
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
        if !rest.isEmpty {
            mergeStack(chunksBefore: chunk.counter)
            take(rest.count, from: &rest)
        }
    }

    /// The 32-byte hash of what was taken so far; more may be taken after it.
    public func finalize() -> [UInt8] {
        digest().bytes
    }

    /// The 32-byte hash of what was taken so far; more may be taken after it.
    public func digest() -> Digest {
        Digest(words: root().rootDigest())
    }

    /// The first `count` bytes of the extended output (specification §2.6), of which ``finalize()`` is the first 32.
    public func finalize(count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            finalize(into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count))
            initialized = count
        }
    }

    /// Fills `output` with the extended output from its byte `offset` on.
    public func finalize(into output: UnsafeMutableRawBufferPointer, from offset: UInt64 = 0) {
        let root = root()
        let blockLength = BLAKE3Constants.blockLength
        var index = offset / UInt64(blockLength)
        var skip = Int(offset % UInt64(blockLength))
        var done = 0
        while done < output.count {
            let take = min(blockLength - skip, output.count - done)
            withUnsafeBytes(of: root.rootBlock(index)) { block in
                UnsafeMutableRawBufferPointer(rebasing: output[done...]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: block[skip..<skip + take]))
            }
            done += take
            skip = 0
            index &+= 1
        }
    }

    private func root() -> Node {
        var stack = self.stack[...]
        var node: Node
        if chunk.count > 0 || stack.isEmpty {
            node = chunk.finish()
        } else {
            // A subtree ended exactly here, so that at least its two halves are on the stack.
            let right = stack.removeLast()
            node = Node.parent(stack.removeLast(), right, key: mode.key, flags: mode.flags)
        }
        while let left = stack.popLast() {
            node = Node.parent(left, node.output(), key: mode.key, flags: mode.flags)
        }
        return node
    }

    private mutating func take(_ count: Int, from rest: inout UnsafeRawBufferPointer) {
        chunk.update(UnsafeRawBufferPointer(rebasing: rest[..<count]))
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }

    private mutating func finishChunk() {
        push(chunk.finish().output(), after: chunk.counter)
        chunk = ChunkState(mode: mode, counter: chunk.counter + 1)
    }

    private mutating func push(_ value: SIMD8<UInt32>, after chunksBefore: UInt64) {
        mergeStack(chunksBefore: chunksBefore)
        stack.append(value)
    }

    /// Merges what is known not to be the root: after n chunks one subtree remains for each bit set in n.
    private mutating func mergeStack(chunksBefore: UInt64) {
        while stack.count > chunksBefore.nonzeroBitCount {
            let right = stack.removeLast()
            let left = stack.removeLast()
            stack.append(Node.parent(left, right, key: mode.key, flags: mode.flags).output())
        }
    }
}
