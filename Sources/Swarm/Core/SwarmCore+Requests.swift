// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
import Wire

//  open groups ─▶ want ─▶ frames … complete ─────────────────▶ ended
//                   ├─▶ reject ──────────────────────────────▶ ended, groups open again
//                   └─▶ 15 s without a frame, or given to a faster peer: cancel, groups open again
//                                 └─▶ reject `cancelled` or the rest of the frames ─▶ ended

extension SwarmCore {
    /// Asks a peer for a run of groups.
    mutating func sendWant(_ peer: Peer, _ state: EntryState, _ groups: Range<Int>, now: Timestamp) {
        peer.lastRequestID += 1
        let id = peer.lastRequestID
        let bytes = state.entry.range(ofGroups: groups)
        var request = OutgoingRequest(
            id: id, entry: state.index, groups: groups, bytes: bytes, sentAt: now, lastFrameAt: now)
        var wantsProof: Bool?
        if state.needsValues {
            let isMissing = state.entry.algorithm == .blake3 ? state.values == nil : peer.commitments[state.index] == nil
            wantsProof = isMissing && peer.proofsAsked.insert(state.index).inserted
        }
        if wantsProof == true { request.proof = ProofAssembly(groupCount: state.groupCount) }
        for group in groups {
            state.setStatus(group, .asked)
            state.assigned[group] = .peer(peer.handle, request: id)
        }
        peer.requests[id] = request
        peer.inFlight += bytes.count
        downloadBucket.take(bytes.count)
        send(
            peer,
            .want(
                .init(
                    shardIndex: UInt32(state.index), requestID: id, offset: Int64(bytes.lowerBound),
                    length: Int64(bytes.count), proof: wantsProof)), now: now)
    }

    /// A request has ended: what did not come is asked for again.
    mutating func endRequest(_ peer: Peer, _ id: UInt32, now: Timestamp) {
        guard let request = peer.requests.removeValue(forKey: id) else { return }
        guard let entry = request.entry else {
            if manifestAssembly?.peer == peer.handle, manifestAssembly?.requestID == id { manifestAssembly = nil }
            return
        }
        guard !request.isCancelled else { return }
        release(peer, request, entries[entry], keepsWhole: peers[peer.handle] === peer && request.isComplete)
    }

    /// Takes a request back. It stays until the other side has ended it; its groups are free at once.
    mutating func cancelRequest(_ peer: Peer, _ id: UInt32, now: Timestamp) {
        guard let request = peer.requests[id], !request.isCancelled else { return }
        peer.requests[id]?.isCancelled = true
        send(
            peer,
            .cancel(shardIndex: request.entry.map { UInt32($0) } ?? ControlMessage.manifestIndex, requestID: id),
            now: now)
        guard let entry = request.entry else {
            if manifestAssembly?.requestID == id, manifestAssembly?.peer == peer.handle { manifestAssembly = nil }
            return
        }
        release(peer, request, entries[entry], keepsWhole: false)
    }

    private mutating func release(_ peer: Peer, _ request: OutgoingRequest, _ state: EntryState, keepsWhole: Bool) {
        peer.inFlight -= request.remaining
        downloadBucket.take(-request.remaining)
        let source = GroupSource.peer(peer.handle, request: request.id)
        for group in request.groups where state.assigned[group] == source {
            // Whole groups that wait for their values are kept.
            if keepsWhole, state.assemblies[group]?.buffer.isWhole == true { continue }
            dropAssembly(state, group)
            unassign(state, group)
        }
        if let proof = request.proof, !proof.isWhole {
            peer.proofsAsked.remove(state.index)
            // Without this proof nothing that waits for it can be checked.
            dropAssemblies(of: peer, in: state)
        }
    }

    /// Forgets groups that came from a peer and wait for their values.
    mutating func dropAssemblies(of peer: Peer, in state: EntryState) {
        for (group, assembly) in state.assemblies {
            guard case .peer(peer.handle, let request) = assembly.source, peer.requests[request] == nil else { continue }
            dropAssembly(state, group)
            unassign(state, group)
        }
    }

    /// A peer is not to serve this entry now: its requests are taken back and what it gave unchecked is dropped.
    mutating func dropWork(of peer: Peer, on state: EntryState, now: Timestamp) {
        for request in peer.requests.values where request.entry == state.index { cancelRequest(peer, request.id, now: now) }
        dropAssemblies(of: peer, in: state)
    }

    mutating func receiveReject(_ peer: Peer, _ reject: ControlMessage.Reject, now: Timestamp) {
        guard reject.requestID <= peer.lastRequestID, reject.requestID > 0 else {
            breach(peer, "a reject of request \(reject.requestID), which was never made", now: now)
            return
        }
        guard let request = peer.requests[reject.requestID] else { return }
        endRequest(peer, request.id, now: now)
        if !request.isCancelled {
            switch reject.reason {
            case .missing, .range:
                if let entry = request.entry {
                    peer.missing.insert(entry)
                    peer.groups[entry] = nil
                    availabilityIsStale = true
                }
            case .limit:
                peer.remoteMaxRequests = max(1, min(peer.remoteMaxRequests, peer.requests.count))
                pause(peer, now: now)
            case .choked where peer.isChokingUs: break
            default: pause(peer, now: now)
            }
        }
        schedule(now: now)
    }

    /// No new requests for a while: 0.5 s, twice as long after each further reject, up to 30 s.
    private func pause(_ peer: Peer, now: Timestamp) {
        peer.rejects += 1
        peer.pausedUntil = now + .milliseconds(min(30_000, 250 << min(peer.rejects, 8)))
    }

    // MARK: - Silence

    /// A request without a frame for 15 s is asked for again; a second such time without a verified group between closes
    /// the connection, and the third close bans.
    mutating func checkSilence(_ peer: Peer, now: Timestamp) {
        var isSilent = false
        // Of a channel that gives chunks up, the end of a cancelled request may be lost: it does not take a place for ever.
        for request in peer.requests.values where request.isCancelled && now - request.lastFrameAt >= .seconds(30) {
            peer.requests[request.id] = nil
        }
        for request in peer.requests.values.sorted(by: { $0.id < $1.id }) where !request.isCancelled {
            let quiet = now - request.lastFrameAt
            if quiet >= .seconds(15) {
                // Requests that were on their way at the last such time belong to it.
                if peer.silenceAt.map({ request.sentAt >= $0 }) ?? true { isSilent = true }
                cancelRequest(peer, request.id, now: now)
            } else if !configuration.bulkIsReliable, quiet >= .seconds(3), peer.roundTrip < 1 {
                // Frames may be lost: what is late costs a new want, and is no silence yet.
                cancelRequest(peer, request.id, now: now)
            }
        }
        guard isSilent else { return }
        peer.silences += 1
        peer.silenceAt = now
        guard peer.silences >= (configuration.bulkIsReliable ? 2 : 4) else { return }
        let closes = silentCloses[peer.nodeID, default: 0] + 1
        silentCloses[peer.nodeID] = closes
        let node = peer.nodeID
        close(peer, SwarmCloseReason(.unanswered, "requests stayed unanswered for 15 s, more than once"), now: now)
        if closes >= 3 { ban(node, "requests stayed unanswered in three connections", now: now) }
    }
}
