// SPDX-License-Identifier: Apache-2.0

import Wire

/// The peers of one swarm that are connected now. Choosing some by chance costs no walk over all of them.
struct TrackerSwarm: Sendable {
    private struct Peer: Sendable {
        var connection: TrackerCore.ConnectionID
        var isComplete: Bool
        var lastHeard: Timestamp
        /// Where it stands in `order`.
        var position: Int
    }

    private var peers: [Bytes20: Peer] = [:]
    private var order: [Bytes20] = []
    /// Peers that miss nothing.
    private(set) var complete = 0
    /// How many peers finished while they were here.
    private(set) var downloaded = 0

    var count: Int { order.count }
    var incomplete: Int { order.count - complete }

    /// The socket of a peer, `nil` for one that is not here.
    func connection(of peerID: Bytes20) -> TrackerCore.ConnectionID? { peers[peerID]?.connection }

    /// Enters a peer or renews its entry. Without a number of missing bytes a new peer counts as one that misses some,
    /// and a known one stays what it was.
    mutating func announce(
        _ peerID: Bytes20, on connection: TrackerCore.ConnectionID, left: Int64?, completed: Bool, now: Timestamp
    ) {
        let former = peers[peerID]
        let wasComplete = former?.isComplete ?? false
        let isComplete = completed || left.map { $0 == 0 } ?? wasComplete
        if former == nil { order.append(peerID) }
        peers[peerID] = Peer(
            connection: connection, isComplete: isComplete, lastHeard: now, position: former?.position ?? order.count - 1)
        complete += (isComplete ? 1 : 0) - (wasComplete ? 1 : 0)
        if completed, former != nil, !wasComplete { downloaded += 1 }
    }

    mutating func remove(_ peerID: Bytes20) {
        guard let peer = peers.removeValue(forKey: peerID) else { return }
        if peer.isComplete { complete -= 1 }
        let last = order.removeLast()
        if last != peerID {
            order[peer.position] = last
            peers[last]?.position = peer.position
        }
    }

    /// Peers that said nothing since `time`, with their sockets.
    func peers(notHeardSince time: Timestamp) -> [(Bytes20, TrackerCore.ConnectionID)] {
        order.compactMap { id in
            guard let peer = peers[id], peer.lastHeard < time else { return nil }
            return (id, peer.connection)
        }
    }

    /// The sockets of up to `count` different peers, drawn by chance. For a seeder those that miss something come first,
    /// since two seeders have nothing to give each other.
    func choose(
        _ count: Int, besides own: Bytes20, onlyIncomplete prefersIncomplete: Bool, entropy: inout Entropy
    ) -> [TrackerCore.ConnectionID] {
        var chosen: [TrackerCore.ConnectionID] = []
        var second: [TrackerCore.ConnectionID] = []
        // A Fisher–Yates shuffle that stops early; only the places that were swapped are kept.
        var swapped: [Int: Int] = [:]
        // A bound on the walk through a large swarm of seeders.
        let steps = min(order.count, count + (prefersIncomplete ? 200 : 1))
        for step in 0..<steps where chosen.count < count {
            let pick = Int.random(in: step..<order.count, using: &entropy)
            let index = swapped[pick] ?? pick
            swapped[pick] = swapped[step] ?? step
            guard order[index] != own, let peer = peers[order[index]] else { continue }
            if prefersIncomplete, peer.isComplete {
                if second.count < count { second.append(peer.connection) }
            } else {
                chosen.append(peer.connection)
            }
        }
        return chosen + second.prefix(count - chosen.count)
    }
}
