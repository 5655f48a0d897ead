// SPDX-License-Identifier: Apache-2.0

public import Wire

/// An offer or an answer for data channels (RFC 8829, RFC 8841), as far as data channels need one.
///
/// The reader takes what browsers and other stacks write and ignores what it does not know; the writer writes exactly
/// what the RFCs say. Sections for audio and video are remembered, so that an answer can refuse them in their places.
public struct SessionDescription: Hashable, Sendable {
    /// Which half of the exchange this is, under the names of signalling messages.
    public enum Kind: String, Hashable, Sendable {
        /// The first half.
        case offer
        /// The second half.
        case answer
        /// An answer that may still change; read like an answer.
        case provisionalAnswer = "pranswer"
    }

    /// Which side begins the DTLS handshake (RFC 8842 §5, RFC 4145 §4).
    public enum Setup: String, Hashable, Sendable {
        /// Either; the answerer chooses. In offers alone.
        case actpass
        /// The writer is the DTLS client.
        case active
        /// The writer is the DTLS server.
        case passive
    }

    /// A hash of the writer's certificate (RFC 8122 §5).
    public struct Fingerprint: Hashable, Sendable {
        /// The hash function's name in lower case, such as `sha-256`.
        public var algorithm: String
        /// The hash.
        public var bytes: [UInt8]

        /// A fingerprint from its parts.
        public init(algorithm: String, bytes: [UInt8]) {
            self.algorithm = algorithm
            self.bytes = bytes
        }
    }

    /// How the `m=` line names the protocol.
    public enum Profile: Hashable, Sendable {
        /// `UDP/DTLS/SCTP webrtc-datachannel` (RFC 8841).
        case udp
        /// `TCP/DTLS/SCTP webrtc-datachannel`: the same, when the default candidate is TCP.
        case tcp
        /// `DTLS/SCTP 5000` with `a=sctpmap:5000 webrtc-datachannel 1024`: drafts before 2017, still written by some.
        case sctpmap
    }

    /// A section that is not about data channels, or one too many of those.
    public struct OtherSection: Hashable, Sendable {
        /// Its place among all sections, from 0.
        public var index: Int
        /// The media, such as `audio`.
        public var media: String
        /// The protocol, such as `UDP/TLS/RTP/SAVPF`.
        public var proto: String
        /// The formats, such as `111 63 9`.
        public var formats: String
        /// Its identification (RFC 5888), if it has one.
        public var mid: String?
        /// What it says, if it is about audio and could be accepted; in an answer, if it is not refused.
        public var audio: Audio?

        /// A section from its parts.
        public init(
            index: Int, media: String, proto: String, formats: String, mid: String? = nil, audio: Audio? = nil
        ) {
            self.index = index
            self.media = media
            self.proto = proto
            self.formats = formats
            self.mid = mid
            self.audio = audio
        }
    }

    /// Offer or answer.
    public var type: Kind
    /// The number of the session in the `o=` line (below 2^63).
    public var sessionID: UInt64
    /// The version in the `o=` line: one more for each new description of a session.
    public var sessionVersion: UInt64
    /// What Dreamer peers tell each other.
    public var dreamer: DreamerAttribute?
    /// `a=dreamer-link:<version>`: the writer can recover losses below SCTP. Acted on only where both sides write the
    /// same version.
    public var linkVersion: Int?

    /// The ICE user fragment (RFC 8839 §5.4).
    public var iceUfrag: String
    /// The ICE password.
    public var icePwd: String
    /// ICE options such as `trickle` and `ice2` (RFC 8839 §5.6).
    public var iceOptions: [String]
    /// Ta that the writer proposes for checks, in milliseconds; `nil` stands for 50 (RFC 8839 §5.5).
    public var icePacing: Int?
    /// Whether the writer is an ICE-lite agent.
    public var isICELite: Bool
    /// Candidates, each a `candidate:…` without the `a=` before it (RFC 8839 §5.1). Not looked into.
    public var candidates: [String]
    /// Whether no further candidates follow (RFC 8840 §8.2).
    public var endOfCandidates: Bool

    /// Hashes of the writer's certificate; at least one.
    public var fingerprints: [Fingerprint]
    /// The DTLS role.
    public var setup: Setup
    /// The identity of the DTLS association (RFC 8842 §4).
    public var tlsID: String?

    /// The section's identification (RFC 5888), `nil` where the writer gave none.
    public var mid: String?
    /// Whether the section is in a BUNDLE group (RFC 9143).
    public var isBundled: Bool
    /// How the `m=` line names the protocol.
    public var profile: Profile
    /// The SCTP port (RFC 8841 §5); 0 in an answer closes the association.
    public var sctpPort: UInt16
    /// The longest message that the writer takes, in bytes, as written: 0 means any size. 65,536 where the attribute is
    /// absent (RFC 8841 §6.1).
    public var maxMessageSize: UInt64
    /// Whether the section for data channels is refused (port 0).
    public var isRejected: Bool
    /// The place of the section for data channels among all sections, from 0.
    public var sectionIndex: Int
    /// All sections but the one for data channels, in order.
    public var otherSections: [OtherSection]

    /// RFC 8841 §6.1: what an absent attribute means.
    public static let defaultMaxMessageSize: UInt64 = 65_536

    /// The longest message that may be sent to the writer: ``maxMessageSize`` with "any size" as the largest number.
    public var messageSizeLimit: Int {
        maxMessageSize == 0 ? .max : Int(clamping: maxMessageSize)
    }

    /// Whether the writer accepts candidates one by one (RFC 8838).
    public var acceptsTrickle: Bool { iceOptions.contains("trickle") }
}

extension SessionDescription {
    /// A description from the object that signalling carries: `{"type": "offer", "sdp": "v=0…"}`. Other members are
    /// ignored.
    public init(json: JSON) throws(SDPError) {
        guard let type = json["type"]?.string.flatMap(Kind.init), let sdp = json["sdp"]?.string else {
            throw SDPError(.notADescription)
        }
        try self.init(parsing: sdp, type: type)
    }

    /// The object that signalling carries.
    public var json: JSON { ["type": .string(type.rawValue), "sdp": .string(description)] }
}
