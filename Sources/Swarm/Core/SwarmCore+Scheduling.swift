// SPDX-License-Identifier: Apache-2.0

import RDRR
import Wire

// Which groups are asked of whom: what was demanded first, then what the fewest peers have, then in the model's order, so
// that a reader can start early; with others that fetch too, in an order of the node's own, so that they have something to
// give each other. A shard is shared out in runs of groups; each peer has as much in flight as it sends in a
// round trip and half a second. What is left at the end is cut small, and a request moves from a slow peer to an idle one
// only where that is worth the bytes that may come twice.

extension SwarmCore {
    /// Asks for whatever can be asked for now.
    mutating func schedule(now: Timestamp) {
        guard failure == nil, !hasLeft else { return }
        guard manifest != nil else {
            requestManifest(now: now)
            return
        }
        guard hasBegun, !open.isEmpty, pool.inUse < SwarmCore.bufferLimit else { return }
        downloadBucket.refill(now: now)
        for peer in joinedPeers { fill(peer, now: now) }
    }

    /// Groups in memory, on their way from peers to the disk, before asking pauses: 64 MiB.
    static let bufferLimit = 512

    private func isUsable(_ peer: Peer, now: Timestamp) -> Bool {
        peer.isJoined && peer.bulkIsOpen && peer.takesBulk && !peer.isChokingUs && peer.pausedUntil <= now
            && peer.remoteMaxRequests > 0 && peer.lastRequestID < .max
    }

    private mutating func fill(_ peer: Peer, now: Timestamp) {
        guard isUsable(peer, now: now) else { return }
        let target = peer.inFlightTarget(limit: configuration.maximumInFlight)
        while downloadBucket.isOpen, peer.requests.count < min(64, peer.remoteMaxRequests), peer.inFlight < target {
            let size = requestSize(peer, target: target)
            guard peer.inFlight == 0 || target - peer.inFlight >= size else { return }
            refreshAvailability()
            guard let (state, groups) = pick(peer, limit: max(1, size / SwarmCatalog.groupSize)) else {
                if peer.inFlight == 0 { takeOver(for: peer, now: now) }
                return
            }
            sendWant(peer, state, groups, now: now)
        }
    }

    /// A quarter of a second of the peer's rate, in groups; less near the end and under a limit.
    private func requestSize(_ peer: Peer, target: Int) -> Int {
        var size = min(max(512 * 1024, Int(min(1e12, peer.download.bytesPerSecond / 4))), 4 << 20, max(target / 2, 1))
        if let limit = configuration.downloadLimit { size = min(size, limit / 8) }
        let openGroups = open.reduce(0) { $0 + $1.openCount }
        let users = peers.values.count { $0.isJoined && !$0.isChokingUs }
        size = min(size, openGroups * SwarmCatalog.groupSize / (2 * max(1, users)))
        return max(size / SwarmCatalog.groupSize, 1) * SwarmCatalog.groupSize
    }

    private mutating func refreshAvailability() {
        guard availabilityIsStale else { return }
        availabilityIsStale = false
        availability = Array(repeating: 0, count: entries.count)
        hasFellows = false
        for peer in peers.values where peer.isJoined {
            if !hasFellows { hasFellows = entries.contains { $0.groupCount > 0 && !peer.hasWhole($0.index) } }
            for state in open where peer.offers(state.index) { availability[state.index] += 1 }
        }
    }

    /// The best run of open groups that the peer has.
    private func pick(_ peer: Peer, limit: Int) -> (EntryState, Range<Int>)? {
        var best: (state: EntryState, groups: Range<Int>)?
        var bestKey = (Int.max, Int.max, Int.max)
        for state in open where state.openCount > 0 && !state.isFinishing && peer.offers(state.index) {
            let key = (-state.priority, availability[state.index], turn(of: state))
            guard key < bestKey else { continue }
            let allowed = min(limit, allowance(of: peer, for: state))
            guard allowed > 0, let groups = state.openRun(limit: allowed, isOffered: { peer.has(state.index, group: $0) })
            else { continue }
            best = (state, groups)
            bestKey = key
        }
        return best.map { ($0.state, $0.groups) }
    }

