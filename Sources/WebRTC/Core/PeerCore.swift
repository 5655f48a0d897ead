// SPDX-License-Identifier: Apache-2.0
public import DTLS
public import ICE
public import SCTP
public import SDP
public import Wire

// One datagram's way through the core (RFC 7983 §7 tells the kinds apart by the first byte):
//
//     0…3   STUN ──▶ ICEAgent ──▶ answers, checks, the selected pair
//     20…63 DTLS ──▶ DTLSTransport ──▶ plaintext ──▶ DataChannelMultiplexer ──▶ messages
//     128…191 RTP ──▶ MediaEcho ──▶ outbox.packets, where an audio section was accepted
//
// and back:  message ──▶ DataChannelMultiplexer ──▶ SCTP packets ──▶ DTLSTransport ──▶ outbox.packets ──▶ selected pair
//
// Layers come up one after the other:
//
//     start ──▶ gathering ──remote description──▶ checks ──a pair works──▶ DTLS handshake ──▶ SCTP handshake ──▶ connected

/// A peer connection without its I/O: ICE, DTLS, SCTP and data channels in one value under one lock.
///
/// The owner hands in packets and the time and then calls ``drain(into:includingEvents:readsMessages:now:)``. Addresses
/// are those of the owner's bound sockets.
public struct PeerCore: ~Copyable, Sendable {
    /// Which side of the offer this is. The offerer is ICE's controlling agent and DTLS's server.
    public enum Side: Hashable, Sendable {
        /// It makes the offer.
        case offerer
        /// It answers.
        case answerer
    }

    /// The states of W3C's RTCPeerConnectionState.
    public enum State: Hashable, Sendable {
        /// Nothing was exchanged.
        case new
        /// A path is looked for, or a handshake is under way.
        case connecting
        /// Data channels can be used.
        case connected
        /// The peer has not answered for a while; it may come back.
        case disconnected
        /// The connection is lost for good.
        case failed
        /// ``PeerCore/close(now:)`` or ``PeerCore/abort()`` was called, or the peer closed.
        case closed
    }

    /// What a core reports.
    public enum Event: Sendable {
        /// The state changed; failures come with a reason.
        case stateChanged(State, PeerConnectionError?)
        /// A local candidate was found. It names its generation in the extension `ufrag`.
        case localCandidate(ICECandidate)
        /// The local description is complete.
        case gatheringComplete
        /// Data goes this way from now on.
        case selectedPair(ICECandidatePair)
        /// A decision of ICE.
        case decision(ICEDecision)
        /// A candidate of the peer has a name of multicast DNS: ``PeerCore/resolved(_:as:now:)`` is waited for.
        case nameToResolve(String)
        /// Checks do not bear this user fragment of ours any more.
        case ufragRetired(String)
        /// usrsctp has an association for us from here on …
        case associationCreated(SCTPHandle)
        /// … until here.
        case associationEnded(SCTPHandle)
        /// A channel of ours is open.
        case channelOpened(ChannelKey)
        /// The peer opened a channel.
        case incomingChannel(ChannelKey, label: String, DataChannel.Options)
        /// The channel's buffered amount fell to its threshold.
        case bufferedAmountLow(ChannelKey)
        /// The peer sent a message that is longer than our description allows; it was dropped, and its channel is
        /// closed.
        case oversizedMessage(ChannelKey)
        /// The channel is gone.
        case channelClosed(ChannelKey)
    }

    /// Names a channel of one connection, before and after it has a stream.
    public struct ChannelKey: Hashable, Sendable {
        let number: Int
    }

    /// Where a channel lives: in which association, and on which stream.
    struct ChannelPlace: Hashable, Sendable {
        let carrier: Carrier
        let id: ChannelID
    }

