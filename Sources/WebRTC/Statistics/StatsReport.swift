// SPDX-License-Identifier: Apache-2.0

/// What a connection counts, in the objects and under the names of W3C's "Identifiers for WebRTC's Statistics API", so
/// that tools which read a browser's `getStats` read ours. Objects refer to each other by `id`.
///
/// Counters are of this connection's whole life. A member that does not apply is `nil`, and absent in JSON. Times are
/// in seconds unless said otherwise.
public struct StatsReport: Hashable, Sendable {
    /// When the snapshot was taken: milliseconds of the host's monotonic clock.
    public var timestamp: Double
    /// RTCPeerConnectionStats.
    public var peerConnection: PeerConnection
    /// RTCTransportStats.
    public var transport: Transport
    /// RTCCertificateStats: ours, and the peer's once DTLS has checked it.
    public var certificates: [Certificate]
    /// RTCIceCandidateStats with the type `local-candidate`.
    public var localCandidates: [Candidate]
    /// RTCIceCandidateStats with the type `remote-candidate`.
    public var remoteCandidates: [Candidate]
    /// RTCIceCandidatePairStats, the likeliest first.
    public var candidatePairs: [CandidatePair]
    /// RTCDataChannelStats of the channels that are not closed, in the order in which they came to be.
    public var dataChannels: [DataChannel]

    /// RTCPeerConnectionStats, type `peer-connection`.
    public struct PeerConnection: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// Channels that have been open.
        public var dataChannelsOpened: UInt64
        /// Channels that have been open and are not any more.
        public var dataChannelsClosed: UInt64
    }

    /// RTCTransportStats, type `transport`.
    public struct Transport: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// DTLS packets sent.
        public var packetsSent: UInt64
        /// Packets received.
        public var packetsReceived: UInt64
        /// Bytes of DTLS packets sent, without IP and UDP headers.
        public var bytesSent: UInt64
        /// Bytes received, without IP and UDP headers.
        public var bytesReceived: UInt64
        /// RTCIceRole: `controlling` or `controlled`.
        public var iceRole: String
        /// The user fragment of our current credentials.
        public var iceLocalUsernameFragment: String
        /// RTCIceTransportState.
        public var iceState: String
        /// RTCDtlsTransportState.
        public var dtlsState: String
        /// RTCDtlsRole: `client`, `server` or `unknown`.
        public var dtlsRole: String
        /// The object of the pair that carries data.
        public var selectedCandidatePairId: String?
        /// How many times a pair was chosen.
        public var selectedCandidatePairChanges: UInt64
        /// The object of our certificate.
        public var localCertificateId: String
        /// The object of the peer's certificate.
        public var remoteCertificateId: String?
    }

    /// RTCCertificateStats, type `certificate`.
    public struct Certificate: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// The hash, in hexadecimal with colons.
        public var fingerprint: String
        /// The hash function.
        public var fingerprintAlgorithm: String
        /// The certificate (DER) in base64.
        public var base64Certificate: String
    }

    /// RTCIceCandidateStats, types `local-candidate` and `remote-candidate`.
    public struct Candidate: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// The transport's object.
        public var transportId: String
        /// The address, or the name that stands for it.
        public var address: String
        /// The port.
        public var port: UInt16
        /// `udp` or `tcp`.
        public var `protocol`: String
        /// RTCIceCandidateType: `host`, `srflx`, `prflx` or `relay`.
        public var candidateType: String
        /// The priority (RFC 8445 §5.1.2).
        public var priority: UInt32
        /// The foundation (RFC 8445 §5.1.1.3).
        public var foundation: String
        /// The address behind a reflexive or relayed one.
        public var relatedAddress: String?
        /// The port behind a reflexive or relayed one.
        public var relatedPort: UInt16?
        /// The user fragment of the candidate's side.
        public var usernameFragment: String?
        /// RTCIceTcpCandidateType of a candidate for TCP: `active` or `passive`.
        public var tcpType: String?
    }

    /// RTCIceCandidatePairStats, type `candidate-pair`.
    public struct CandidatePair: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// The transport's object.
        public var transportId: String
        /// The local candidate's object.
        public var localCandidateId: String
        /// The remote candidate's object.
        public var remoteCandidateId: String
        /// RTCStatsIceCandidatePairState: `frozen`, `waiting`, `in-progress`, `failed` or `succeeded`.
        public var state: String
        /// Whether the controlling agent has chosen the pair.
        public var nominated: Bool
        /// The time from the last check to its answer.
        public var currentRoundTripTime: Double?
        /// All such times together.
        public var totalRoundTripTime: Double
        /// Checks sent, without those for consent.
        public var requestsSent: UInt64
        /// Checks of the peer.
        public var requestsReceived: UInt64
        /// Answers to the peer's checks.
        public var responsesSent: UInt64
        /// Answers to checks, those for consent among them.
        public var responsesReceived: UInt64
        /// Checks for consent sent (RFC 7675).
        public var consentRequestsSent: UInt64
        /// Of the pair that carries data: DTLS packets sent since it does.
        public var packetsSent: UInt64?
        /// Of the pair that carries data: packets received since it does.
        public var packetsReceived: UInt64?
        /// Of the pair that carries data: bytes sent since it does.
        public var bytesSent: UInt64?
        /// Of the pair that carries data: bytes received since it does.
        public var bytesReceived: UInt64?
    }

    /// RTCDataChannelStats, type `data-channel`.
    public struct DataChannel: Hashable, Sendable {
        /// Identifies the object.
        public var id: String
        /// The channel's label.
        public var label: String
        /// The subprotocol.
        public var `protocol`: String
        /// The stream identifier in the association of RFC 8831, once there is one; channels over the recovering link
        /// have associations of their own.
        public var dataChannelIdentifier: UInt16?
        /// RTCDataChannelState: `connecting`, `open` or `closing`.
        public var state: String
        /// Messages given to the channel.
        public var messagesSent: UInt64
        /// Their bytes.
        public var bytesSent: UInt64
        /// Messages received.
        public var messagesReceived: UInt64
        /// Their bytes.
        public var bytesReceived: UInt64
    }
}
