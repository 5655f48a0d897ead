// SPDX-License-Identifier: Apache-2.0

// Compiled several times: here for any processor, and through symbolic links in targets that are built for wider
// instructions. Each of them brings its own `Lanes.swift`, which says how wide `Lanes` is and how to turn rows into
// columns. Nothing here is generic, so that no code compiled for one processor can be taken by the linker for another.

internal import CProcessor

/// Compresses one or more blocks of as many inputs as there are lanes (BLAKE3 specification §5.3), all at the same time:
/// each word of the state is a vector with one lane an input.
///
/// - Parameters:
///   - input: the first input; the others follow at distances of `stride` bytes.
///   - count: how many inputs there are, at least one and at most a lane each; spare lanes repeat the last.
///   - blocks: how many 64-byte blocks each has, at least one.
///   - key: the eight words of the first chaining value.
///   - counter: chunk number of the first input.
///   - counterStep: how much that number grows from one input to the next: 1 for chunks, 0 for parents.
///   - flags: those of every block, those of the first besides, and those of the last besides.
///   - output: takes `count` chaining values of 32 bytes. May be where the input is, which has been read by then.
@inline(never)
package func compressLanes(
    _ input: UnsafeRawPointer, stride: Int, count: Int, blocks: Int, key: UnsafeRawPointer, counter: UInt64,
    counterStep: UInt32, flags: (every: UInt32, first: UInt32, last: UInt32), output: UnsafeMutableRawPointer
) {
    var h0 = splat(key, 0), h1 = splat(key, 1), h2 = splat(key, 2), h3 = splat(key, 3)
    var h4 = splat(key, 4), h5 = splat(key, 5), h6 = splat(key, 6), h7 = splat(key, 7)

    // The 64-bit counters of the lanes. A sum has carried where both top bits are set, or one is and the sum's is not.
    let first = Lanes(repeating: UInt32(truncatingIfNeeded: counter))
    let distance = laneNumbers &* Lanes(repeating: counterStep)
    let counterLow = first &+ distance
    let carry = ((first & distance) | ((first | distance) & ~counterLow)) &>> Lanes(repeating: 31)
    let counterHigh = Lanes(repeating: UInt32(truncatingIfNeeded: counter &>> 32)) &+ carry

    for block in 0..<blocks {
        var blockFlags = flags.every
        if block == 0 { blockFlags |= flags.first }
        if block == blocks &- 1 { blockFlags |= flags.last }
        if blocks > 1 { prefetch(input + laneCount &* (stride &+ block &* 64)) }
        let m = MessageLanes(input + block &* 64, stride: stride, last: count &- 1)
        var v = StateLanes(
            v0: h0, v1: h1, v2: h2, v3: h3, v4: h4, v5: h5, v6: h6, v7: h7,
            v8: Lanes(repeating: 0x6A09_E667), v9: Lanes(repeating: 0xBB67_AE85),
            v10: Lanes(repeating: 0x3C6E_F372), v11: Lanes(repeating: 0xA54F_F53A),
            v12: counterLow, v13: counterHigh, v14: Lanes(repeating: 64), v15: Lanes(repeating: blockFlags))
        v.rounds(m)
        h0 = xor(v.v0, v.v8)
        h1 = xor(v.v1, v.v9)
        h2 = xor(v.v2, v.v10)
        h3 = xor(v.v3, v.v11)
        h4 = xor(v.v4, v.v12)
        h5 = xor(v.v5, v.v13)
        h6 = xor(v.v6, v.v14)
        h7 = xor(v.v7, v.v15)
    }
    storeColumns(h0, h1, h2, h3, h4, h5, h6, h7, count: count, to: output)
}

/// The sixteen words of a block, one lane an input.
struct MessageLanes {
    var m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15: Lanes
}

/// The sixteen words of the state, one lane an input.
private struct StateLanes {
    var v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15: Lanes

    /// Seven rounds, each with the message words in the order that the permutation of table 2 gives them.
    @inline(__always)
    mutating func rounds(_ m: MessageLanes) {
        let m0 = m.m0, m1 = m.m1, m2 = m.m2, m3 = m.m3, m4 = m.m4, m5 = m.m5, m6 = m.m6, m7 = m.m7
        let m8 = m.m8, m9 = m.m9, m10 = m.m10, m11 = m.m11, m12 = m.m12, m13 = m.m13, m14 = m.m14, m15 = m.m15
        round(m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15)
        round(m2, m6, m3, m10, m7, m0, m4, m13, m1, m11, m12, m5, m9, m14, m15, m8)
        round(m3, m4, m10, m12, m13, m2, m7, m14, m6, m5, m9, m0, m11, m15, m8, m1)
        round(m10, m7, m12, m9, m14, m3, m13, m15, m4, m0, m11, m2, m5, m8, m1, m6)
        round(m12, m13, m9, m11, m15, m10, m14, m8, m7, m2, m5, m3, m0, m1, m6, m4)
        round(m9, m14, m11, m5, m8, m12, m15, m1, m13, m3, m0, m10, m2, m6, m4, m7)
        round(m11, m15, m5, m0, m1, m9, m8, m6, m14, m10, m2, m12, m3, m4, m7, m13)
    }

    /// Columns, then diagonals; the four of each are written abreast, for they do not depend on each other.
    @inline(__always)
    mutating func round(
        _ m0: Lanes, _ m1: Lanes, _ m2: Lanes, _ m3: Lanes, _ m4: Lanes, _ m5: Lanes, _ m6: Lanes, _ m7: Lanes,
        _ m8: Lanes, _ m9: Lanes, _ m10: Lanes, _ m11: Lanes, _ m12: Lanes, _ m13: Lanes, _ m14: Lanes, _ m15: Lanes
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

/// The quarter round, without a name in the specification (§2.2, figure 2).
@inline(__always)
private func mix(_ a: inout Lanes, _ b: inout Lanes, _ c: inout Lanes, _ d: inout Lanes, _ x: Lanes, _ y: Lanes) {
    a = a &+ b &+ x
    d = rotateRight(xor(d, a), 16)
    c = c &+ d
    b = rotateRight(xor(b, c), 12)
    a = a &+ b &+ y
    d = rotateRight(xor(d, a), 8)
    c = c &+ d
    b = rotateRight(xor(b, c), 7)
}

/// One word of `key` in all lanes.
@inline(__always)
private func splat(_ key: UnsafeRawPointer, _ word: Int) -> Lanes {
    Lanes(repeating: key.load(fromByteOffset: word &* 4, as: UInt32.self))
}

/// Asks for as many cache lines as a block takes in all lanes.
///
/// The inputs of one call are read abreast, too many streams for the processor to guess. So each call asks for what the
/// next one will read if it goes on where this one ends, front to back.
@inline(__always)
private func prefetch(_ address: UnsafeRawPointer) {
    for line in 0..<laneCount { processor_prefetch(address + line &* 64) }
}
