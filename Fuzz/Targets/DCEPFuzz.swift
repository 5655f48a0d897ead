// SPDX-License-Identifier: Apache-2.0
import SCTP
import Wire

/// What is read as DATA_CHANNEL_OPEN is written and read as the same.
enum DCEPFuzz {
    static func run(_ bytes: [UInt8]) {
        guard let message = DCEPMessage(bytes.span.bytes) else { return }
        precondition(DCEPMessage(message.encoded.span.bytes) == message, "what was read is written differently")
    }

    static var seeds: [[UInt8]] {
        let reliabilities: [SCTPAssociation.Reliability] = [.reliable, .maxRetransmits(3), .maxPacketLifeTime(500)]
        return reliabilities.map {
            DCEPMessage.open(
                DataChannelInfo(label: "label", protocol: "protocol", ordered: $0 == .reliable, reliability: $0)
            ).encoded
        } + [DCEPMessage.ack.encoded]
    }
}
