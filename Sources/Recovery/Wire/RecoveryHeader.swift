// SPDX-License-Identifier: Apache-2.0

// A packet of this layer is the plaintext of one DTLS record, most significant byte first:
//
//      0                   1                   2                   3
//      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//     +---------------+---------------+-------------------------------+
//     |       0       |  version 0 |N |   packet number (if N) …
//     +---------------+---------------+-------------------------------+
//     … packet number, 32 bits        |   frames …
//
//     DATA    1 │ flow: 8 │ length: 16 │ offset in the flow: 64 │ bytes
//     ACK     2 │ ranges: 8 │ largest: 32 │ delay in µs: 32 │ first length: 32 │ ranges × (gap: 32, length: 32)
//     PING    3
//
// The first byte tells it from an SCTP packet, which starts with a source port below 256 only where somebody chose such
// a port. Packets with something to acknowledge (DATA, PING) have a number, each a new one; those with an ACK alone
// have none, so that acknowledgements are never acknowledged.

/// How packets of this layer start.
enum RecoveryHeader {
    /// The first byte.
    static let marker: UInt8 = 0
    /// In the second byte: a packet number follows.
    static let numbered: UInt8 = 0x01
    /// Bits of the second byte that are no version's.
    static let knownBits: UInt8 = 0x01

    static let dataFrame: UInt8 = 1
    static let ackFrame: UInt8 = 2
    static let pingFrame: UInt8 = 3

    /// Marker, flags and number.
    static let numberedLength = 6
    /// Marker and flags.
    static let unnumberedLength = 2
    /// What stands before a DATA frame's bytes.
    static let dataFrameOverhead = 12

    /// The bytes of an ACK frame with so many ranges.
    static func ackFrameLength(ranges: Int) -> Int { 14 + 8 * (ranges - 1) }

    /// The number whose low 32 bits are `truncated` and that is nearest to `expected` (as RFC 9000 Appendix A.3 does).
    static func expand(_ truncated: UInt32, near expected: UInt64) -> UInt64 {
        let window: UInt64 = 1 << 32
        let candidate = (expected & ~(window - 1)) | UInt64(truncated)
        if candidate &+ window / 2 <= expected, candidate <= UInt64.max - window { return candidate + window }
        if candidate > expected &+ window / 2, candidate >= window { return candidate - window }
        return candidate
    }
}
