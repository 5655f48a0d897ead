// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Where bytes came from.
public enum ShardOrigin: String, Hashable, Sendable {
    /// From peers, the whole or the most of it.
    case p2p
    /// From the HTTP origin.
    case http
    /// It was on the disk.
    case disk
}

/// What happens in a swarm.
public enum SwarmEvent: Sendable {
    /// The node begins to look for peers.
    case announcing(at: Timestamp)
    /// So many offers were made, which go out now.
    case offered(count: Int, at: Timestamp)
    /// A connection's channel `control` is open; the hellos follow.
    case peerConnected(PeerHandle, NodeID, SessionRole, at: Timestamp)
    /// A peer's hello was checked.
    case peerJoined(PeerHandle, NodeID, agent: String)
    /// A peer is gone.
    case peerLeft(PeerHandle, NodeID, SwarmCloseReason)
    /// A node's connection was closed before its hello was checked: a wrong hello, or none.
    case peerRefused(NodeID, SwarmCloseReason)
    /// A peer lied or broke the format. Bytes verified before stay.
    case peerBanned(NodeID, reason: String)
    /// A peer says that it has these shards.
    case peerHas(PeerHandle, shards: [Int])
    /// The manifest came and matches the link.
    case manifest([UInt8])
    /// A shard is verified and stands under its final name.
    case shardVerified(index: Int, ShardOrigin)
    /// A shard was removed to make room.
    case shardEvicted(index: Int)
    /// Progress: bytes verified and bytes wanted.
    case progress(verified: Int, total: Int)
    /// Everything wanted is there.
    case complete
    /// The HTTP origin gave something wrong or failed for good.
    case originFailed(String)
    /// Something that people should know.
    case warning(String)
    /// The work cannot go on.
    case failed(SwarmFailure)
}

/// Why a swarm gives up.
public enum SwarmFailure: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wanted does not fit the quota.
    case quotaExceeded(needed: Int, quota: Int)
    /// A file could not be written.
    case storage(String)
    /// The manifest that the link names is none.
    case manifest(String)

    /// What is wrong, and what to do.
    public var description: String {
        switch self {
        case .quotaExceeded(let needed, let quota):
            "what is wanted takes \(needed) bytes, and the disk quota allows \(quota); raise the quota or fetch less"
        case .storage(let what): what
        case .manifest(let what): what
        }
    }
}
