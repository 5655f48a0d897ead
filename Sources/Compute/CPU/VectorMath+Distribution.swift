// SPDX-License-Identifier: Apache-2.0

/// Rows of logits as distributions. Both functions add in the same order, so that what one gives as the whole the other
/// reaches with the last number.
extension VectorMath {
    /// `Σ e^((x − highest) · scale)`. No number may be more than `highest`.
    package static func sumOfExponentials(
        _ x: UnsafePointer<Float>, count: Int, highest: Float, scale: Float
    ) -> Double {
        var sum = 0.0
        var i = 0
        while i < count {
            sum += Double(exponentials(x, i, count, highest, scale).sum())
            i += 8
        }
        return sum
    }

    /// The first place up to which `Σ e^((x − highest) · scale)` is more than `target`; `nil` if all are not.
    package static func place(
        of target: Double, in x: UnsafePointer<Float>, count: Int, highest: Float, scale: Float
    ) -> Int? {
        var sum = 0.0
        var i = 0
        while i < count {
            let weights = exponentials(x, i, count, highest, scale)
            let next = sum + Double(weights.sum())
            if next > target {
                var last: Int?
                for k in 0..<min(8, count - i) where weights[k] > 0 {
                    sum += Double(weights[k])
                    last = i + k
                    if sum > target { break }
                }
                if let last { return last }
            }
            sum = next
            i += 8
        }
        return nil
    }

    /// The weights of eight numbers from `start` on; 0 behind the last.
    @inline(__always)
    private static func exponentials(
        _ x: UnsafePointer<Float>, _ start: Int, _ count: Int, _ highest: Float, _ scale: Float
    ) -> SIMD8<Float> {
        if start + 8 <= count {
            let value = UnsafeRawPointer(x).loadUnaligned(fromByteOffset: start * 4, as: SIMD8<Float>.self)
            return exp((value - highest) * scale)
        }
        var value = SIMD8<Float>(repeating: -.infinity)
        for k in start..<count { value[k - start] = (x[k] - highest) * scale }
        return exp(value)
    }
}
