// SPDX-License-Identifier: Apache-2.0

/// Cuts a stream of bytes between a TURN client and its server into messages (RFC 8656 §12.5, RFC 8489 §6.2.2): both
/// kinds tell their length in the header, and nothing else may come.
///
/// After each ``append(_:)`` take all messages; what is left is less than one, at most 64 KiB.
public struct TURNStreamReader: Sendable {
    /// What came and was not taken; ranges of messages count from its start.
    public private(set) var buffer: [UInt8] = []
    private var start = 0
    /// Whether something came that is no message. Nothing can be told apart from there on.
    public private(set) var isBroken = false
    /// What ChannelData may begin with.
    private let channelBytes: ClosedRange<UInt8>

    /// A buffer that is larger than this is not kept while nothing waits in it.
    private static let keptCapacity = 4096

    /// A reader at the start of a stream. ChannelData begins with 64 to 79 (RFC 8656 §12), or with more where a server
    /// takes the numbers from before as well.
    public init(channelBytes: ClosedRange<UInt8> = 0x40...0x4F) {
        self.channelBytes = channelBytes
    }

    /// Takes bytes as they came.
    public mutating func append(_ bytes: RawSpan) {
        guard !isBroken else { return }
        buffer.removeFirst(start)
        start = 0
        bytes.withUnsafeBytes { buffer.append(contentsOf: $0) }
    }

    /// Where the next message lies in ``buffer``, padding left out; `nil` until there is one.
    public mutating func next() -> Range<Int>? {
        guard !isBroken else { return nil }
        guard start < buffer.count else {
            if buffer.capacity > Self.keptCapacity { buffer = [] }
            start = min(start, buffer.count)
            return nil
        }
        let first = buffer[start]
        let isChannelData = channelBytes.contains(first)
        // RFC 7983 §7: STUN begins with 0 to 3.
        guard isChannelData || first < 4 else { return end() }
        guard buffer.count - start >= 4 else { return nil }
        let length = Int(buffer[start + 2]) << 8 | Int(buffer[start + 3])
        // RFC 8489 §5: the length of a STUN message is a multiple of four.
        guard isChannelData || length & 3 == 0 else { return end() }
        let count = length + (isChannelData ? ChannelData.headerLength : STUNMessage.headerLength)
        // Both kinds begin at multiples of four.
        let end = start + STUNMessage.padded(count)
        guard end <= buffer.count else { return nil }
        defer { start = end }
        return start..<start + count
    }

    private mutating func end() -> Range<Int>? {
        isBroken = true
        buffer = []
        start = 0
        return nil
    }
}
