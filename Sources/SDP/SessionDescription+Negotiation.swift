// SPDX-License-Identifier: Apache-2.0

extension SessionDescription {
    /// What one side has to say for itself, in an offer or an answer.
    public struct Parameters: Hashable, Sendable {
        /// A random number below 2^63 (RFC 8829 §5.2.1).
        public var sessionID: UInt64
        /// One more for each new description of a session (RFC 8829 §5.2.2, §5.3.2).
        public var sessionVersion: UInt64 = 1
        /// The ICE user fragment and password.
        public var iceUfrag: String
        /// The ICE password.
        public var icePwd: String
        /// Hashes of the certificate.
        public var fingerprints: [Fingerprint]
        /// Candidates, each a `candidate:…`, with or without `a=` before it.
        public var candidates: [String]
        /// Whether these are all.
        public var endOfCandidates: Bool
        /// RFC 8829 §5.2.1: both always.
        public var iceOptions = ["trickle", "ice2"]
        /// Ta to propose for checks, in milliseconds; RFC 8445 §14.2 wants any but 50 told.
        public var icePacing: Int?
        /// The DTLS role to choose where the choice is ours: in answers to `actpass`. RFC 8842 §5.3 leaves it to the
        /// answerer; active saves the time that the answer travels.
        public var preferredSetup = Setup.active
        /// The identity of a new DTLS association, 20 to 255 characters (RFC 8842 §4). An answer carries it only if the
        /// offer had one.
        public var tlsID: String?
        /// The SCTP port; every stack uses 5000.
        public var sctpPort: UInt16 = 5000
        /// The longest message that is taken, 0 for any.
        public var maxMessageSize: UInt64 = 262_144
        /// What to tell Dreamer peers.
        public var dreamer: DreamerAttribute?
        /// The version of the layer below SCTP that recovers losses, `nil` not to offer it.
        public var linkVersion: Int?
        /// Accepts the first audio section of an offer that shares the transport of the data channels, with this as the
        /// source of what is sent there; with `nil` it is inactive like every other.
        public var audioSource: Audio.Source?

        /// The parameters that have no default.
        public init(
            sessionID: UInt64, iceUfrag: String, icePwd: String, fingerprints: [Fingerprint], candidates: [String] = [],
            endOfCandidates: Bool = false
        ) {
            self.sessionID = sessionID
            self.iceUfrag = iceUfrag
            self.icePwd = icePwd
            self.fingerprints = fingerprints
            self.candidates = candidates
            self.endOfCandidates = endOfCandidates
        }
    }

    /// An offer of data channels alone.
    public static func offer(_ own: Parameters) -> SessionDescription {
        SessionDescription(
            type: .offer, own: own, setup: .actpass, tlsID: own.tlsID, mid: "0", isBundled: true, profile: .udp,
            sectionIndex: 0, otherSections: [])
    }

    /// A later offer in the session that this description of the peer's belongs to: the same sections in the same order
    /// (RFC 3264 §8), and either DTLS role, which changes nothing where an association exists (RFC 8842 §5.5).
    public func subsequentOffer(_ own: Parameters) -> SessionDescription {
        SessionDescription(
            type: .offer, own: own, setup: .actpass, tlsID: own.tlsID, mid: mid, isBundled: isBundled,
            profile: profile, sectionIndex: sectionIndex, otherSections: otherSections)
    }

    /// The answer to this offer: data channels accepted, audio on their transport inactive (unless
    /// ``Parameters/audioSource`` accepts it), everything else refused in its place. RFC 9143 §7.3.3 allows that in an
    /// initial exchange even for the first section of a BUNDLE group (RFC 8829 §5.3.1 had the whole group refused with
    /// it, and a browser's offer of video and data would never have led to data).
    ///
    /// Throws ``SDPError/Code/mismatch(_:)`` when this is no offer. To an offer whose section is refused, or whose SCTP
    /// port is 0 (RFC 8841 §10.3), the answer is the same, and nothing must be connected.
    public func answer(_ own: Parameters) throws(SDPError) -> SessionDescription {
        guard type == .offer else { throw SDPError(.mismatch("only an offer can be answered")) }
        let role: Setup =
            switch setup {
            case .active: .passive
            case .passive: .active
            case .actpass: own.preferredSetup == .passive ? .passive : .active
            }
        var answer = SessionDescription(
            type: .answer, own: own, setup: role, tlsID: tlsID == nil ? nil : own.tlsID, mid: mid,
            isBundled: isBundled, profile: profile, sectionIndex: sectionIndex,
            otherSections: answeredSections(own.audioSource))
        answer.isRejected = isRejected
        if sctpPort == 0 { answer.sctpPort = 0 }
        // RFC 8838 §5: to a side that does not trickle, nothing is trickled; it must not hope for more.
        if !acceptsTrickle { answer.iceOptions.removeAll { $0 == "trickle" } }
        return answer
    }

    /// Checks that an answer fits this offer: the same sections in the same order (RFC 3264 §6) and a DTLS role that
    /// the offer left open (RFC 8842 §5.3).
    public func check(answer: SessionDescription) throws(SDPError) {
        guard type == .offer, answer.type != .offer else {
            throw SDPError(.mismatch("an offer and an answer are needed"))
        }
        guard answer.sectionIndex == sectionIndex, answer.otherSections.count == otherSections.count else {
            throw SDPError(.mismatch("it has other sections"))
        }
        guard answer.mid == nil || answer.mid == mid else { throw SDPError(.mismatch("it has another a=mid")) }
        guard !answer.isRejected, answer.sctpPort != 0 else { return }
        guard setup == .actpass || setup != answer.setup else {
            throw SDPError(.mismatch("both have the same a=setup"))
        }
    }

    private init(
        type: Kind, own: Parameters, setup: Setup, tlsID: String?, mid: String?, isBundled: Bool, profile: Profile,
        sectionIndex: Int, otherSections: [OtherSection]
    ) {
        self.type = type
        self.setup = setup
        self.tlsID = tlsID
        self.mid = mid
        self.isBundled = isBundled
        self.profile = profile
        self.sectionIndex = sectionIndex
        self.otherSections = otherSections
        sessionID = own.sessionID & (UInt64.max >> 1)
        sessionVersion = own.sessionVersion
        dreamer = own.dreamer
        linkVersion = own.linkVersion
        iceUfrag = own.iceUfrag
        icePwd = own.icePwd
        iceOptions = own.iceOptions
        icePacing = own.icePacing
        isICELite = false
        candidates = own.candidates.map { TrickleCandidate.normalized($0) }
        endOfCandidates = own.endOfCandidates
        fingerprints = own.fingerprints
        sctpPort = own.sctpPort
        maxMessageSize = own.maxMessageSize
        isRejected = false
    }
}
