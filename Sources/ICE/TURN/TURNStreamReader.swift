// SPDX-License-Identifier: Apache-2.0

/// Cuts a stream of bytes from a TURN server into its messages (RFC 8656 §12.5, RFC 8489 §6.2.2): both kinds tell their
/// length in the header.
///
/// After each ``append(_:)`` take all messages; what is left is less than one, at most 64 KiB.
public struct TURNStreamReader: Sendable {
    /// What came and was not taken; ranges of messages count from its start.
    public private(set) var buffer: [UInt8] = []
    private var start = 0
    /// Whether something came that is no message. Nothing can be told apart from there on.
    public private(set) var isBroken = false

    /// A reader at the start of a stream.
    public init() {}

    /// Takes bytes as they came.
    public mutating func append(_ bytes: RawSpan) {
        guard !isBroken else { return }
        buffer.removeFirst(start)
        start = 0
        bytes.withUnsafeBytes { buffer.append(contentsOf: $0) }
    }

    /// Where the next message lies in ``buffer``, padding left out; `nil` until there is one.
    public mutating func next() -> Range<Int>? {
        guard !isBroken, buffer.count - start >= 4 else { return nil }
        let length = Int(buffer[start + 2]) << 8 | Int(buffer[start + 3])
        let count: Int
        switch buffer[start] {
        case 0...3 where length & 3 == 0:
            count = STUNMessage.headerLength + length
        case 0x40...0x4F:
            count = ChannelData.headerLength + length
        default:
            isBroken = true
            return nil
        }
        // Both kinds begin at multiples of four.
        let end = start + STUNMessage.padded(count)
        guard end <= buffer.count else { return nil }
        defer { start = end }
        return start..<start + count
    }
}
