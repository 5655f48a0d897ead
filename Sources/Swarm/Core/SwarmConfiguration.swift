// SPDX-License-Identifier: Apache-2.0

/// What a node may use and how it behaves.
public struct SwarmConfiguration: Sendable {
    /// Program and version, told to peers.
    public var agent = "dreamer"
    /// Bytes a second sent in all, `nil` for no limit.
    public var uploadLimit: Int?
    /// Bytes a second asked for in all, `nil` for no limit.
    public var downloadLimit: Int?
    /// Connections at a time.
    public var maxPeers = 50
    /// Peers served at a time; the others are choked and take turns.
    public var uploadSlots = 16
    /// Bytes that the model's folder may hold, `nil` for no limit.
    public var diskQuota: Int?
    /// Never ask the HTTP origin.
    public var p2pOnly = false
    /// How long a group may have no peer before the HTTP origin is asked.
    public var originGrace: Duration = .seconds(2)
    /// Ranges asked of the HTTP origin at a time.
    public var originRequests = 4
    /// Unfinished requests that this node accepts from one peer.
    public var maxRequests = 64
    /// Bytes of a shard in one frame, a divisor of the group's 131,072 or less for small messages.
    public var chunkSize = 64 * 1024
    /// Bytes asked of one peer and not yet come, at most.
    public var maximumInFlight = 32 << 20
    /// Whether the bulk channel repeats what is lost. False with `maxRetransmits`.
    public var bulkIsReliable = true
    /// Part of the bytes to be fetched that may come twice when requests move from a slow peer to a fast one.
    public var duplicateAllowance = 0.005

    /// The defaults.
    public init() {}
}
