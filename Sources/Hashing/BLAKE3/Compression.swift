// SPDX-License-Identifier: Apache-2.0

/// The numbers of the BLAKE3 specification that every part of the implementation shares.
enum BLAKE3Constants {
    /// Bytes in a block (§2.1).
    static let blockLength = 64
    /// Bytes in a chunk, a leaf of the tree (§2.1).
    static let chunkLength = 1024

    /// The initialization vector, SHA-256's (§2.2, table 1).
    static let iv = SIMD8<UInt32>(
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A, 0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19)

    // Domain separation flags (§2.2, table 3).
    static let chunkStart: UInt32 = 1 << 0
    static let chunkEnd: UInt32 = 1 << 1
    static let parent: UInt32 = 1 << 2
    static let root: UInt32 = 1 << 3
    static let keyedHash: UInt32 = 1 << 4
    static let deriveKeyContext: UInt32 = 1 << 5
    static let deriveKeyMaterial: UInt32 = 1 << 6
}

/// One compression (specification §2.2) whose last steps are still open, because only its reader knows whether it is
/// the root and how many bytes of output it is to give.
struct Node {
    var chainingValue: SIMD8<UInt32>
    var block: SIMD16<UInt32>
    var blockLength: UInt32
    var counter: UInt64
    var flags: UInt32

    /// A parent over the values of its two children.
    static func parent(
        _ left: SIMD8<UInt32>, _ right: SIMD8<UInt32>, key: SIMD8<UInt32>, flags: UInt32
    ) -> Node {
        Node(
            chainingValue: key, block: SIMD16(lowHalf: left, highHalf: right),
            blockLength: UInt32(BLAKE3Constants.blockLength), counter: 0, flags: flags | BLAKE3Constants.parent)
    }

    /// What this node hands to its parent.
    func output() -> SIMD8<UInt32> {
        compress(chainingValue, block, blockLength: blockLength, counter: counter, flags: flags).lowHalf
    }

    /// What the whole hash is when this node is the root.
    func rootDigest() -> SIMD8<UInt32> {
        compress(chainingValue, block, blockLength: blockLength, counter: 0, flags: flags | BLAKE3Constants.root)
            .lowHalf
    }

    /// The 64 bytes of extended output that begin at 64 × `index` (§2.6).
    func rootBlock(_ index: UInt64) -> SIMD16<UInt32> {
        compress(chainingValue, block, blockLength: blockLength, counter: index, flags: flags | BLAKE3Constants.root)
    }
}

/// The compression function (specification §2.2): seven rounds over sixteen words.
///
/// The first eight words of the result are the chaining value; all sixteen are used by extended output alone.
func compress(
    _ chainingValue: SIMD8<UInt32>, _ block: SIMD16<UInt32>, blockLength: UInt32, counter: UInt64, flags: UInt32
) -> SIMD16<UInt32> {
    var v = Rounds(
        chainingValue, counterLow: UInt32(truncatingIfNeeded: counter),
        counterHigh: UInt32(truncatingIfNeeded: counter >> 32), blockLength: blockLength, flags: flags)
    let m0 = block[0], m1 = block[1], m2 = block[2], m3 = block[3]
    let m4 = block[4], m5 = block[5], m6 = block[6], m7 = block[7]
    let m8 = block[8], m9 = block[9], m10 = block[10], m11 = block[11]
    let m12 = block[12], m13 = block[13], m14 = block[14], m15 = block[15]
    // The message words in the order of each round: the permutation of table 2, applied again and again.
    v.round(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)
    v.round(m2, m6, m3, m10, m7, m0, m4, m13, m1, m11, m12, m5, m9, m14, m15, m8)
    v.round(m3, m4, m10, m12, m13, m2, m7, m14, m6, m5, m9, m0, m11, m15, m8, m1)
    v.round(m10, m7, m12, m9, m14, m3, m13, m15, m4, m0, m11, m2, m5, m8, m1, m6)
    v.round(m12, m13, m9, m11, m15, m10, m14, m8, m7, m2, m5, m3, m0, m1, m6, m4)
    v.round(m9, m14, m11, m5, m8, m12, m15, m1, m13, m3, m0, m10, m2, m6, m4, m7)
    v.round(m11, m15, m5, m0, m1, m9, m8, m6, m14, m10, m2, m12, m3, m4, m7, m13)
    let low = SIMD8(v.v0, v.v1, v.v2, v.v3, v.v4, v.v5, v.v6, v.v7)
    let high = SIMD8(v.v8, v.v9, v.v10, v.v11, v.v12, v.v13, v.v14, v.v15)
    return SIMD16(lowHalf: low ^ high, highHalf: high ^ chainingValue)
}

/// The sixteen words of the state, each a variable of its own so that they live in registers.
private struct Rounds {
    var v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15: UInt32

    @inline(__always)
    init(
        _ chainingValue: SIMD8<UInt32>, counterLow: UInt32, counterHigh: UInt32, blockLength: UInt32, flags: UInt32
    ) {
        v0 = chainingValue[0]
        v1 = chainingValue[1]
        v2 = chainingValue[2]
        v3 = chainingValue[3]
        v4 = chainingValue[4]
        v5 = chainingValue[5]
        v6 = chainingValue[6]
        v7 = chainingValue[7]
        v8 = BLAKE3Constants.iv[0]
        v9 = BLAKE3Constants.iv[1]
        v10 = BLAKE3Constants.iv[2]
        v11 = BLAKE3Constants.iv[3]
        v12 = counterLow
        v13 = counterHigh
        v14 = blockLength
        v15 = flags
    }

    @inline(__always)
    mutating func round(
        _ m0: UInt32, _ m1: UInt32, _ m2: UInt32, _ m3: UInt32, _ m4: UInt32, _ m5: UInt32, _ m6: UInt32, _ m7: UInt32,
        _ m8: UInt32, _ m9: UInt32, _ m10: UInt32, _ m11: UInt32, _ m12: UInt32, _ m13: UInt32, _ m14: UInt32,
        _ m15: UInt32
    ) {
        mix(&v0, &v4, &v8, &v12, m0, m1)
        mix(&v1, &v5, &v9, &v13, m2, m3)
        mix(&v2, &v6, &v10, &v14, m4, m5)
        mix(&v3, &v7, &v11, &v15, m6, m7)
        mix(&v0, &v5, &v10, &v15, m8, m9)
        mix(&v1, &v6, &v11, &v12, m10, m11)
        mix(&v2, &v7, &v8, &v13, m12, m13)
        mix(&v3, &v4, &v9, &v14, m14, m15)
    }
}

@inline(__always)
private func mix(
    _ a: inout UInt32, _ b: inout UInt32, _ c: inout UInt32, _ d: inout UInt32, _ x: UInt32, _ y: UInt32
) {
    a = a &+ b &+ x
    d = rotateRight(d ^ a, 16)
    c = c &+ d
    b = rotateRight(b ^ c, 12)
    a = a &+ b &+ y
    d = rotateRight(d ^ a, 8)
    c = c &+ d
    b = rotateRight(b ^ c, 7)
}

@inline(__always)
private func rotateRight(_ value: UInt32, _ count: UInt32) -> UInt32 {
    value &>> count | value &<< (32 &- count)
}
