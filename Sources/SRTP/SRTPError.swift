// SPDX-License-Identifier: Apache-2.0
#if SRTP

/// What can go wrong with a session or with what is to be sent. What is received never throws.
public enum SRTPError: Error, Hashable, Sendable {
    /// The keying material has another length than the profile needs.
    case wrongKeyLength(expected: Int, actual: Int)
    /// What is to be protected is no RTP or RTCP packet.
    case malformedPacket
    /// A packet is longer than ``SRTPSession/longestPacket``.
    case packetTooLong(limit: Int)
    /// More SSRCs are sent or received than ``SRTPSession/maximumSources``.
    case tooManySources(limit: Int)
    /// libsrtp refused; its `srtp_err_status_t`. 9 and 10 are a sequence number that was used before, 15 a worn-out key.
    case library(status: UInt32)
}

extension SRTPError: CustomStringConvertible {
    /// The fault in words.
    public var description: String {
        switch self {
        case .wrongKeyLength(let expected, let actual): "the profile needs \(expected) bytes of keys, not \(actual)"
        case .malformedPacket: "the packet is neither RTP nor RTCP"
        case .packetTooLong(let limit): "an RTP packet may have at most \(limit) bytes"
        case .tooManySources(let limit): "a session has at most \(limit) sources"
        case .library(let status): "libsrtp failed with status \(status)"
        }
    }
}
#endif
