// SPDX-License-Identifier: Apache-2.0

/// Arithmetic over runs of numbers, for one thread, in Swift's own vectors. A NaN in is a NaN out, except for the places
/// that say otherwise.
package enum VectorMath {
    /// `e^x`, to two units in the last place: 0 below −87.3, infinite above 88.
    ///
    /// The argument is reduced to `r` in ±ln 2 / 2, with ln 2 in two parts so that nothing is lost, and e^r is the
    /// polynomial of Cephes' `expf`.
    @inline(__always)
    static func exp(_ x: SIMD8<Float>) -> SIMD8<Float> {
        let low = SIMD8<Float>(repeating: -87.3)
        let high = SIMD8<Float>(repeating: 88)
        var inside = x.replacing(with: low, where: .!(x .>= low))
        inside.replace(with: high, where: inside .> high)
        let magic: Float = 0x1.8p23
        let shifted = inside * 1.442_695_04 + magic
        let n = shifted - magic
        let r = inside - n * 0.693_359_375 + n * 2.121_944_4e-4
        var p = SIMD8<Float>(repeating: 1.987_569_15e-4)
        p = p * r + 1.398_199_95e-3
        p = p * r + 8.333_451_9e-3
        p = p * r + 4.166_579_6e-2
        p = p * r + 1.666_666_55e-1
        p = p * r + 0.5
        p = p * r * r + r + 1
        let exponent = unsafeBitCast(shifted, to: SIMD8<Int32>.self) &- Int32(bitPattern: magic.bitPattern)
        let power = unsafeBitCast((exponent &+ 127) &<< 23, to: SIMD8<Float>.self)
        var result = p * power
        result.replace(with: SIMD8(repeating: 0), where: x .< low)
        result.replace(with: SIMD8(repeating: .infinity), where: x .> high)
        result.replace(with: x, where: x .!= x)
        return result
    }

    /// Calls `body` with eight numbers at a time, and for the last few with a vector that is filled up with zeros.
    @inline(__always)
    private static func map(
        _ x: UnsafePointer<Float>, _ y: UnsafePointer<Float>, _ count: Int,
        into output: UnsafeMutablePointer<Float>, _ body: (SIMD8<Float>, SIMD8<Float>) -> SIMD8<Float>
    ) {
        let a = UnsafeRawPointer(x)
        let b = UnsafeRawPointer(y)
        let target = UnsafeMutableRawPointer(output)
        var i = 0
        while i + 8 <= count {
            let value = body(
                a.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self),
                b.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self))
            target.storeBytes(of: value, toByteOffset: i * 4, as: SIMD8<Float>.self)
            i += 8
        }
        guard i < count else { return }
        var lastX = SIMD8<Float>()
        var lastY = SIMD8<Float>()
        for k in i..<count {
            lastX[k - i] = x[k]
            lastY[k - i] = y[k]
        }
        let value = body(lastX, lastY)
        for k in i..<count { output[k] = value[k - i] }
    }

    /// `y += x`.
    package static func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        map(x, UnsafePointer(y), count, into: y) { $0 + $1 }
    }

    /// `x *= factor`.
    package static func multiply(_ x: UnsafeMutablePointer<Float>, by factor: Float, count: Int) {
        map(UnsafePointer(x), UnsafePointer(x), count, into: x) { value, _ in value * factor }
    }

    /// `silu(gate) · up`, silu(x) = x / (1 + e^−x). The output may be one of the inputs.
    package static func swiGLU(
        gate: UnsafePointer<Float>, up: UnsafePointer<Float>, count: Int, into output: UnsafeMutablePointer<Float>
    ) {
        map(gate, up, count, into: output) { gate, up in
            gate / (exp(SIMD8() - gate) + 1) * up
        }
    }

    /// `gelu(gate) · up`, with the approximation of GELU by tanh: x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))).
    /// The output may be one of the inputs.
    package static func geGLU(
        gate: UnsafePointer<Float>, up: UnsafePointer<Float>, count: Int, into output: UnsafeMutablePointer<Float>
    ) {
        map(gate, up, count, into: output) { gate, up in
            // (1 + tanh u) / 2 = 1 / (1 + e^−2u).
            let cubic = gate + gate * gate * gate * 0.044_715
            return gate / (exp(cubic * (-2 * 0.797_884_6)) + 1) * up
        }
    }

    /// `x · weight / √(mean of x² + epsilon)`. The output may be the input.
    package static func rmsNorm(
        _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, epsilon: Float, count: Int,
        into output: UnsafeMutablePointer<Float>
    ) {
        guard count > 0 else { return }
        // In double precision: a long token of like numbers would lose digits otherwise.
        var squares = SIMD8<Double>()
        var rest = 0.0
        var i = 0
        while i + 8 <= count {
            let values = UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self)
            let wide = SIMD8<Double>(values)
            squares += wide * wide
            i += 8
        }
        while i < count {
            rest += Double(x[i]) * Double(x[i])
            i += 1
        }
        let factor = Float(1 / ((squares.sum() + rest) / Double(count) + Double(epsilon)).squareRoot())
        map(x, weight, count, into: output) { $0 * factor * $1 }
    }

    /// The largest number, NaN if there is one; −∞ of none.
    package static func largest(_ x: UnsafePointer<Float>, count: Int) -> Float {
        var largest = -Float.infinity
        var sum = SIMD8<Float>(repeating: -.infinity)
        var isNumber = SIMDMask<SIMD8<Int32>>(repeating: true)
        let bytes = UnsafeRawPointer(x)
        var i = 0
        while i + 8 <= count {
            let value = bytes.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self)
            sum.replace(with: value, where: value .> sum)
            isNumber = isNumber .& (value .== value)
            i += 8
        }
        guard isNumber == SIMDMask(repeating: true) else { return .nan }
        largest = sum.max()
        while i < count {
            if x[i].isNaN { return .nan }
            largest = max(largest, x[i])
            i += 1
        }
        return largest
    }

    /// `e^x / Σ e^x` in place. Of −∞ alone, or with a NaN or +∞ among them, the result is NaN.
    package static func softmax(_ x: UnsafeMutablePointer<Float>, count: Int) {
        guard count > 0 else { return }
        let inverse = 1 / exponentials(x, minus: largest(UnsafePointer(x), count: count), count: count)
        map(UnsafePointer(x), UnsafePointer(x), count, into: x) { value, _ in value * inverse }
    }

    /// `e^(x − largest)` in place, and their sum.
    static func exponentials(_ x: UnsafeMutablePointer<Float>, minus largest: Float, count: Int) -> Float {
        map(UnsafePointer(x), UnsafePointer(x), count, into: x) { value, _ in exp(value - largest) }
        var sum: Float = 0
        var sums = SIMD8<Float>()
        let bytes = UnsafeRawPointer(x)
        var i = 0
        while i + 8 <= count {
            sums += bytes.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self)
            i += 8
        }
        while i < count {
            sum += x[i]
            i += 1
        }
        return sum + sums.sum()
    }

    /// Where the largest number is, the first of equal ones; NaN is not looked at. `nil` when there is no number.
    package static func argmax(_ x: UnsafePointer<Float>, count: Int) -> Int? {
        let bytes = UnsafeRawPointer(x)
        var highest = SIMD8<Float>(repeating: -.infinity)
        var i = 0
        while i + 8 <= count {
            let value = bytes.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self)
            highest.replace(with: value, where: value .> highest)
            i += 8
        }
        var best = highest.max()
        while i < count {
            if x[i] > best { best = x[i] }
            i += 1
        }
        i = 0
        while i + 8 <= count {
            let value = bytes.loadUnaligned(fromByteOffset: i * 4, as: SIMD8<Float>.self)
            if any(value .== best) { break }
            i += 8
        }
        return (i..<max(i, count)).first { x[$0] == best }
    }
}
