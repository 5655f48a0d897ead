// SPDX-License-Identifier: Apache-2.0
internal import Wire

// RFC 8832 §5.1
//
//      0                   1                   2                   3
//      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//     +---------------+---------------+-------------------------------+
//     |     type 3    | channel type  |           priority            |
//     +---------------+---------------+-------------------------------+
//     |                     reliability parameter                     |
//     +-------------------------------+-------------------------------+
//     |         label length          |        protocol length        |
//     +-------------------------------+-------------------------------+
//     |                     label, then protocol …                    |

/// A message of the data channel establishment protocol (RFC 8832).
package enum DCEPMessage: Hashable, Sendable {
    /// DATA_CHANNEL_OPEN.
    case open(DataChannelInfo)
    /// DATA_CHANNEL_ACK.
    case ack

    /// RFC 8832 §8.2.1.
    private static let ackType: UInt8 = 2
    /// RFC 8832 §8.2.1.
    private static let openType: UInt8 = 3
    /// The bit of the channel type that means unordered (RFC 8832 §5.1).
    private static let unordered: UInt8 = 0x80

    /// Reads a message; `nil` for what RFC 8832 §5 does not define, lengths of an OPEN that do not add up included.
    package init?(_ bytes: RawSpan) {
        var reader = ByteReader(bytes)
        do throws(WireError) {
            switch try reader.readUInt8() {
            case Self.ackType:
                // One byte (RFC 8832 §5.2), but Pion appends three zeros; a channel that never opens helps nobody.
                self = .ack
            case Self.openType:
                let type = try reader.readUInt8()
                let priority = try reader.readUInt16()
                let parameter = try reader.readUInt32()
                let labelLength = Int(try reader.readUInt16())
                let protocolLength = Int(try reader.readUInt16())
                guard reader.remaining == labelLength + protocolLength else { return nil }
                let reliability: SCTPAssociation.Reliability
                switch type & ~Self.unordered {
                case 0: reliability = .reliable
                case 1: reliability = .maxRetransmits(parameter)
                case 2: reliability = .maxPacketLifeTime(parameter)
                default: return nil
                }
                let label = try reader.readBytes(labelLength)
                let subprotocol = try reader.readBytes(protocolLength)
                self = .open(
                    DataChannelInfo(
                        label: String(decoding: label, as: UTF8.self),
                        protocol: String(decoding: subprotocol, as: UTF8.self),
                        ordered: type & Self.unordered == 0, reliability: reliability, priority: priority))
            default:
                return nil
            }
        } catch {
            return nil
        }
    }

    /// The bytes of the message. Label and protocol are at most 65,535 bytes each.
    package var encoded: [UInt8] {
        switch self {
        case .ack:
            return [Self.ackType]
        case .open(let info):
            let (type, parameter): (UInt8, UInt32) =
                switch info.reliability {
                case .reliable: (0, 0)
                case .maxRetransmits(let count): (1, count)
                case .maxPacketLifeTime(let milliseconds): (2, milliseconds)
                }
            var writer = ByteWriter(capacity: 12 + info.label.utf8.count + info.protocol.utf8.count)
            writer.write(Self.openType)
            writer.write(info.ordered ? type : type | Self.unordered)
            writer.write(bigEndian: info.priority)
            writer.write(bigEndian: parameter)
            writer.write(bigEndian: UInt16(truncatingIfNeeded: info.label.utf8.count))
            writer.write(bigEndian: UInt16(truncatingIfNeeded: info.protocol.utf8.count))
            writer.write(info.label.utf8)
            writer.write(info.protocol.utf8)
            return writer.bytes
        }
    }
}
