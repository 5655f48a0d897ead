// SPDX-License-Identifier: Apache-2.0
internal import Wire

//   0                   1                   2                   3
//  +-------------------------------+-------------------------------+
//  |         Channel Number        |            Length             |
//  +-------------------------------+-------------------------------+   RFC 8656 §12.4
//  |  Application Data, padded to a multiple of four on streams ....

/// The short form of data through a TURN server: four bytes of header instead of an indication's 36.
public enum ChannelData {
    /// Bytes before the data.
    public static let headerLength = 4
    /// The numbers that channels may have (RFC 8656 §12).
    public static let numbers: ClosedRange<UInt16> = 0x4000...0x4FFF

    /// Whether `bytes` start like such a message: RFC 7983 §7 gives it the first bytes 64 to 79.
    public static func isChannelData(_ bytes: RawSpan) -> Bool {
        bytes.byte(at: 0).map { (64...79).contains($0) } ?? false
    }

    /// Reads a message: its channel and where its data lies. `nil` for another kind, and for one that is cut short;
    /// bytes behind the data are padding.
    public static func read(_ bytes: RawSpan) -> (channel: UInt16, data: Range<Int>)? {
        guard let channel = bytes.uint16(at: 0), let length = bytes.uint16(at: 2), numbers.contains(channel),
            headerLength + Int(length) <= bytes.byteCount
        else { return nil }
        return (channel, headerLength..<headerLength + Int(length))
    }

    /// Writes the header of a message with `count` bytes of data, at most 65,535, into the first four bytes of `room`.
    public static func writeHeader(channel: UInt16, count: Int, into room: UnsafeMutableRawBufferPointer) {
        precondition(numbers.contains(channel) && count <= Int(UInt16.max))
        room.storeBytes(of: channel.bigEndian, as: UInt16.self)
        room.storeBytes(of: UInt16(count).bigEndian, toByteOffset: 2, as: UInt16.self)
    }
}
