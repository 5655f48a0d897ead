// SPDX-License-Identifier: Apache-2.0

//  0                   1                   2                   3
//  +-------------------------------+-------------------------------+
//  |             Type              |            Length             |   RFC 8489 §14
//  +-------------------------------+-------------------------------+
//  |             Value, padded with 0 to 3 bytes                ....

/// A type and a value inside a STUN message. The length excludes padding; on the wire values start at multiples of
/// four.
public struct STUNAttribute: Hashable, Sendable {
    /// What the value means.
    public var kind: Kind
    /// The value as it stands on the wire, without padding.
    public var value: [UInt8]

    /// An attribute from its parts.
    public init(_ kind: Kind, _ value: [UInt8]) {
        self.kind = kind
        self.value = value
    }

    /// An attribute's type, open for those that this codec has no name for.
    public struct Kind: RawRepresentable, Hashable, Sendable {
        /// The number on the wire.
        public let rawValue: UInt16

        /// A type from its number.
        public init(rawValue: UInt16) {
            self.rawValue = rawValue
        }

        /// Whether who does not know this type must refuse the message (RFC 8489 §14).
        public var isComprehensionRequired: Bool { rawValue < 0x8000 }

        // RFC 8489 §18.3.
        /// The address as an RFC 3489 server writes it.
        public static let mappedAddress = Kind(rawValue: 0x0001)
        /// Whom the request is for and who asks.
        public static let username = Kind(rawValue: 0x0006)
        /// HMAC-SHA1 of what comes before.
        public static let messageIntegrity = Kind(rawValue: 0x0008)
        /// Why a request was refused.
        public static let errorCode = Kind(rawValue: 0x0009)
        /// The types that made a request incomprehensible.
        public static let unknownAttributes = Kind(rawValue: 0x000A)
        /// Where long-term credentials are valid.
        public static let realm = Kind(rawValue: 0x0014)
        /// What makes long-term proofs expire.
        public static let nonce = Kind(rawValue: 0x0015)
        /// HMAC-SHA256 of what comes before.
        public static let messageIntegritySHA256 = Kind(rawValue: 0x001C)
        /// The way chosen to make a key of a password.
        public static let passwordAlgorithm = Kind(rawValue: 0x001D)
        /// A user's name, hashed.
        public static let userhash = Kind(rawValue: 0x001E)
        /// The address that the request came from, masked from meddling NATs.
        public static let xorMappedAddress = Kind(rawValue: 0x0020)
        /// The name of the software that sends.
        public static let software = Kind(rawValue: 0x8022)
        /// CRC-32 over the message, to tell it from other traffic.
        public static let fingerprint = Kind(rawValue: 0x8028)

        // RFC 8656 §18.
        /// A channel of an allocation.
        public static let channelNumber = Kind(rawValue: 0x000C)
        /// How long an allocation lives, in seconds.
        public static let lifetime = Kind(rawValue: 0x000D)
        /// The peer that data goes to or comes from, masked.
        public static let xorPeerAddress = Kind(rawValue: 0x0012)
        /// The payload of a Send or Data indication.
        public static let data = Kind(rawValue: 0x0013)
        /// The address that a server allocated, masked.
        public static let xorRelayedAddress = Kind(rawValue: 0x0016)
        /// The address family wanted of an allocation.
        public static let requestedAddressFamily = Kind(rawValue: 0x0017)
        /// An even port is wanted, and perhaps the next one reserved.
        public static let evenPort = Kind(rawValue: 0x0018)
        /// The transport between server and peer.
        public static let requestedTransport = Kind(rawValue: 0x0019)
        /// Datagrams to the peer are not to be fragmented.
        public static let dontFragment = Kind(rawValue: 0x001A)
        /// A port that an earlier allocation reserved.
        public static let reservationToken = Kind(rawValue: 0x0022)
        /// A second relayed address, of another family, is wanted.
        public static let additionalAddressFamily = Kind(rawValue: 0x8000)
        /// Why there is no second relayed address.
        public static let addressErrorCode = Kind(rawValue: 0x8001)
        /// An ICMP error that a datagram to a peer met.
        public static let icmp = Kind(rawValue: 0x8004)

