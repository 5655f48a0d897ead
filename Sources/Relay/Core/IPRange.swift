// SPDX-License-Identifier: Apache-2.0
public import Wire

/// The addresses that share their first bits (RFC 4632 §3.1, RFC 4291 §2.3).
public struct IPRange: Hashable, Sendable {
    /// An address of the range.
    public let address: IPAddress
    /// How many leading bits count.
    public let prefixLength: Int

    /// A range from its parts; `nil` where the address has not as many bits.
    public init?(_ address: IPAddress, prefixLength: Int) {
        guard prefixLength >= 0, prefixLength <= (address.family == .v4 ? 32 : 128) else { return nil }
        self.address = address
        self.prefixLength = prefixLength
    }

    /// Whether the range is one address.
    var isSingle: Bool { prefixLength == (address.family == .v4 ? 32 : 128) }

    /// Whether an address belongs to the range.
    public func contains(_ other: IPAddress) -> Bool {
        guard other.family == address.family else { return false }
        if address.family == .v4 { return Self.agree(address.low << 32, other.low << 32, prefixLength) }
        return Self.agree(address.high, other.high, min(prefixLength, 64))
            && Self.agree(address.low, other.low, max(prefixLength - 64, 0))
    }

    private static func agree(_ first: UInt64, _ second: UInt64, _ bits: Int) -> Bool {
        bits == 0 || (first ^ second) >> UInt64(64 - bits) == 0
    }
}

extension IPRange: LosslessStringConvertible {
    /// Reads `192.0.2.0/24`, `2001:db8::/32`, or an address alone.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        guard parts.count == 2 else {
            self.init(address, prefixLength: address.family == .v4 ? 32 : 128)
            return
        }
        guard let length = Int(parts[1]) else { return nil }
        self.init(address, prefixLength: length)
    }

    /// `192.0.2.0/24`.
    public var description: String { "\(address)/\(prefixLength)" }
}
