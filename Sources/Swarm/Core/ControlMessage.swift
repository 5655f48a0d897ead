// SPDX-License-Identifier: Apache-2.0

/// What two nodes say to each other on the channel `control`: JSON objects as text.
///
///     hello ⇄ hello → bitfield, have, dont_have, have_groups
///     want / manifest_request → frames on `bulk`, or reject;   cancel → reject
///     choke, unchoke, ping → pong
public enum ControlMessage: Hashable, Sendable {
    /// First both ways: who speaks, and the proof that it knows the link.
    case hello(Hello)
    /// Which shards the sender has, most significant bit first. Replaces what it said before.
    case bitfield([UInt8])
    /// Shards newly verified.
    case have([UInt32])
    /// Shards evicted, their groups too.
    case dontHave([UInt32])
    /// Verified groups of a shard that is not whole yet.
    case haveGroups(shardIndex: UInt32, ranges: [GroupRange])
    /// Asks for a range of a shard.
    case want(Want)
    /// Takes a request back.
    case cancel(shardIndex: UInt32, requestID: UInt32)
    /// Ends a request without (the rest of) its bytes.
    case reject(Reject)
    /// Asks for the manifest.
    case manifestRequest(requestID: UInt32)
    /// The sender serves the receiver no more for now.
    case choke
    /// The sender serves the receiver again.
    case unchoke
    /// Asks for a `pong` with the same number.
    case ping(nonce: Int64)
    /// Answers a `ping`.
    case pong(nonce: Int64)
    /// A type this node does not know, `nil` where the type is no string. Ignored.
    case unknown(type: String?)

    /// The shard index that stands for the manifest.
    public static let manifestIndex: UInt32 = 0xFFFF_FFFF
    /// The most bytes that a message may have in UTF-8.
    public static let maximumByteCount = 64 * 1024
    /// The most brackets inside each other; the outer object is 1.
    public static let maximumDepth = 8
    /// The largest integer that every reader of JSON keeps exact.
    public static let maximumInteger: Int64 = 1 << 53

    /// The fields of `hello`.
    public struct Hello: Hashable, Sendable {
        /// The highest version that the sender speaks.
        public var version: Int64
        /// The lowest.
        public var minVersion: Int64
        /// Who sends it.
        public var nodeID: NodeID
        /// Which of the connections between the two nodes this is; 0 is the main one.
        public var lane: Int64
        /// The keyed hash over both certificates, 32 bytes.
        public var binding: [UInt8]
        /// Program and version, for people.
        public var agent: String
        /// What the sender can do beyond the protocol's core.
        public var features: [String]
        /// How many unfinished requests the sender accepts.
        public var maxRequests: Int64

        /// A hello of this version of the protocol.
        public init(
            version: Int64 = 1, minVersion: Int64 = 1, nodeID: NodeID, lane: Int64 = 0, binding: [UInt8],
            agent: String, features: [String] = [], maxRequests: Int64 = 64
        ) {
            self.version = version
            self.minVersion = minVersion
            self.nodeID = nodeID
            self.lane = lane
            self.binding = binding
            self.agent = agent
            self.features = features
            self.maxRequests = maxRequests
        }
    }

    /// A run of groups.
    public struct GroupRange: Hashable, Sendable {
        /// The first group.
        public var first: Int64
        /// How many.
        public var count: Int64

        /// A run from its parts.
        public init(first: Int64, count: Int64) {
            self.first = first
            self.count = count
        }
    }

    /// The fields of `want`.
    public struct Want: Hashable, Sendable {
        /// The shard, or `shards.count + j` for file `j`.
        public var shardIndex: UInt32
        /// The request's number; 0 where the message has none.
        public var requestID: UInt32
        /// Where the range starts, in bytes; absent means 0.
        public var offset: Int64?
        /// How long the range is, in bytes; absent means to the shard's end.
        public var length: Int64?
        /// Whether the group values are wanted: absent once a connection and shard, true now, false never.
        public var proof: Bool?

        /// A want from its parts.
        public init(shardIndex: UInt32, requestID: UInt32, offset: Int64? = nil, length: Int64? = nil, proof: Bool? = nil) {
            self.shardIndex = shardIndex
            self.requestID = requestID
            self.offset = offset
            self.length = length
            self.proof = proof
        }
    }

    /// The fields of `reject`.
    public struct Reject: Hashable, Sendable {
        /// Why a request ends.
        public enum Reason: String, Hashable, Sendable {
            /// The sender does not have it.
            case missing
            /// The sender has too much to do.
            case busy
            /// The receiver is choked.
            case choked
            /// The range is not aligned, empty or past the end.
            case range
            /// The receiver took it back.
            case cancelled
            /// Too many unfinished requests, or messages too small for the other side.
            case limit
            /// Reading failed.
            case io
        }

        /// Which request; 0 for a want without number.
        public var requestID: UInt32
        /// Its shard.
        public var shardIndex: UInt32
        /// Why; `nil` for a reason this node does not know.
        public var reason: Reason?

        /// A reject from its parts.
        public init(requestID: UInt32, shardIndex: UInt32, reason: Reason?) {
            self.requestID = requestID
            self.shardIndex = shardIndex
            self.reason = reason
        }
    }
}
