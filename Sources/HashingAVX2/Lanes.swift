// SPDX-License-Identifier: Apache-2.0

internal import Builtin

/// Eight lanes, one register of AVX2.
typealias Lanes = SIMD8<UInt32>

/// How many there are.
let laneCount = 8

/// The number of each lane.
@inline(__always)
var laneNumbers: Lanes { Lanes(0, 1, 2, 3, 4, 5, 6, 7) }

// The standard library computes these lane by lane and leaves it to the optimizer to make vectors of it again, which
// it does not always do. The builtins, with which the library's own sums of vectors are written, are one instruction.

/// Exclusive or.
@inline(__always)
func xor(_ a: Lanes, _ b: Lanes) -> Lanes {
    var result = a
    result._storage._value = Builtin.xor_Vec8xInt32(a._storage._value, b._storage._value)
    return result
}

/// Turns each word right by `count` bits, 1 to 31. The compiler knows the two shifts for a rotation.
@inline(__always)
func rotateRight(_ value: Lanes, _ count: UInt32) -> Lanes {
    let right = Lanes(repeating: count), left = Lanes(repeating: 32 &- count)
    var result = value
    result._storage._value = Builtin.or_Vec8xInt32(
        Builtin.lshr_Vec8xInt32(value._storage._value, right._storage._value),
        Builtin.shl_Vec8xInt32(value._storage._value, left._storage._value))
    return result
}

extension MessageLanes {
    /// Reads one block of each input and turns the rows into columns.
    ///
    /// - Parameter last: number of the last input; lanes after it repeat it.
    @inline(__always)
    init(_ input: UnsafeRawPointer, stride: Int, last: Int) {
        (m0, m1, m2, m3) = transpose(
            row(input + 0, stride, 0, last), row(input + 0, stride, 1, last), row(input + 0, stride, 2, last), row(input + 0, stride, 3, last))
        (m4, m5, m6, m7) = transpose(
            row(input + 16, stride, 0, last), row(input + 16, stride, 1, last), row(input + 16, stride, 2, last), row(input + 16, stride, 3, last))
        (m8, m9, m10, m11) = transpose(
            row(input + 32, stride, 0, last), row(input + 32, stride, 1, last), row(input + 32, stride, 2, last), row(input + 32, stride, 3, last))
        (m12, m13, m14, m15) = transpose(
            row(input + 48, stride, 0, last), row(input + 48, stride, 1, last), row(input + 48, stride, 2, last), row(input + 48, stride, 3, last))
    }
}

/// Four words of input `index`, then four of input `index + 4`.
@inline(__always)
private func row(_ input: UnsafeRawPointer, _ stride: Int, _ index: Int, _ last: Int) -> Lanes {
    let low = min(index, last) &* stride
    let high = min(index &+ 4, last) &* stride
    return Lanes(
        lowHalf: input.loadUnaligned(fromByteOffset: low, as: SIMD4<UInt32>.self),
        highHalf: input.loadUnaligned(fromByteOffset: high, as: SIMD4<UInt32>.self))
}

/// Writes the chaining values whose words are `h0` to `h7`, one lane a value, as rows of 32 bytes.
@inline(__always)
func storeColumns(
    _ h0: Lanes, _ h1: Lanes, _ h2: Lanes, _ h3: Lanes, _ h4: Lanes, _ h5: Lanes, _ h6: Lanes, _ h7: Lanes,
    count: Int, to output: UnsafeMutableRawPointer
) {
    let (a0, a1, a2, a3) = transpose(h0, h1, h2, h3)
    let (b0, b1, b2, b3) = transpose(h4, h5, h6, h7)
    store(a0.lowHalf, b0.lowHalf, 0, count, output)
    store(a1.lowHalf, b1.lowHalf, 1, count, output)
    store(a2.lowHalf, b2.lowHalf, 2, count, output)
    store(a3.lowHalf, b3.lowHalf, 3, count, output)
    store(a0.highHalf, b0.highHalf, 4, count, output)
    store(a1.highHalf, b1.highHalf, 5, count, output)
    store(a2.highHalf, b2.highHalf, 6, count, output)
    store(a3.highHalf, b3.highHalf, 7, count, output)
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

/// In each half, turns four rows of four words into columns.
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
    let order = Lanes(0, 8, 1, 9, 4, 12, 5, 13)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec8xInt32_Vec8xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a2 b2 a3 b3 of every four lanes.
@inline(__always)
private func interleaveHigh(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(2, 10, 3, 11, 6, 14, 7, 15)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec8xInt32_Vec8xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a0 a1 b0 b1 of every four lanes.
@inline(__always)
private func pairLow(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(0, 1, 8, 9, 4, 5, 12, 13)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec8xInt32_Vec8xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}

/// a2 a3 b2 b3 of every four lanes.
@inline(__always)
private func pairHigh(_ a: Lanes, _ b: Lanes) -> Lanes {
    let order = Lanes(2, 3, 10, 11, 6, 7, 14, 15)
    var result = a
    result._storage._value = Builtin.shufflevector_Vec8xInt32_Vec8xInt32(
        a._storage._value, b._storage._value, order._storage._value)
    return result
}
