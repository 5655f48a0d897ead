// SPDX-License-Identifier: Apache-2.0

/// What one node has moved over all its connections, those that ended too.
public struct SwarmSource: Hashable, Sendable {
    /// Who.
    public let nodeID: NodeID
    /// Bytes of shards that came from it and were new.
    public internal(set) var bytesReceived: Int
    /// Bytes of shards sent to it.
    public internal(set) var bytesServed: Int
}

/// The totals of nodes whose connections have ended.
struct DepartedSources {
    /// More nodes than this are not told apart: whoever moved least is forgotten.
    static let limit = 1_000

    private(set) var byNode: [NodeID: SwarmSource] = [:]

    mutating func add(_ peer: Peer) {
        guard peer.bytesReceived > 0 || peer.upload.total > 0 else { return }
        byNode[peer.nodeID, default: SwarmSource(nodeID: peer.nodeID, bytesReceived: 0, bytesServed: 0)].add(peer)
        guard byNode.count > DepartedSources.limit else { return }
        let least = byNode.values.min { $0.bytesReceived + $0.bytesServed < $1.bytesReceived + $1.bytesServed }
        if let least { byNode[least.nodeID] = nil }
    }
}

extension SwarmSource {
    fileprivate mutating func add(_ peer: Peer) {
        bytesReceived += peer.bytesReceived
        bytesServed += peer.upload.total
    }
}

extension SwarmCore {
    /// Everybody who gave or was given bytes, whether still connected or not; who gave most comes first.
    public var sources: [SwarmSource] {
        var byNode = departed.byNode
        for peer in peers.values where peer.bytesReceived > 0 || peer.upload.total > 0 {
            byNode[peer.nodeID, default: SwarmSource(nodeID: peer.nodeID, bytesReceived: 0, bytesServed: 0)].add(peer)
        }
        return byNode.values.sorted { ($1.bytesReceived, $1.bytesServed, $0.nodeID) < ($0.bytesReceived, $0.bytesServed, $1.nodeID) }
    }
}
