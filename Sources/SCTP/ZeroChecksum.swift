// SPDX-License-Identifier: Apache-2.0

//      0                   1                   2                   3
//      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//     +-------------------------------+-------------------------------+
//     |         type 0x8001           |          length 8             |      RFC 9653 §4
//     +-------------------------------+-------------------------------+
//     |       error detection method: 1 is DTLS (RFC 9653 §8)         |
//     +---------------------------------------------------------------+

/// The zero checksum of SCTP over DTLS (RFC 9653), which the distribution's usrsctp does not know: the parameter is
/// added to INIT and INIT ACK on their way out, and read from the peer's.
///
/// Each side tells what it *accepts*, so that a packet goes without a checksum exactly where its receiver has said so.
struct ZeroChecksum {
    /// The parameter, whole.
    private static let parameter: UInt64 = 0x8001_0008_0000_0001
    private static let parameterLength = 8

    /// What the peer's INIT and INIT ACK said, each `nil` before it came. A peer that does not say it in both is not
    /// believed.
    private var initAnnounces: Bool?
    private var initAckAnnounces: Bool?

    /// Whether packets to the peer may go without a checksum.
    var peerAccepts: Bool {
        switch (initAnnounces, initAckAnnounces) {
        case (nil, nil): false
        case (let first, let second): first ?? true && second ?? true
        }
    }

    /// Looks at a packet of the peer.
    mutating func note(_ packet: UnsafeRawBufferPointer) {
        guard let type = ChunkType(of: packet) else { return }
        switch type {
        case .initiation: initAnnounces = Self.isAnnounced(in: packet)
        case .initiationAck: initAckAnnounces = Self.isAnnounced(in: packet)
        default: break
        }
    }

    /// Whether a packet to the peer goes without a checksum. Those that establish an association never do (RFC 9653
    /// §5.2); nor do ABORT and SHUTDOWN COMPLETE, with which usrsctp answers packets that belong to no association.
    func omitsChecksum(of packet: UnsafeRawBufferPointer) -> Bool {
        guard peerAccepts, let type = ChunkType(of: packet) else { return false }
        switch type {
        case .initiation, .initiationAck, .cookieEcho, .abort, .shutdownComplete: return false
        default: return true
        }
    }

    /// Whether a packet whose checksum is not right may be taken by a side that announced it (RFC 9653 §5.3).
    static func mayOmitChecksum(_ packet: UnsafeRawBufferPointer) -> Bool {
        guard packet.count >= 16, packet.loadUnaligned(fromByteOffset: 8, as: UInt32.self) == 0 else { return false }
        switch ChunkType(of: packet) {
        case .initiation, .cookieEcho, nil: return false
        default: return true
        }
    }

    /// Whether a packet is an INIT or INIT ACK, to which ``announce(in:count:)`` adds the parameter.
    static func isAnnouncement(_ chunks: UnsafeRawBufferPointer) -> Bool {
        guard chunks.count >= 20 else { return false }
        return chunks[0] == ChunkType.initiation.rawValue || chunks[0] == ChunkType.initiationAck.rawValue
    }

    /// How many bytes ``announce(in:count:)`` may add.
    static let announcementLength = parameterLength + 3

    /// Adds the parameter to the INIT or INIT ACK at the start of `chunks`, which is the only chunk of its packet and
    /// has `count` bytes; answers how many it has then.
    static func announce(in chunks: UnsafeMutableRawBufferPointer, count: Int) -> Int {
        // The padding of what was the last parameter now counts (RFC 9260 §3.2.1).
        let start = (count + 3) & ~3
        let length = start + parameterLength
        guard length <= chunks.count, length <= Int(UInt16.max) else { return count }
        for index in count..<start { chunks[index] = 0 }
        chunks.storeBytes(of: parameter.bigEndian, toByteOffset: start, as: UInt64.self)
        chunks.storeBytes(of: UInt16(length).bigEndian, toByteOffset: 2, as: UInt16.self)
        return length
    }

    /// Whether the INIT or INIT ACK in a packet has the parameter with the method that is ours.
    private static func isAnnounced(in packet: UnsafeRawBufferPointer) -> Bool {
        // Common header 12, chunk header 4, fixed fields 16 (RFC 9260 §3.3.2).
        let end = min(packet.count, 12 + Int(number(in: packet, at: 14)))
        var offset = 32
        while offset + 4 <= end {
            let length = Int(number(in: packet, at: offset + 2))
            guard length >= 4, offset + length <= end else { return false }
            if length == parameterLength,
                UInt64(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) == parameter
            {
                return true
            }
            offset += (length + 3) & ~3
        }
        return false
    }

    private static func number(in packet: UnsafeRawBufferPointer, at offset: Int) -> UInt16 {
        UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
}

/// The chunk types that tell packets apart here (RFC 9260 §3.2).
enum ChunkType: UInt8 {
    case data = 0
    case initiation = 1
    case initiationAck = 2
    case abort = 6
    case cookieEcho = 10
    case shutdownComplete = 14
    /// Any other.
    case other = 255

    /// The type of a packet's first chunk, `nil` where it has none.
    init?(of packet: UnsafeRawBufferPointer) {
        guard packet.count >= 16 else { return nil }
        self = ChunkType(rawValue: packet[12]) ?? .other
    }
}