    /// A place in the order of entries that are alike: the model's own, or one that differs from node to node.
    private func turn(of state: EntryState) -> Int {
        guard hasFellows else { return state.index }
        // The multiplier of Fibonacci hashing, 2^64 divided by the golden ratio.
        return Int(truncatingIfNeeded: ((UInt64(state.index) ^ orderSalt) &* 0x9E37_79B9_7F4A_7C15) >> 16)
    }

    /// How many groups may be asked of a peer for an entry: few before they can be checked, none where the peer stands by
    /// other values than those in use.
    private func allowance(of peer: Peer, for state: EntryState) -> Int {
        if canVerify(state, from: peer) { return .max }
        if state.entry.algorithm == .sha256, state.values != nil {
            // Its list has to come first, and one group brings it.
            return peer.commitments[state.index] == nil && !peer.proofsAsked.contains(state.index) ? 1 : 0
        }
        let unproved = peer.requests.values.reduce(peer.heldByteCount) { sum, request in
            guard let entry = request.entry, !request.isCancelled, !canVerify(entries[entry], from: peer) else { return sum }
            return sum + request.remaining
        }
        // Half of what is held without blame, so that honest peers never have to send twice.
        return max(0, SwarmCore.heldLimit / 2 - unproved) / SwarmCatalog.groupSize
    }

    // MARK: - The end

    /// A peer has nothing to do: give it a request that another one will not finish soon.
    private mutating func takeOver(for peer: Peer, now: Timestamp) {
        let rate = max(peer.download.bytesPerSecond, 64 * 1024)
        var best: (peer: Peer, id: UInt32, cost: Int, wait: Double)?
        for other in peers.values where other !== peer && other.isJoined {
            let wait = Double(other.inFlight) / max(other.download.bytesPerSecond, 1)
            for request in other.requests.values where !request.isCancelled {
                guard let entry = request.entry, canTake(peer, request, of: other, entries[entry]) else { continue }
                let stalled = now - request.lastFrameAt > .seconds(5)
                let own = Double(request.remaining) / rate + peer.roundTrip
                guard stalled || wait > 2 && wait > 3 * own else { continue }
                let ahead = other.requests.values.reduce(0) { $1.id < request.id && !$1.isCancelled ? $0 + $1.remaining : $0 }
                // What the other side has queued already comes all the same.
                let cost = stalled ? 0 : min(request.remaining, max(0, SwarmCore.queuedEstimate - ahead))
                guard best.map({ (-wait, cost, request.id) < (-$0.wait, $0.cost, $0.id) }) ?? true else { continue }
                best = (other, request.id, cost, wait)
            }
        }
        guard let best else { return }
        let budget = Double(progress.total) * configuration.duplicateAllowance
        guard best.cost == 0 || Double(statistics.duplicateBytes + best.cost) <= budget else { return }
        guard let request = best.peer.requests[best.id], let entry = request.entry else { return }
        let state = entries[entry]
        let source = GroupSource.peer(best.peer.handle, request: best.id)
        let groups = request.groups.filter { state.assigned[$0] == source }
        cancelRequest(best.peer, best.id, now: now)
        guard isUsable(peer, now: now), let first = groups.first else { return }
        var end = first
        while groups.contains(end) { end += 1 }
        sendWant(peer, state, first..<end, now: now)
    }

    private func canTake(_ peer: Peer, _ request: OutgoingRequest, of other: Peer, _ state: EntryState) -> Bool {
        guard state.isWanted, !state.isComplete, canVerify(state, from: peer), request.remaining > 0 else { return false }
        let source = GroupSource.peer(other.handle, request: request.id)
        return request.groups.contains { state.assigned[$0] == source }
            && request.groups.allSatisfy { state.assigned[$0] != source || peer.has(state.index, group: $0) }
    }

    /// What a sender has put into its channel's buffer, and the network holds, at most.
    static let queuedEstimate = 1_250_000
}