    /// What a core is made with.
    public struct Configuration: Sendable {
        /// What this side shows the peer.
        public var certificate: DTLSCertificate
        /// Where NSS key log lines go.
        public var keyLog: (@Sendable (String) -> Void)?
        /// Whether loopback addresses become candidates.
        public var includesLoopback = false
        /// When gathering ends, whatever servers do.
        public var gatheringTimeout = Duration.seconds(3)
        /// The value of `a=dreamer:` in our description.
        public var dreamerAttribute: DreamerAttribute?
        /// How long a path is looked for before the connection fails (RFC 8863 §4).
        public var patience = Duration.milliseconds(39_500)
        /// Whether decisions of ICE are reported.
        public var reportsDecisions = false
        /// The largest message that we take, told in our description.
        public var maxMessageSize = 262_144
        /// The longest message that can be sent, where the peer takes it; `nil` for SCTP's usual buffer.
        public var sendBuffer: Int?
        /// Whether the audio section of an offer is accepted and its RTP sent back, for those who test protected media;
        /// otherwise it is inactive, and without the package trait `SRTP` always.
        public var echoesAudio = false
        /// What protects records, most preferred first.
        public var ciphers = DTLSCipher.allCases
        /// The largest UDP payload, by RFC 8831 §5: what passes everywhere, IPv6 tunnels included.
        public var maxDatagramSize = 1200
        /// Whether losses are recovered below SCTP toward peers that can, see ``ReliableLink``.
        public var recoversLosses = true
        /// Whether candidates have names in place of this host's addresses. The owner answers for them, see
        /// ``PeerCore/hostNames``.
        public var hidesHostAddresses = false
        /// Ta of RFC 8445 §14.2, 5 ms at least. One other than 50 ms is proposed to the peer, and the larger of both
        /// holds.
        public var checkInterval = Duration.milliseconds(50)
        /// Whether ways without a relay are used.
        public var transportPolicy = ICEAgent.TransportPolicy.all
        /// What our NAT does, where that is known; told to peers that have the words for it.
        public var localNAT: NATBehavior?
        /// Which candidates for TCP there are.
        public var tcpCandidates = ICEAgent.TCPCandidates.none
        /// What guessing the ports of NATs may cost, see ``ICEAgent/BirthdayBudget``; `nil` for no guessing.
        public var birthdayBudget: ICEAgent.BirthdayBudget?

        /// A configuration with the defaults above.
        public init(certificate: DTLSCertificate) {
            self.certificate = certificate
        }
    }

    let configuration: Configuration
    var entropy: Entropy
    var side: Side?
    /// The number in our `o=` line (RFC 8829 §5.2.1).
    let sessionID: UInt64
    var state = State.new
    var ice: ICEAgent?
    /// What ICE agents are made with, once the first one is.
    var iceSettings: ICEAgent.Configuration?
    var restart = ICERestart()
    var remoteNames = RemoteNames()
    /// Names for addresses of this host that somebody answers for already; agents made from now on use them.
    public var knownHostNames: [HostName] = []
    /// Which half of the current exchange our description is.
    var localKind = SessionDescription.Kind.offer
    /// An offer of ours has no answer yet.
    var hasLocalOffer = false
    /// The version in our `o=` line.
    var sessionVersion: UInt64 = 1
    var dtls: DTLSTransport?
    /// Our role, as the first descriptions have it; later ones change nothing (RFC 8842 §5.5).
    var dtlsRole = DTLSTransport.Role.client
    var channels: DataChannelMultiplexer?
    /// The channels whose losses are recovered below SCTP, where both sides can.
    var recovered: RecoveredChannels?
    var remote: SessionDescription?
    var isDTLSConnected = false

    /// Datagrams of DTLS that came before the peer's description did: a ClientHello outruns signalling. Only from where
    /// the peer has shown itself.
    var early: [[UInt8]] = []
    /// SCTP packets that DTLS decrypted and SCTP has not seen.
    var plaintext = PacketBuffer()
    /// SCTP packets on their way to DTLS.
    var sctpPackets = PacketBuffer()
    /// What ICE wants sent.
    var iceDatagrams: [Datagram] = []
    /// What ICE wants done for its relays.
    var relayRequests: [RelayRequest] = []
    /// What ICE wants done for guessing ports.
    var portRequests: [PeerPortRequest] = []
    /// Whether relays are asked for at all.
    var usesRelays = false
    /// Where the owner takes connections over TCP, for agents that are made from then on.
    public var listeners: [SocketAddress] = []
    /// Whether the selected path is a connection over TCP.
    var isStreamRoute = false
    /// The connection that packets last left by.
    var lastStream: RelayLink?
    /// Whether the selected path leads over a relay of either side.
    var isRelayed = false
    /// How many bytes may go over relays, see ``TransportCounters/bytesRelayed``.
    var relayAllowance = UInt64.max
    /// Whether the peer's relayed candidates are left alone.
    var refusesRelays = false
    var iceDeadline: Timestamp?
    /// The selected pair's addresses.
    var route: (source: SocketAddress, destination: SocketAddress)?
    /// A pair was selected since the last drain: whether it is another than before, and its round trip.
    var selection: (isNew: Bool, roundTrip: Duration?)?
    var isDTLSStarted = false
    var events: [Event] = []
    var keyOf: [ChannelPlace: ChannelKey] = [:]
    var channelOf: [ChannelKey: ChannelPlace] = [:]
    /// Channels that were opened before SCTP was there.
    var pending: [(key: ChannelKey, label: String, options: DataChannel.Options)] = []
    /// Thresholds that were set before their channel had a stream.
    var pendingThresholds: [ChannelKey: Int] = [:]
    var lastKey = 0
    var transport = TransportCounters()
    /// The SSRC of what is sent where audio is accepted.
    let audioSSRC: UInt32?
    #if SRTP
    var media: MediaEcho?
    #endif
    var ledger = StatsLedger()
    var closing = Closing()

