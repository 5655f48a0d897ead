// SPDX-License-Identifier: Apache-2.0

/// Names a channel of one multiplexer: its SCTP stream identifier, the same in both directions (RFC 8831 §6.5). Free
/// for another channel after ``DataChannelMultiplexer/Event/closed(_:)``.
public struct ChannelID: Hashable, Sendable {
    /// The stream identifier.
    public let rawValue: UInt16

    /// A channel by its stream identifier.
    public init(rawValue: UInt16) {
        self.rawValue = rawValue
    }
}

/// What two peers agree on about a channel (RFC 8832 §5.1).
public struct DataChannelInfo: Hashable, Sendable {
    /// How hard a message is tried.
    public typealias Reliability = SCTPAssociation.Reliability

    /// For the application; need not be unique.
    public var label: String
    /// The subprotocol, by its name in IANA's WebSocket registry or any other; empty for none.
    public var `protocol`: String
    /// Whether messages arrive in the order they were sent.
    public var ordered: Bool
    /// How hard a message is tried.
    public var reliability: Reliability
    /// RFC 8831 §6.4: 128, 256, 512 or 1024. While several channels have something to send, they get shares of the
    /// association in these proportions.
    public var priority: UInt16
    /// Whether both sides agreed on the channel out of band, so that no DATA_CHANNEL_OPEN was sent.
    public var isNegotiated: Bool

    /// A channel's properties; 256 is the normal priority of RFC 8831 §6.4.
    public init(
        label: String, protocol: String = "", ordered: Bool = true, reliability: Reliability = .reliable,
        priority: UInt16 = 256, isNegotiated: Bool = false
    ) {
        self.label = label
        self.protocol = `protocol`
        self.ordered = ordered
        self.reliability = reliability
        self.priority = priority
        self.isNegotiated = isNegotiated
    }
}
