// SPDX-License-Identifier: Apache-2.0

internal import Builtin

/// Sixteen lanes, one register of AVX-512.
typealias Lanes = SIMD16<UInt32>

/// How many there are.
let laneCount = 16

/// The number of each lane.
@inline(__always)
var laneNumbers: Lanes { Lanes(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) }

// The standard library computes these lane by lane and leaves it to the optimizer to make vectors of it again, which
// it does not always do. The builtins, with which the library's own sums of vectors are written, are one instruction.

/// Exclusive or.
@inline(__always)
func xor(_ a: Lanes, _ b: Lanes) -> Lanes {
    var result = a
    result._storage._value = Builtin.xor_Vec16xInt32(a._storage._value, b._storage._value)
    return result
}

/// Turns each word right by `count` bits, 1 to 31. The compiler knows the two shifts for a rotation.
@inline(__always)
func rotateRight(_ value: Lanes, _ count: UInt32) -> Lanes {
    let right = Lanes(repeating: count), left = Lanes(repeating: 32 &- count)
    var result = value
    result._storage._value = Builtin.or_Vec16xInt32(
        Builtin.lshr_Vec16xInt32(value._storage._value, right._storage._value),
        Builtin.shl_Vec16xInt32(value._storage._value, left._storage._value))
    return result
}

extension MessageLanes {
    /// Reads one block of each input and turns the rows into columns.
    ///
    /// - Parameter last: number of the last input; lanes after it repeat it.
    @inline(__always)
    init(_ input: UnsafeRawPointer, stride: Int, last: Int) {
        // Vector k of group g holds in its quarter q the word 4q + k of the inputs 4g to 4g + 3.
        let (g00, g01, g02, g03) = transpose(
            row(input, stride, 0, last), row(input, stride, 1, last), row(input, stride, 2, last), row(input, stride, 3, last))
        let (g10, g11, g12, g13) = transpose(
            row(input, stride, 4, last), row(input, stride, 5, last), row(input, stride, 6, last), row(input, stride, 7, last))
        let (g20, g21, g22, g23) = transpose(
            row(input, stride, 8, last), row(input, stride, 9, last), row(input, stride, 10, last), row(input, stride, 11, last))
        let (g30, g31, g32, g33) = transpose(
            row(input, stride, 12, last), row(input, stride, 13, last), row(input, stride, 14, last), row(input, stride, 15, last))
        (m0, m4, m8, m12) = transposeQuarters(g00, g10, g20, g30)
        (m1, m5, m9, m13) = transposeQuarters(g01, g11, g21, g31)
        (m2, m6, m10, m14) = transposeQuarters(g02, g12, g22, g32)
        (m3, m7, m11, m15) = transposeQuarters(g03, g13, g23, g33)
    }
}

/// The first 16 words of input `index`.
@inline(__always)
private func row(_ input: UnsafeRawPointer, _ stride: Int, _ index: Int, _ last: Int) -> Lanes {
    input.loadUnaligned(fromByteOffset: min(index, last) &* stride, as: Lanes.self)
}

/// Writes the chaining values whose words are `h0` to `h7`, one lane a value, as rows of 32 bytes.
@inline(__always)
func storeColumns(
    _ h0: Lanes, _ h1: Lanes, _ h2: Lanes, _ h3: Lanes, _ h4: Lanes, _ h5: Lanes, _ h6: Lanes, _ h7: Lanes,
    count: Int, to output: UnsafeMutableRawPointer
) {
    let (a0, a1, a2, a3) = transpose(h0, h1, h2, h3)
    let (b0, b1, b2, b3) = transpose(h4, h5, h6, h7)
    store(a0.lowHalf.lowHalf, b0.lowHalf.lowHalf, 0, count, output)
    store(a1.lowHalf.lowHalf, b1.lowHalf.lowHalf, 1, count, output)
    store(a2.lowHalf.lowHalf, b2.lowHalf.lowHalf, 2, count, output)
    store(a3.lowHalf.lowHalf, b3.lowHalf.lowHalf, 3, count, output)
    store(a0.lowHalf.highHalf, b0.lowHalf.highHalf, 4, count, output)
    store(a1.lowHalf.highHalf, b1.lowHalf.highHalf, 5, count, output)
    store(a2.lowHalf.highHalf, b2.lowHalf.highHalf, 6, count, output)
    store(a3.lowHalf.highHalf, b3.lowHalf.highHalf, 7, count, output)
    store(a0.highHalf.lowHalf, b0.highHalf.lowHalf, 8, count, output)
    store(a1.highHalf.lowHalf, b1.highHalf.lowHalf, 9, count, output)
    store(a2.highHalf.lowHalf, b2.highHalf.lowHalf, 10, count, output)
    store(a3.highHalf.lowHalf, b3.highHalf.lowHalf, 11, count, output)
    store(a0.highHalf.highHalf, b0.highHalf.highHalf, 12, count, output)
    store(a1.highHalf.highHalf, b1.highHalf.highHalf, 13, count, output)
    store(a2.highHalf.highHalf, b2.highHalf.highHalf, 14, count, output)
    store(a3.highHalf.highHalf, b3.highHalf.highHalf, 15, count, output)
}

/// Writes row `index`, unless there are not so many.
@inline(__always)
private func store(
    _ low: SIMD4<UInt32>, _ high: SIMD4<UInt32>, _ index: Int, _ count: Int, _ output: UnsafeMutableRawPointer
) {
    if index >= count { return }
    output.storeBytes(of: low, toByteOffset: index &* 32, as: SIMD4<UInt32>.self)
    output.storeBytes(of: high, toByteOffset: index &* 32 &+ 16, as: SIMD4<UInt32>.self)
}

/// In each quarter, turns four rows of four words into columns.
@inline(__always)
private func transpose(_ a: Lanes, _ b: Lanes, _ c: Lanes, _ d: Lanes) -> (Lanes, Lanes, Lanes, Lanes) {
    let abLow = interleaveLow(a, b), abHigh = interleaveHigh(a, b)
    let cdLow = interleaveLow(c, d), cdHigh = interleaveHigh(c, d)
    return (
        pairLow(abLow, cdLow), pairHigh(abLow, cdLow), pairLow(abHigh, cdHigh), pairHigh(abHigh, cdHigh)
    )
}

// Shuffles of two vectors have no name in the standard library. Written as a choice of single lanes, several in a row
// would be seen through and merged into a longer sequence.

/// a0 b0 a1 b1 of every four lanes.
@inline(__always)
private func interleaveLow(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a2 b2 a3 b3 of every four lanes.
@inline(__always)
private func interleaveHigh(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a0 a1 b0 b1 of every four lanes.
@inline(__always)
private func pairLow(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a2 a3 b2 b3 of every four lanes.
@inline(__always)
private func pairHigh(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// Turns four rows of four quarters into columns.
@inline(__always)
private func transposeQuarters(_ a: Lanes, _ b: Lanes, _ c: Lanes, _ d: Lanes) -> (Lanes, Lanes, Lanes, Lanes) {
    let abEven = evenQuarters(a, b), abOdd = oddQuarters(a, b)
    let cdEven = evenQuarters(c, d), cdOdd = oddQuarters(c, d)
    return (
        evenQuarters(abEven, cdEven), evenQuarters(abOdd, cdOdd), oddQuarters(abEven, cdEven), oddQuarters(abOdd, cdOdd)
    )
}

/// Quarters 0 and 2 of `a`, then of `b`.
@inline(__always)
private func evenQuarters(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// Quarters 1 and 3 of `a`, then of `b`.
@inline(__always)
private func oddQuarters(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec16xInt32_Vec16xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}