    /// A core at rest.
    public init(configuration: Configuration, entropy: Entropy) {
        self.configuration = configuration
        self.entropy = entropy
        sessionID = self.entropy.next() >> 1
        audioSSRC = Self.acceptsAudio(configuration) ? UInt32(truncatingIfNeeded: self.entropy.next()) : nil
    }

    // MARK: - Descriptions

    /// Whether the local description is complete.
    public var isGatheringComplete: Bool {
        restart.offered.peek { $0.isGatheringComplete } ?? ice.peek { $0.isGatheringComplete } ?? false
    }

    /// What names us in STUN checks; empty before the start. After a restart the new one.
    public var localUfrag: String {
        restart.offered.peek { $0.localCredentials.ufrag } ?? ice.peek { $0.localCredentials.ufrag } ?? ""
    }

    /// The names that stand for addresses of this host in our candidates; for an ``MDNSResponder``.
    public var hostNames: [HostName] {
        (ice.peek { $0.hostNames } ?? []) + (restart.offered.peek { $0.hostNames } ?? [])
    }

    /// The peer's certificate (DER), once DTLS has checked it.
    public var remoteCertificate: [UInt8]? { isDTLSConnected ? dtls.peek { $0.peerCertificateDER } ?? nil : nil }

    /// The largest message that the peer takes (RFC 8841 §6.1), in bytes.
    public var remoteMaxMessageSize: Int {
        remote?.messageSizeLimit ?? Int(SessionDescription.defaultMaxMessageSize)
    }

    /// Makes the ICE agent and begins to gather on these sockets, from these STUN servers and these relays; after
    /// ``prepare(localAddresses:servers:turnServers:now:)`` with what that has found.
    public mutating func start(
        as side: Side, localAddresses: [SocketAddress], servers: [SocketAddress], turnServers: [TURNServer] = [],
        now: Timestamp
    ) throws(PeerConnectionError) {
        guard self.side == nil, state == .new else {
            throw PeerConnectionError(.invalidState, "a connection makes or takes one offer")
        }
        self.side = side
        localKind = side == .offerer ? .offer : .answer
        hasLocalOffer = side == .offerer
        let role: ICEAgent.Role = side == .offerer ? .controlling : .controlled
        if hasAgent {
            takePool(as: role)
        } else {
            gather(as: role, localAddresses, servers: servers, turnServers: turnServers, now: now)
        }
        pumpICE()
    }

    /// Whether a direct pair may take the place of a nominated relayed one: both ends are of those that recover losses,
    /// whose attribute promises this as well.
    func mayRenominate(_ description: SessionDescription) -> Bool {
        configuration.recoversLosses && description.linkVersion == RecoveredChannels.version
    }

