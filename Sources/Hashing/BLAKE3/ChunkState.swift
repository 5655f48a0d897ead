// SPDX-License-Identifier: Apache-2.0

/// A chunk (specification §2.4) that is still being filled, at most 1,024 bytes.
struct ChunkState {
    /// The number of this chunk in its input.
    let counter: UInt64
    private let flags: UInt32
    private var chainingValue: SIMD8<UInt32>
    private var block = SIMD16<UInt32>()
    private var blockLength = 0
    private var blocksCompressed = 0

    init(mode: BLAKE3.Mode, counter: UInt64) {
        self.counter = counter
        flags = mode.flags
        chainingValue = mode.key
    }

    /// How many bytes it holds.
    var count: Int { blocksCompressed * BLAKE3Constants.blockLength + blockLength }

    /// How many bytes it still takes.
    var space: Int { BLAKE3Constants.chunkLength - count }

    /// Takes bytes, no more of them than there is space.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = bytes
        while !rest.isEmpty {
            // A full block waits for the byte after it: whether it is the chunk's last decides its flags.
            if blockLength == BLAKE3Constants.blockLength {
                chainingValue = node(end: 0).output()
                blocksCompressed += 1
                block = SIMD16()
                blockLength = 0
            }
            let take = min(rest.count, BLAKE3Constants.blockLength - blockLength)
            withUnsafeMutableBytes(of: &block) { words in
                UnsafeMutableRawBufferPointer(rebasing: words[blockLength...]).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: rest[..<take]))
            }
            blockLength += take
            rest = UnsafeRawBufferPointer(rebasing: rest[take...])
        }
    }

    /// The chunk's last compression.
    func finish() -> Node {
        node(end: BLAKE3Constants.chunkEnd)
    }

    private func node(end: UInt32) -> Node {
        let start = blocksCompressed == 0 ? BLAKE3Constants.chunkStart : 0
        return Node(
            chainingValue: chainingValue, block: block, blockLength: UInt32(blockLength), counter: counter,
            flags: flags | start | end)
    }
}
