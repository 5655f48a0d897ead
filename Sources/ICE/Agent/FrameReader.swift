// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Cuts a stream into the packets that RFC 4571 §2 frames, each behind its length in two bytes.
///
/// After each ``append(_:)`` take all packets; what is left is less than one, at most 64 KiB.
public struct FrameReader: Sendable {
    /// What came and was not taken; ranges of packets count from its start.
    public private(set) var buffer: [UInt8] = []
    private var start = 0

    /// The bytes before each packet.
    public static let headerLength = 2

    /// A reader at the start of a stream.
    public init() {}

    /// Takes bytes as they came.
    public mutating func append(_ bytes: RawSpan) {
        buffer.removeFirst(start)
        start = 0
        bytes.withUnsafeBytes { buffer.append(contentsOf: $0) }
    }

    /// The length of the packet that has begun, where it is known.
    public var announced: Int? {
        guard buffer.count - start >= Self.headerLength else { return nil }
        return Int(buffer[start]) << 8 | Int(buffer[start + 1])
    }

    /// Where the next packet lies in ``buffer``; `nil` until there is one. Null packets are passed over.
    public mutating func next() -> Range<Int>? {
        while let length = announced {
            let first = start + Self.headerLength
            guard buffer.count - first >= length else { return nil }
            start = first + length
            if length > 0 { return first..<start }
        }
        return nil
    }

    /// A packet with its length before it; a packet that no frame holds is left out.
    public static func frame(_ packet: [UInt8]) -> [UInt8] {
        guard let length = UInt16(exactly: packet.count) else { return [] }
        return [UInt8(length >> 8), UInt8(truncatingIfNeeded: length)] + packet
    }

    /// Writes packets with their lengths before them.
    public static func frame(_ packets: borrowing PacketBuffer, into out: inout PacketBuffer) {
        for index in 0..<packets.count {
            let packet = packets[index]
            guard let length = UInt16(exactly: packet.byteCount) else { continue }
            out.append(maximumLength: headerLength + packet.byteCount) { room in
                room[0] = UInt8(length >> 8)
                room[1] = UInt8(truncatingIfNeeded: length)
                packet.withUnsafeBytes {
                    UnsafeMutableRawBufferPointer(rebasing: room[headerLength...]).copyMemory(from: $0)
                }
                return room.count
            }
        }
    }
}