    /// Our offer or answer, with what candidates were found so far.
    public var localDescription: SessionDescription {
        // Nothing is changed: with a borrowed value of so many parts the compiler's ownership checker takes minutes.
        mutating get throws(PeerConnectionError) {
            let isRestarting = restart.offered.peek { _ in true } ?? false
            guard
                let credentials = isRestarting
                    ? restart.offered.peek({ $0.localCredentials }) : ice.peek({ $0.localCredentials })
            else { throw PeerConnectionError(.invalidState, "no offer was made or taken") }
            let found = isRestarting ? restart.offered.peek { $0.localCandidates } : ice.peek { $0.localCandidates }
            let candidates = (found ?? []).filter { $0.kind != .peerReflexive }
            var own = SessionDescription.Parameters(
                sessionID: sessionID, iceUfrag: credentials.ufrag, icePwd: credentials.password,
                fingerprints: configuration.certificate.fingerprints.map {
                    .init(algorithm: $0.algorithm, bytes: $0.bytes)
                },
                candidates: candidates.map(\.description), endOfCandidates: isGatheringComplete)
            own.sessionVersion = sessionVersion
            let pacing = max(configuration.checkInterval, .milliseconds(5)).nanoseconds / 1_000_000
            if pacing != 50 { own.icePacing = Int(pacing) }
            own.maxMessageSize = UInt64(configuration.maxMessageSize)
            own.dreamer = configuration.dreamerAttribute
            if let nat = configuration.localNAT {
                own.dreamer = own.dreamer ?? DreamerAttribute()
                own.dreamer?.nat = DreamerAttribute.NAT(nat)
            }
            if configuration.recoversLosses { own.linkVersion = RecoveredChannels.version }
            own.audioSource = audioSSRC.map { .init(ssrc: $0, cname: "dreamer") }
            if localKind == .offer { return remote?.subsequentOffer(own) ?? .offer(own) }
            guard let remote else { throw PeerConnectionError(.invalidState, "there is no offer to answer") }
            // RFC 8842 §5.3: a later answer keeps the roles.
            if dtls.peek({ _ in true }) ?? false { own.preferredSetup = dtlsRole == .client ? .active : .passive }
            do {
                return try remote.answer(own)
            } catch {
                throw PeerConnectionError(.invalidDescription, "\(error)")
            }
        }
    }

    /// Takes the peer's offer or answer; checks begin. Throws where it cannot lead to a data channel. Where the offer
    /// restarts ICE, we gather on `localAddresses`, if they are given.
    public mutating func setRemoteDescription(
        _ description: SessionDescription, localAddresses: [SocketAddress] = [], now: Timestamp
    ) throws(PeerConnectionError) {
        if !localAddresses.isEmpty { restart.addresses = localAddresses }
        guard side != nil, state != .closed, state != .failed else {
            throw PeerConnectionError(
                .invalidState, "a remote description is taken after the local side has started and before it ends")
        }
        guard remote == nil else {
            try renegotiate(description, now: now)
            return
        }
        try check(description)
        guard let credentials = ICECredentials(ufrag: description.iceUfrag, password: description.icePwd) else {
            throw PeerConnectionError(
                .invalidDescription, "a=ice-ufrag or a=ice-pwd is no valid credential (RFC 8839 §5.4)")
        }
        guard description.securityFingerprints.contains(where: \.isUsable) else {
            throw PeerConnectionError(.dtlsFailed, "\(DTLSError.noUsableFingerprint)")
        }
        do {
            if let nat = description.dreamer?.behavior { ice?.setRemoteNAT(nat) }
            if mayRenominate(description) { ice?.allowRenomination() }
            try ice?.setRemote(
                credentials: credentials, lite: description.isICELite, pacing: description.checkInterval, now: now)
        } catch {
            throw PeerConnectionError(.invalidState, "\(error)")
        }
        remote = description
        hasLocalOffer = false
        dtlsRole = description.dtlsRole
        try makeChannels(description.dtlsRole)
        takeCandidates(of: description, now: now)
        setState(.connecting)
        pumpICE()
        let waiting = early
        early = []
        if !waiting.isEmpty { makeDTLS(now: now) }
        for datagram in waiting { receiveDTLS(datagram.span.bytes, now: now) }
    }

    /// Makes the DTLS session when it is needed: for a path that works, or for a datagram from where the peer has shown
    /// itself. What strangers send must not cost one.
    mutating func makeDTLS(now: Timestamp) {
        guard dtls == nil, let remote, state == .connecting else { return }
        var settings = DTLSTransport.Configuration()
        settings.mtu = datagramSize
        settings.keyLog = configuration.keyLog
        settings.ciphers = configuration.ciphers
        do {
            dtls = try DTLSTransport(
                role: dtlsRole, certificate: configuration.certificate,
                expectedFingerprints: remote.securityFingerprints, configuration: settings)
        } catch {
            fail(.dtlsFailed, "\(error)")
        }
        if dtlsRole == .server { dtls?.start(now: now) }
    }

