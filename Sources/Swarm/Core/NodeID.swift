// SPDX-License-Identifier: Apache-2.0

import Hashing

/// Who a node is: the first 20 bytes of the SHA-256 of its DTLS certificate in DER.
public struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The 20 bytes.
    public let bytes: [UInt8]

    /// How many bytes an id has.
    public static let byteCount = 20

    /// An id from exactly 20 bytes, `nil` for another count.
    public init?(bytes: [UInt8]) {
        guard bytes.count == NodeID.byteCount else { return nil }
        self.bytes = bytes
    }

    /// The id of the node whose certificate has this SHA-256 (32 bytes).
    public init(certificateDigest: [UInt8]) {
        precondition(certificateDigest.count >= NodeID.byteCount, "a SHA-256 digest has 32 bytes")
        bytes = Array(certificateDigest[..<NodeID.byteCount])
    }

    /// 40 lowercase hex digits, `nil` for anything else.
    public init?(hex: String) {
        guard hex.utf8.count == NodeID.byteCount * 2, let bytes = StrictHex.decode(hex) else { return nil }
        self.bytes = bytes
    }

    /// The id as 40 lowercase hex digits.
    public var description: String { Hex.encode(bytes) }

    /// Order of the ids as numbers, most significant byte first.
    public static func < (lhs: NodeID, rhs: NodeID) -> Bool { lhs.bytes.lexicographicallyPrecedes(rhs.bytes) }
}

/// A connection, named by whoever drives the core. A number is never used twice.
public struct PeerHandle: Hashable, Sendable, CustomStringConvertible {
    /// The number.
    public let rawValue: UInt64

    /// A handle from its number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }

    /// `peer 7`.
    public var description: String { "peer \(rawValue)" }
}

/// Hex as the protocol writes it: lowercase alone.
enum StrictHex {
    static func decode(_ text: String) -> [UInt8]? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }) else { return nil }
        return Hex.decode(text)
    }
}
