// SPDX-License-Identifier: Apache-2.0
public import Wire

extension ICEAgent {
    /// What an agent is told before it starts. Durations are clamped to what the RFCs allow.
    public struct Configuration: Sendable, Hashable {
        /// The role to begin with: the side that makes the offer is controlling (RFC 8445 §6.1.1).
        public var role: Role = .controlling
        /// Servers that are asked for reflexive addresses, all at once; whoever answers counts.
        public var stunServers: [SocketAddress] = []
        /// Servers that are asked for relayed addresses, all at once: datagrams from each local address, streams once.
        public var turnServers: [TURNServer] = []
        /// What candidates there are.
        public var transportPolicy = TransportPolicy.all
        /// Whether each relay over UDP gets a socket of its own, which the driver opens (see ``RelayRequest``). It has
        /// to where agents share sockets, since a server knows an allocation by the address that it is asked from (RFC
        /// 8656 §5), and then another socket can be tried where an address is taken. Otherwise the agent's own sockets
        /// are used.
        public var opensRelaySockets = false
        /// What our NAT does, where that is known.
        public var localNAT: NATBehavior?
        /// How many ports after the one that a server saw are checked, where the peer's NAT takes another for each
        /// destination, one after the other; 0 for none. Both sides' behaviour has to be known for it, see
        /// ``ICEAgent/setRemoteNAT(_:)``.
        public var predictedPorts = 0
        /// The hops that an answerer's first packet to each reflexive address may take: more than to its own NAT, fewer
        /// than to the peer's; `nil` for no such packets. There are NATs, Linux's without a firewall among them, that
        /// take a stranger's packet to a port for its owner and then give their own host another port.
        public var openingHopLimit: UInt8?
        /// How long an answerer with an opening limit leaves checking to the peer.
        public var openingHold: Duration = .seconds(1)
        /// What probing may cost where a NAT's ports cannot be predicted, see ``ICEAgent/BirthdayBudget``; `nil`, the
        /// default, for no such probing. It is nothing for hosts that pay by packet. Both sides' behaviour has to be
        /// known for it.
        public var birthdayBudget: BirthdayBudget?
        /// Whether candidates have a name of multicast DNS in place of the host's addresses, as browsers write them for
        /// pages that may not know those (draft-ietf-mmusic-mdns-ice-candidates). ``ICEAgent/hostNames`` are then for
        /// an ``MDNSResponder``.
        public var hidesHostAddresses = false
        /// Names that are answered for already, and stand for their addresses in candidates; other addresses get fresh
        /// ones.
        public var hostNames: [HostName] = []
        /// Which candidates for TCP there are (RFC 6544); without any, those of the peer are not used either.
        public var tcpCandidates = TCPCandidates.none
        /// Whether loopback addresses become candidates. RFC 8445 §5.1.1.1 forbids it outside one host.
        public var allowsLoopback = false

        /// Ta: the least time between two new checks, at least 5 ms (RFC 8445 §14.2). A value other than 50 ms must be
        /// told to the peer (`a=ice-pacing`); the larger of both sides' values holds.
        public var checkInterval: Duration = .milliseconds(50)
        /// The wait for the first retransmission, at least 500 ms (RFC 8445 §14.3).
        public var initialRTO: Duration = .milliseconds(500)
        /// Whether the check that nominates waits for Ta as well. It repeats a check that just succeeded, so that it
        /// makes no new binding in any NAT, which is what pacing is for (RFC 8445 §B.1); hence it goes out at once by
        /// default.
        public var pacesNomination = false
        /// How long a controlling agent waits for a better kind of pair once one works. Data flows meanwhile.
        public var nominationDelay: Duration = .milliseconds(100)
        /// The same where the pair that works has a relay in it: long enough for checks to be lost twice on a direct
        /// way. Data flows meanwhile, and a nominated pair stays.
        public var relayNominationDelay: Duration = .seconds(2)

        /// When gathering ends, whatever servers do.
        public var gatheringTimeout: Duration = .seconds(2)
        /// How long gathering waits for answers to its last request, once any server has answered.
        public var gatheringGrace: Duration = .milliseconds(100)

        /// The base period of consent checks, at least 5 s (RFC 7675 §5.1); `nil` for none, for research alone.
        public var consentInterval: Duration? = .seconds(5)
        /// When consent expires without an answer (RFC 7675 §5.1).
        public var consentTimeout: Duration = .seconds(30)
        /// When ``State/disconnected`` is reported without an answer.
        public var disconnectedTimeout: Duration = .seconds(10)
        /// Tr: a keepalive is sent when nothing else was for so long, at least 15 s (RFC 8445 §11).
        public var keepaliveInterval: Duration = .seconds(15)
        /// The PAC timer: no failure before it has run (RFC 8863 §4).
        public var pacTimeout: Duration = .milliseconds(39_500)

