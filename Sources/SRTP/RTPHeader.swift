// SPDX-License-Identifier: Apache-2.0
#if SRTP
internal import Wire

//      0               1               2               3
//     +---+-+-+-------+-+-------------+-------------------------------+
//     |V=2|P|X|  CC   |M|     PT      |       sequence number         |   RTP  (RFC 3550 §5.1)
//     +---+-+-+-------+-+-------------+-------------------------------+
//     |                           timestamp                           |
//     |                             SSRC                              |
//     |                  CC × CSRC, then the extension                |
//
//     +---+-+---------+---------------+-------------------------------+
//     |V=2|P|   RC    |   192…223     |            length             |   RTCP (RFC 3550 §6.4)
//     |                             SSRC                              |

/// What stands in the clear at the start of an RTP or RTCP packet, protected or not.
public struct RTPHeader: Hashable, Sendable {
    /// Which of the two protocols that share a port a packet belongs to.
    public enum Kind: Hashable, Sendable {
        /// Media.
        case rtp
        /// Control.
        case rtcp
    }

    /// Media or control.
    public let kind: Kind
    /// Who sent the packet.
    public let ssrc: UInt32
    /// Where the header ends and what is encrypted begins: after CSRCs and extension, in RTCP after the first SSRC.
    public let byteCount: Int

    /// Where the SSRC of an RTP packet lies.
    public static let rtpSSRCOffset = 8

    /// Reads the header of a packet; `nil` if it is cut short or of another version.
    public init?(_ packet: RawSpan) {
        var reader = ByteReader(packet)
        guard let first = try? reader.readUInt8(), first >> 6 == 2, let second = try? reader.readUInt8() else {
            return nil
        }
        // RFC 5761 §4: as one byte with the marker, packet types of RTCP are 192 to 223, which RTP must not use then.
        if (192...223).contains(second) {
            guard (try? reader.skip(2)) != nil, let ssrc = try? reader.readUInt32() else { return nil }
            (kind, self.ssrc, byteCount) = (.rtcp, ssrc, 8)
            return
        }
        guard (try? reader.skip(6)) != nil, let ssrc = try? reader.readUInt32(),
            (try? reader.skip(4 * Int(first & 0x0F))) != nil
        else { return nil }
        var count = 12 + 4 * Int(first & 0x0F)
        if first & 0x10 != 0 {
            guard (try? reader.skip(2)) != nil, let words = try? reader.readUInt16(),
                (try? reader.skip(4 * Int(words))) != nil
            else { return nil }
            count += 4 + 4 * Int(words)
        }
        (kind, self.ssrc, byteCount) = (.rtp, ssrc, count)
    }
}
#endif
