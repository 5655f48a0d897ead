// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// Where a message of a stream ends (RFC 8489 §6.2.2, RFC 8656 §12.5): STUN and ChannelData messages say how long they are, and
/// nothing else may come.
public enum StreamFraming {
    /// What stands at the start of some bytes.
    public enum Frame: Hashable, Sendable {
        /// A message of so many bytes, padding included; it may not be whole yet.
        case message(Int)
        /// Too few bytes to say.
        case incomplete
        /// Neither kind of message: nothing can be made of what follows.
        case invalid
    }

    /// The most bytes of a message.
    public static let maximumLength = 65_535 + 4 + 3

    /// What stands at `offset`; `lastChannelByte` is the highest byte that ChannelData may begin with.
    public static func frame(_ bytes: RawSpan, at offset: Int, lastChannelByte: UInt8 = 79) -> Frame {
        guard let first = bytes.byte(at: offset) else { return .incomplete }
        guard let high = bytes.byte(at: offset + 2), let low = bytes.byte(at: offset + 3) else {
            return first < 4 || (64...lastChannelByte).contains(first) ? .incomplete : .invalid
        }
        let length = Int(high) << 8 | Int(low)
        switch first {
        case 0...3:
            // RFC 8489 §5: the length of a STUN message is a multiple of four.
            return length & 3 == 0 ? .message(STUNMessage.headerLength + length) : .invalid
        case 64...lastChannelByte:
            return .message((ChannelData.headerLength + length + 3) & ~3)
        default:
            return .invalid
        }
    }
}
