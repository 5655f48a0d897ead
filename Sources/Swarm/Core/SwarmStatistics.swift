// SPDX-License-Identifier: Apache-2.0
public import Wire

/// What a node has moved.
public struct SwarmStatistics: Hashable, Sendable {
    /// Bytes of shards that came from peers and were new.
    public var bytesFromPeers = 0
    /// When the first of them came.
    public var firstPeerByteAt: Timestamp?
    /// When the last of them came so far.
    public var lastPeerByteAt: Timestamp?
    /// Bytes of shards that came from HTTP and were new.
    public var bytesFromOrigin = 0
    /// Bytes that came and could not be used because they are here already or must come again.
    public var duplicateBytes = 0
    /// Bytes of groups that failed verification.
    public var rejectedBytes = 0
    /// Bytes that were on the disk at the start.
    public var verifiedFromDisk = 0
    /// Bytes of shards sent to peers.
    public var bytesServed = 0
    /// Frames of a type that this node does not know.
    public var unknownFrames = 0
    /// Frames with flags that this node does not know.
    public var unknownFlags = 0
    /// Frames of requests that had ended.
    public var lateFrames = 0
}

/// One peer, as an application sees it.
public struct PeerSnapshot: Hashable, Sendable {
    /// The connection.
    public let handle: PeerHandle
    /// Who it is.
    public let nodeID: NodeID
    /// Its program.
    public let agent: String
    /// Which side made the offer.
    public let role: SessionRole
    /// How many shards and files it says it has.
    public let shardCount: Int
    /// Bytes of shards that it sent.
    public let bytesReceived: Int
    /// Bytes of shards sent to it.
    public let bytesServed: Int
    /// Bytes a second that it sends.
    public let downloadRate: Double
    /// Bytes a second sent to it.
    public let uploadRate: Double
    /// Whether it serves this node at present.
    public let isChokingUs: Bool
    /// Whether this node serves it at present.
    public let isChoked: Bool
    /// Unfinished requests to it.
    public let requests: Int
}

extension SwarmCore {
    /// The peers whose hello was checked, in the order they came.
    public var peerSnapshots: [PeerSnapshot] { joinedPeers.map { snapshot($0) } }

    /// The peers that have a shard whole.
    public func peers(withShard index: Int) -> [PeerSnapshot] {
        joinedPeers.filter { $0.hasWhole(index) }.map { snapshot($0) }
    }

    /// Whether a connection is one of a peer: `control` has opened on it, and it was not closed.
    public func knows(_ handle: PeerHandle) -> Bool { peers[handle] != nil }

    /// The nodes that were banned, and why.
    public var bannedNodes: [NodeID: String] { bans }

    /// Bytes verified and bytes wanted.
    public var progress: (verified: Int, total: Int) {
        entries.reduce(into: (0, 0)) { sum, state in
            guard state.isWanted else { return }
            sum.0 += state.storedByteCount
            sum.1 += state.entry.size
        }
    }

    /// Bytes a second that come from HTTP.
    public var originRate: Double { originMeter.bytesPerSecond }

    /// Whether an entry is verified and stands under its final name.
    public func isComplete(_ index: Int) -> Bool { state(index)?.isComplete ?? false }

    private func snapshot(_ peer: Peer) -> PeerSnapshot {
        PeerSnapshot(
            handle: peer.handle, nodeID: peer.nodeID, agent: peer.agent, role: peer.role,
            shardCount: peer.shards.count, bytesReceived: peer.download.total, bytesServed: peer.upload.total,
            downloadRate: peer.requests.isEmpty ? 0 : peer.download.bytesPerSecond, uploadRate: peer.upload.bytesPerSecond,
            isChokingUs: peer.isChokingUs, isChoked: peer.isChoked, requests: peer.requests.count)
    }
}
