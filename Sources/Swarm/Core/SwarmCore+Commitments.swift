// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
import Wire

// A SHA-256 says nothing about groups. So the list of group values that a peer sends is its commitment: what it serves is
// checked against its own list, and the whole shard against the SHA-256. If that fails, the list was a lie.

extension SwarmCore {
    /// A peer gave the values it stands by; what is wrong with that, `nil` if nothing is.
    mutating func takeCommitment(
        _ state: EntryState, _ values: [BLAKE3.Digest], from peer: Peer, now: Timestamp
    ) -> String? {
        let id = Commitments.id(of: values)
        if let earlier = peer.commitments[state.index], earlier != id { return "two different proofs of one shard" }
        guard state.commitments.lists[id] != nil || state.commitments.lists.count < Commitments.limit else { return nil }
        state.commitments.lists[id] = values
        state.commitments.givers[id, default: []].insert(peer.nodeID)
        peer.commitments[state.index] = id
        if state.commitments.inUse == nil {
            state.commitments.inUse = id
            state.lastGroupAt = now
            useValues(state, values, now: now)
        } else if state.commitments.inUse == id {
            checkHeld(state, now: now)
        } else {
            dropWork(of: peer, on: state, now: now)
            reconsiderCommitments(state, now: now)
        }
        return nil
    }

    /// When no connected peer gives the list in use and a connected one gives another, that one is taken.
    mutating func reconsiderCommitments(_ state: EntryState, now: Timestamp) {
        guard !state.isComplete, !state.isFinishing, let inUse = state.commitments.inUse else { return }
        let supporters = supporters(of: state)
        guard supporters[inUse] == nil, let best = mostSupported(supporters) else { return }
        switchCommitment(state, to: best, now: now)
    }

    /// When no group has come for 30 s, the list of most peers is taken.
    mutating func checkCommitmentProgress(_ state: EntryState, now: Timestamp) {
        guard !state.isComplete, !state.isFinishing, let inUse = state.commitments.inUse,
            now - state.lastGroupAt >= .seconds(30)
        else { return }
        state.lastGroupAt = now
        let supporters = supporters(of: state)
        guard let best = mostSupported(supporters), best != inUse, supporters[best] ?? 0 > supporters[inUse] ?? 0 else {
            return
        }
        switchCommitment(state, to: best, now: now)
    }

    /// The SHA-256 of what was put together is another one: all who gave the list lied, those that have left too.
    mutating func commitmentFailed(_ state: EntryState, now: Timestamp) {
        let inUse = state.commitments.inUse
        discard(state)
        state.commitments.inUse = nil
        let givers = inUse.flatMap { state.commitments.givers.removeValue(forKey: $0) } ?? []
        if let inUse { state.commitments.lists[inUse] = nil }
        if inUse == nil || inUse == state.commitments.fromOrigin {
            originLied(state, "\(state.entry.name) from HTTP has another SHA-256", isFinal: true, now: now)
        }
        for node in givers.sorted() {
            ban(node, "\(state.entry.name) with its group values has another SHA-256", now: now)
        }
        if let best = mostSupported(supporters(of: state)) { switchCommitment(state, to: best, now: now) }
    }

    /// The SHA-256 is right, so every other list was a lie.
    mutating func punishOtherCommitments(_ state: EntryState, now: Timestamp) {
        guard state.entry.algorithm == .sha256, let values = state.values else { return }
        let right = Commitments.id(of: values)
        let liars = state.commitments.givers.filter { $0.key != right }.values.reduce(into: Set()) { $0.formUnion($1) }
        for node in liars.sorted() { ban(node, "it gave wrong group values for \(state.entry.name)", now: now) }
    }

    private mutating func switchCommitment(_ state: EntryState, to id: BLAKE3.Digest, now: Timestamp) {
        guard let values = state.commitments.lists[id] else { return }
        for peer in joinedPeers { dropWork(of: peer, on: state, now: now) }
        discard(state)
        state.commitments.inUse = id
        state.lastGroupAt = now
        useValues(state, values, now: now)
    }

    private func supporters(of state: EntryState) -> [BLAKE3.Digest: Int] {
        peers.values.reduce(into: [:]) { counts, peer in
            if peer.isJoined, let id = peer.commitments[state.index], state.commitments.lists[id] != nil {
                counts[id, default: 0] += 1
            }
        }
    }

    private func mostSupported(_ supporters: [BLAKE3.Digest: Int]) -> BLAKE3.Digest? {
        // Ties by the list itself, so that the choice does not depend on the order of a dictionary.
        supporters.max { ($0.value, $1.key.hex) < ($1.value, $0.key.hex) }?.key
    }
}