        /// Most pairs in the checklist (RFC 8445 §6.1.2.5).
        public var maximumPairs = 100
        /// Most candidates of each side.
        public var maximumCandidates = 100
        /// Most remote candidates that are learned from checks.
        public var maximumLearnedCandidates = 32
        /// Most relays that are asked.
        public var maximumRelays = 8
        /// Most connections to and from the peer at a time.
        public var maximumStreams = 32
        /// Most checks remembered until the peer's credentials are known.
        public var maximumEarlyChecks = 32

        /// Whether ``ICEAgent/Event/decision(_:)`` is reported. Off, a decision costs one branch.
        public var reportsDecisions = false

        /// The values above.
        public init() {}
    }

    /// What ways to the peer are used: those of W3C's RTCIceTransportPolicy.
    public enum TransportPolicy: String, Sendable, Hashable {
        /// Direct ones first, relays where there is no other.
        case all
        /// Relays alone. No packet goes to an address of the peer's or to a STUN server, no packet of the peer's is
        /// answered that comes another way, and no address of this host stands in any candidate.
        case relay
    }

    /// Which candidates for TCP there are.
    public enum TCPCandidates: String, Sendable, Hashable, CaseIterable {
        /// None.
        case none
        /// For each address one that opens connections to the peer's passive candidates.
        case active
        /// Those, and one for each ``ICEAgent/addLocalListener(_:now:)``.
        case both
    }

    /// Who chooses the pair (RFC 8445 §6.1.1).
    public enum Role: String, Sendable, Hashable {
        /// This agent does.
        case controlling
        /// The peer does.
        case controlled
    }

    /// How far an agent has come.
    ///
    ///     new ──credentials──▶ checking ──a pair works──▶ connected ──nominated──▶ completed
    ///                              │                        │  ▲                     │  ▲
    ///                              │                   no answers for 10 s ──▶ disconnected
    ///                              └──nothing worked──▶ failed ◀── no consent for 30 s ──┘
    public enum State: String, Sendable, Hashable {
        /// The peer's credentials are not known.
        case new
        /// No pair works yet.
        case checking
        /// A pair works and data may be sent on it; a better one may still take its place.
        case connected
        /// A pair is nominated, and stays.
        case completed
        /// The peer has not answered for a while.
        case disconnected
        /// Nothing worked, or the peer withdrew. Final.
        case failed
        /// ``ICEAgent/close()`` was called. Final.
        case closed
    }

    /// What an agent reports.
    public enum Event: Sendable, Hashable {
        /// The state changed.
        case stateChanged(State)
        /// A candidate for the peer. No check leaves from it before this event.
        case localCandidate(ICECandidate)
        /// No more local candidates will come: the moment for a full offer, or for end-of-candidates.
        case gatheringComplete
        /// Data goes here from now on. May come again until a pair is nominated.
        case selectedPair(ICECandidatePair)
        /// The driver is to do something for a relay or for a pair over TCP. None comes without
        /// ``Configuration/turnServers`` that are reached over streams, ``Configuration/opensRelaySockets`` or
        /// ``Configuration/tcpCandidates``.
        case relay(RelayRequest)
        /// The driver is to open or close sockets for probing. None comes without ``Configuration/birthdayBudget``.
        case ports(PortRequest)
        /// See ``Configuration/reportsDecisions``.
        case decision(ICEDecision)
    }

    /// What was received and was of no use, and what was sent.
    public struct Counters: Sendable, Hashable {
        /// Datagrams that are no STUN, or broken.
        public var malformed = 0
        /// Messages whose FINGERPRINT is missing or wrong.
        public var badFingerprints = 0
        /// Requests refused, for want of a right proof or other reasons.
        public var requestsRefused = 0
        /// Responses that no request of ours asked for.
        public var unexpectedResponses = 0
        /// Responses without a right proof.
        public var unauthenticatedResponses = 0
        /// Messages of other methods, or to addresses that are not ours.
        public var ignored = 0
        /// Binding indications received.
        public var indications = 0
        /// Requests answered with success.
        public var requestsAnswered = 0
        /// New checks sent.
        public var checksSent = 0
        /// Checks sent to guess ports, or from many of them.
        public var probesSent = 0
        /// Copies of requests sent again.
        public var retransmissions = 0
        /// Checks and learned candidates dropped because a bound was reached.
        public var overLimit = 0
    }
}

/// What a caller did wrong.
public enum ICEError: Error, Hashable, Sendable {
    /// Other credentials were set before. A new pair of credentials needs a restart (RFC 8445 §9).
    case remoteCredentialsAlreadySet
    /// The agent failed or was closed.
    case ended
}
