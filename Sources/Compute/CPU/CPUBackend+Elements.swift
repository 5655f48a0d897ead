// SPDX-License-Identifier: Apache-2.0

/// What is done to each number or each token alone. Threads help where there is enough of it.
extension CPUBackend {
    /// Numbers that are worth a meeting of threads, which takes a microsecond or two: ten numbers take about a nanosecond
    /// to add, two to be a gate.
    private static let worthSharing = 16_384

    /// `output = gate(gates) · ups`, over `count` numbers. The output may be one of the inputs.
    public func gate(
        _ kind: Operation.Gate, _ gates: UnsafePointer<Float>, _ ups: UnsafePointer<Float>, count: Int,
        into output: UnsafeMutablePointer<Float>
    ) {
        forShares(of: count, each: 1) { share in
            instructions.gate(
                kind, gates + share.lowerBound, ups + share.lowerBound, count: share.count,
                into: output + share.lowerBound)
        }
    }

    /// `y += x`, over `count` numbers.
    public func add(_ x: UnsafePointer<Float>, to y: UnsafeMutablePointer<Float>, count: Int) {
        forShares(of: count, each: 1) { share in
            instructions.add(x + share.lowerBound, to: y + share.lowerBound, count: share.count)
        }
    }

    /// `x · weight / √(mean of x² + epsilon)` for `count` runs of `length` numbers one after the other: tokens, or heads.
    /// The output may be the input.
    public func rmsNorm(
        _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, epsilon: Float, length: Int, count: Int,
        into output: UnsafeMutablePointer<Float>
    ) {
        forShares(of: count, each: length) { share in
            for index in share {
                instructions.rmsNorm(
                    x + index * length, weight: weight, epsilon: epsilon, count: length, into: output + index * length)
            }
        }
    }

    /// Turns `heads` heads of each of `count` tokens, in place. The rotations must have been prepared for these tokens.
    func rotate(
        _ x: UnsafeMutablePointer<Float>, _ rotations: RotationTable, heads: Int, headLength: Int, count: Int
    ) {
        forShares(of: count, each: heads * headLength) { share in
            for token in share {
                rotations.apply(x + token * heads * headLength, count: heads, headLength: headLength, token: token)
            }
        }
    }

    /// Where the largest of `count` numbers is, the first of equal ones; NaN is not looked at. `nil` when there is no
    /// number.
    public func argmax(_ x: UnsafePointer<Float>, count: Int) -> Int? {
        VectorMath.argmax(x, count: count)
    }

    /// `e^x / Σ e^x` in place.
    public func softmax(_ x: UnsafeMutablePointer<Float>, count: Int) {
        VectorMath.softmax(x, count: count)
    }

    private func forShares(of count: Int, each: Int, _ body: (Range<Int>) -> Void) {
        guard count > 0 else { return }
        guard count * each >= Self.worthSharing, threads > 1 else { return body(0..<count) }
        pool.run { part, parts in
            // 16 numbers are a line of cache.
            let range = share(of: count, part, parts, multiple: each == 1 ? 16 : 1)
            if !range.isEmpty { body(range) }
        }
    }
}
