// SPDX-License-Identifier: Apache-2.0
public import DTLS
public import ICE
public import Recovery
public import SCTP

/// What a connection counts, layer by layer.
public struct PeerStatistics: Sendable {
    /// UDP payloads in both directions.
    public var transport: TransportCounters
    /// ICE's counters.
    public var ice: ICEAgent.Counters?
    /// DTLS's counters, once there is a session.
    public var dtls: DTLSTransport.Statistics?
    /// What recovers losses below SCTP, toward a peer that has it too.
    public var link: ReliableLink.Statistics?
    /// SCTP's counters.
    public var association: SCTPAssociation.Counters?
    /// What channels dropped.
    public var channels: DataChannelMultiplexer.Counters?
    /// RTP and RTCP, where an audio section was accepted.
    public var media: MediaCounters?
    /// The path in use, with its round-trip time.
    public var selectedPair: ICECandidatePair?
}

/// Datagrams of one connection.
public struct TransportCounters: Hashable, Sendable {
    /// UDP payloads sent to the selected path.
    public var packetsSent: UInt64 = 0
    /// Their bytes.
    public var bytesSent: UInt64 = 0
    /// UDP payloads that came for this connection.
    public var packetsReceived: UInt64 = 0
    /// Their bytes.
    public var bytesReceived: UInt64 = 0
    /// Received and of no known kind, or from nobody we know.
    public var packetsDropped: UInt64 = 0
    /// The bytes of both directions while the selected path led over a relay of either side.
    public var bytesRelayed: UInt64 = 0
}

/// RTP and RTCP of one connection.
public struct MediaCounters: Hashable, Sendable {
    /// RTP packets that were authentic.
    public var rtpPacketsReceived: UInt64 = 0
    /// Their bytes, with header and without the tag.
    public var rtpBytesReceived: UInt64 = 0
    /// RTCP packets that were authentic.
    public var rtcpPacketsReceived: UInt64 = 0
    /// RTP packets sent back.
    public var rtpPacketsSent: UInt64 = 0
    /// RTP packets that could not be sent back, such as those whose number came round again.
    public var packetsNotSent: UInt64 = 0
    /// Received and forged, repeated, cut short or of too many sources.
    public var packetsDropped: UInt64 = 0
}

extension PeerCore {
    /// Counters of all layers.
    public var statistics: PeerStatistics {
        PeerStatistics(
            transport: transport, ice: ice.peek { $0.counters }, dtls: dtls.peek { $0.statistics },
            link: recovered.peek { $0.statistics }, association: channels.peek { $0.associationCounters }, channels: channels.peek { $0.counters }, media: mediaCounters,
            selectedPair: ice.peek { $0.selectedPair } ?? nil)
    }
}