        // RFC 8489 §18.3, comprehension-optional.
        /// The ways that a server has to make a key of a password.
        public static let passwordAlgorithms = Kind(rawValue: 0x8002)
        /// The name that the certificate of an alternate server is for.
        public static let alternateDomain = Kind(rawValue: 0x8003)
        /// A server to ask instead.
        public static let alternateServer = Kind(rawValue: 0x8023)

        // RFC 5780 §7.
        /// The server is to answer from another address or port.
        public static let changeRequest = Kind(rawValue: 0x0003)
        /// Bytes of no meaning that make a message long.
        public static let padding = Kind(rawValue: 0x0026)
        /// The port that the answer is to go to.
        public static let responsePort = Kind(rawValue: 0x0027)
        /// Where an answer came from.
        public static let responseOrigin = Kind(rawValue: 0x802B)
        /// Where an answer would come from with both address and port changed.
        public static let otherAddress = Kind(rawValue: 0x802C)

        // RFC 8445 §20.1.
        /// The priority that a peer-reflexive candidate learned from this check gets.
        public static let priority = Kind(rawValue: 0x0024)
        /// The controlling agent chooses this pair.
        public static let useCandidate = Kind(rawValue: 0x0025)
        /// The sender believes to be controlled; holds its tie-breaker.
        public static let iceControlled = Kind(rawValue: 0x8029)
        /// The sender believes to be controlling; holds its tie-breaker.
        public static let iceControlling = Kind(rawValue: 0x802A)
    }
}

extension STUNAttribute.Kind: CustomStringConvertible {
    /// The RFC's name, or the number where it has none here.
    public var description: String {
        switch self {
        case .mappedAddress: "MAPPED-ADDRESS"
        case .username: "USERNAME"
        case .messageIntegrity: "MESSAGE-INTEGRITY"
        case .errorCode: "ERROR-CODE"
        case .unknownAttributes: "UNKNOWN-ATTRIBUTES"
        case .realm: "REALM"
        case .nonce: "NONCE"
        case .passwordAlgorithm: "PASSWORD-ALGORITHM"
        case .userhash: "USERHASH"
        case .messageIntegritySHA256: "MESSAGE-INTEGRITY-SHA256"
        case .xorMappedAddress: "XOR-MAPPED-ADDRESS"
        case .software: "SOFTWARE"
        case .fingerprint: "FINGERPRINT"
        case .priority: "PRIORITY"
        case .useCandidate: "USE-CANDIDATE"
        case .iceControlled: "ICE-CONTROLLED"
        case .iceControlling: "ICE-CONTROLLING"
        case .channelNumber: "CHANNEL-NUMBER"
        case .lifetime: "LIFETIME"
        case .xorPeerAddress: "XOR-PEER-ADDRESS"
        case .data: "DATA"
        case .xorRelayedAddress: "XOR-RELAYED-ADDRESS"
        case .requestedAddressFamily: "REQUESTED-ADDRESS-FAMILY"
        case .evenPort: "EVEN-PORT"
        case .requestedTransport: "REQUESTED-TRANSPORT"
        case .dontFragment: "DONT-FRAGMENT"
        case .reservationToken: "RESERVATION-TOKEN"
        case .additionalAddressFamily: "ADDITIONAL-ADDRESS-FAMILY"
        case .addressErrorCode: "ADDRESS-ERROR-CODE"
        case .icmp: "ICMP"
        case .passwordAlgorithms: "PASSWORD-ALGORITHMS"
        case .alternateDomain: "ALTERNATE-DOMAIN"
        case .alternateServer: "ALTERNATE-SERVER"
        case .changeRequest: "CHANGE-REQUEST"
        case .padding: "PADDING"
        case .responsePort: "RESPONSE-PORT"
        case .responseOrigin: "RESPONSE-ORIGIN"
        case .otherAddress: "OTHER-ADDRESS"
        default: "0x" + String(rawValue, radix: 16)
        }
    }
}