    /// Whether there is a DTLS session, which is the first thing that costs memory worth mentioning.
    package var hasDTLS: Bool { dtls.peek { _ in true } ?? false }

    /// Whether a description fits what came before it.
    mutating func check(_ description: SessionDescription) throws(PeerConnectionError) {
        guard (description.type == .offer) == (localKind == .answer) else {
            throw PeerConnectionError(
                .invalidDescription, "an answer belongs to an offer of ours, an offer to an answer of ours")
        }
        guard !description.isRejected, description.sctpPort != 0 else {
            throw PeerConnectionError(.invalidDescription, "the peer refuses data channels (port 0, RFC 8841 §10)")
        }
        guard localKind == .offer else { return }
        let offer = try localDescription
        do {
            try offer.check(answer: description)
        } catch {
            throw PeerConnectionError(.invalidDescription, "\(error)")
        }
    }

    private mutating func makeChannels(_ role: DTLSTransport.Role) throws(PeerConnectionError) {
        var settings = DataChannelMultiplexer.Configuration(role: role == .client ? .client : .server)
        settings.association.remotePort = remote?.sctpPort ?? 5000
        // RFC 8261 §5: a packet fits one record, a record one datagram. Chunks come in multiples of four bytes.
        settings.association.maxPacketSize = (datagramSize - DTLSTransport.recordOverhead) & ~3
        // Older Pions drop an INIT with a parameter that they do not know, against RFC 9260 §3.2.1; so only those see
        // RFC 9653's that are like us.
        settings.association.acceptsZeroChecksum = remote?.linkVersion != nil
        settings.maxMessageSize = configuration.maxMessageSize
        if let size = configuration.sendBuffer { settings.association.sendBuffer = size }
        settings.remoteMaxMessageSize = Int(
            clamping: remote?.maxMessageSize ?? SessionDescription.defaultMaxMessageSize)
        do {
            channels = try DataChannelMultiplexer(configuration: settings)
        } catch {
            throw PeerConnectionError(.sctpFailed, "\(error)")
        }
        if let handle = channels?.handle { events.append(.associationCreated(handle)) }
        if configuration.recoversLosses, remote?.linkVersion == RecoveredChannels.version {
            recovered = RecoveredChannels(
                settings, maxPacketSize: datagramSize - DTLSTransport.recordOverhead)
        }
        let waiting = pending
        pending = []
        for (key, label, options) in waiting {
            do { try open(key, label, options) } catch { events.append(.channelClosed(key)) }
        }
    }

    // MARK: - State

    mutating func setState(_ new: State, _ failure: PeerConnectionError? = nil) {
        guard state != new, state != .closed, state != .failed || new == .closed else { return }
        state = new
        events.append(.stateChanged(new, failure))
    }

    /// Ends everything because of a failure.
    mutating func fail(_ code: PeerConnectionError.Code, _ message: String) {
        guard state != .closed, state != .failed else { return }
        // The reason comes before the channels' end, so that whoever reads them learns it.
        setState(.failed, PeerConnectionError(code, message))
        end(isAborting: true)
    }
}

extension SessionDescription {
    /// Our role towards the writer. An answerer that is free to choose is active, so that the handshake starts one trip
    /// earlier (RFC 8842 §5.3).
    var dtlsRole: DTLSTransport.Role { setup == .active ? .server : .client }

    /// Ta that the writer proposes.
    var checkInterval: Duration? { icePacing.map { .milliseconds(min($0, 3_600_000)) } }

    /// The hashes as DTLS takes them.
    var securityFingerprints: [DTLSFingerprint] {
        fingerprints.map { DTLSFingerprint(algorithm: $0.algorithm, bytes: $0.bytes) }
    }
}

extension Optional where Wrapped: ~Copyable {
    /// Looks at a value that cannot be copied, where there is one.
    borrowing func peek<Result>(_ body: (borrowing Wrapped) -> Result) -> Result? {
        switch self {
        case .some(let value): body(value)
        case .none: nil
        }
    }
}

extension DataChannelMultiplexer {
    /// Changes a value in place, so that a whole step can be written behind `?`.
    mutating func apply<Result, Failure: Error>(
        _ body: (inout DataChannelMultiplexer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(&self)
    }
}
