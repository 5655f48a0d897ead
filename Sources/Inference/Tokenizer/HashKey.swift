// SPDX-License-Identifier: Apache-2.0

/// A hash of short byte strings and of numbers. It is drawn anew for each process, so that no vocabulary or text can be
/// made to collide, and is much faster than the standard library's, which guards against more.
struct HashKey: Sendable {
    private let first: UInt64
    private let second: UInt64

    /// The key of this process.
    static let process = HashKey(first: .random(in: .min ... .max), second: .random(in: .min ... .max) | 1)

    private init(first: UInt64, second: UInt64) {
        self.first = first
        self.second = second
    }

    /// The hash of a number.
    @inline(__always)
    func hash(of number: UInt64) -> UInt64 { fold(number ^ first, second) }

    /// The hash of `bytes[range]`.
    @inline(__always)
    func hash(of bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
        precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
        return bytes.withUnsafeBytes { bytes in
            let count = range.count
            var state = first ^ UInt64(truncatingIfNeeded: count)
            var offset = range.lowerBound
            // Eight at a time; the last eight may overlap those before, and fewer are put together of two loads.
            if count >= 8 {
                while offset + 8 < range.upperBound {
                    state = fold(state ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self), second)
                    offset += 8
                }
                state ^= bytes.loadUnaligned(fromByteOffset: range.upperBound - 8, as: UInt64.self)
            } else if count >= 4 {
                let low = bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                let high = bytes.loadUnaligned(fromByteOffset: range.upperBound - 4, as: UInt32.self)
                state ^= UInt64(high) << 32 | UInt64(low)
            } else if count > 0 {
                let ends = UInt64(bytes[offset]) | UInt64(bytes[range.upperBound - 1]) << 8
                state ^= ends | UInt64(bytes[offset + count / 2]) << 16
            }
            return fold(state, second)
        }
    }

    /// Both halves of a product, laid over each other.
    @inline(__always)
    private func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }
}
