// SPDX-License-Identifier: Apache-2.0
public import Wire

/// The 96 bits that tie a response to its request (RFC 8489 §5).
public struct STUNTransactionID: Hashable, Sendable {
    /// The first 32 bits.
    public let high: UInt32
    /// The other 64 bits.
    public let low: UInt64

    /// An identifier from its bits.
    public init(high: UInt32, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A new identifier, uniformly random over all 96 bits as RFC 8489 §5 wants.
    public init(using entropy: inout Entropy) {
        self.init(high: UInt32(truncatingIfNeeded: entropy.next()), low: entropy.next())
    }
}

extension STUNTransactionID: CustomStringConvertible {
    /// The identifier as 24 hex digits.
    public var description: String {
        func hex(_ value: UInt64, _ digits: Int) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: digits - text.count) + text
        }
        return hex(UInt64(high), 8) + hex(low, 16)
    }
}
