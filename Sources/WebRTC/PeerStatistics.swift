// SPDX-License-Identifier: Apache-2.0
public import ICE
public import SCTP

/// What a connection counts, layer by layer.
public struct PeerStatistics: Sendable {
    /// UDP payloads in both directions.
    public var transport: TransportCounters
    /// ICE's counters.
    public var ice: ICEAgent.Counters?
    /// SCTP's counters.
    public var association: SCTPAssociation.Counters?
    /// What channels dropped.
    public var channels: DataChannelMultiplexer.Counters?
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
}

extension PeerCore {
    /// Counters of all layers.
    public var statistics: PeerStatistics {
        PeerStatistics(
            transport: transport, ice: ice.peek { $0.counters }, association: channels.peek { $0.associationCounters },
            channels: channels.peek { $0.counters }, selectedPair: ice.peek { $0.selectedPair } ?? nil)
    }
}
