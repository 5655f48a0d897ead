// SPDX-License-Identifier: Apache-2.0

import RDRR
public import Wire

extension SwarmCore {
    /// A message came on the channel `control`.
    public mutating func receiveControl(_ handle: PeerHandle, _ bytes: RawSpan, isText: Bool, now: Timestamp) {
        guard let peer = peers[handle] else { return }
        heard(peer, now: now)
        guard isText else {
            fault(peer, "binary on `control`", now: now)
            return
        }
        guard peer.receiveBudget.count(now: now) else {
            fault(peer, "more than 20,000 control messages in 10 s", now: now)
            return
        }
        let message: ControlMessage
        do throws(ControlMessageError) {
            message = try ControlMessage(parsing: bytes)
        } catch {
            switch error {
            case .fault(let what): fault(peer, what, now: now)
            case .breach(let what): breach(peer, what, now: now)
            }
            schedule(now: now)
            return
        }
        switch (message, peer.isJoined) {
        case (.hello(let hello), false): receiveHello(peer, hello, now: now)
        case (.hello, true): breach(peer, "a second hello", now: now)
        case (_, false): breach(peer, "a message before the hello", now: now)
        case (_, true): receive(message, from: peer, now: now)
        }
    }

    /// A message came that is longer than this node announced; the transport dropped it. No message may be (section 5).
    public mutating func receiveOversizedMessage(_ handle: PeerHandle, isBulk: Bool, now: Timestamp) {
        guard let peer = peers[handle] else { return }
        let limit = BulkHeader.maximumFrameByteCount
        fault(peer, "a message of more than \(limit) bytes on `\(isBulk ? "bulk" : "control")`", now: now)
        schedule(now: now)
    }

    func heard(_ peer: Peer, now: Timestamp) {
        peer.lastReceived = now
        peer.pingSentAt = nil
        peer.replacedDeadline = nil
    }

    private mutating func receive(_ message: ControlMessage, from peer: Peer, now: Timestamp) {
        switch message {
        case .hello, .unknown, .pong: break
        case .bitfield(let bits): receiveBitfield(peer, bits, now: now)
        case .have(let indices): receiveHave(peer, indices.map { Int($0) }, now: now)
        case .dontHave(let indices): receiveDontHave(peer, indices.map { Int($0) }, now: now)
        case .haveGroups(let shard, let ranges):
            receiveHaveGroups(peer, Int(shard), ranges)
            schedule(now: now)
        case .want(let want): receiveWant(peer, want, now: now)
        case .cancel(let shardIndex, let requestID): receiveCancel(peer, shardIndex, requestID, now: now)
        case .reject(let reject): receiveReject(peer, reject, now: now)
        case .manifestRequest(let requestID): receiveManifestRequest(peer, requestID, now: now)
        case .choke: peer.isChokingUs = true
        case .unchoke:
            peer.isChokingUs = false
            schedule(now: now)
        case .ping(let nonce): send(peer, .pong(nonce: nonce), now: now)
        }
    }

    // MARK: - What the peer has

    /// How many shards a peer can speak of: the catalog's, or as many as a bitfield holds before it is known.
    private var indexCapacity: Int { entries.isEmpty ? SwarmCatalog.maximumEntryCount : entries.count }

    private mutating func receiveBitfield(_ peer: Peer, _ bits: [UInt8], now: Timestamp) {
        peer.shards = GroupSet(bitfield: bits, capacity: indexCapacity)
        peer.missing = []
        // Without a manifest a bitfield is empty, so this peer has one.
        if !bits.isEmpty { peer.manifestTriedAt = nil }
        inventoryChanged(peer, Array(peer.shards), now: now)
    }

    private mutating func receiveHave(_ peer: Peer, _ indices: [Int], now: Timestamp) {
        for index in indices {
            peer.shards.insert(index)
            peer.missing.remove(index)
        }
        inventoryChanged(peer, indices, now: now)
    }

    private mutating func receiveDontHave(_ peer: Peer, _ indices: [Int], now: Timestamp) {
        for index in indices {
            peer.shards.remove(index)
            peer.groups[index] = nil
        }
        peer.earlyGroups.removeAll { indices.contains($0.shard) }
        availabilityIsStale = true
        schedule(now: now)
    }

    private mutating func inventoryChanged(_ peer: Peer, _ indices: [Int], now: Timestamp) {
        availabilityIsStale = true
        if !indices.isEmpty {
            actions.append(.event(.peerHas(peer.handle, shards: indices.filter { $0 < indexCapacity })))
        }
        partIfComplete(peer, now: now)
        schedule(now: now)
    }

    private mutating func receiveHaveGroups(_ peer: Peer, _ shard: Int, _ ranges: [ControlMessage.GroupRange]) {
        guard !entries.isEmpty else {
            peer.manifestTriedAt = nil
            // Before the manifest is known no one can say which groups exist; a little is remembered.
            if peer.earlyGroups.count < 1_000 { peer.earlyGroups.append((shard, Array(ranges.prefix(1_000)))) }
            return
        }
        guard let state = state(shard), state.entry.algorithm == .blake3 else { return }
        var set = peer.groups[shard] ?? GroupSet(capacity: state.groupCount)
        for range in ranges {
            let first = Int(min(range.first, Int64(state.groupCount)))
            set.formUnion(first..<first + Int(min(range.count, Int64(state.groupCount - first))))
        }
        peer.groups[shard] = set
        peer.missing.remove(shard)
        availabilityIsStale = true
    }

    /// What a peer said before the catalog was known, in the catalog's bounds.
    mutating func adoptCatalog(_ peer: Peer) {
        peer.shards = GroupSet(bitfield: peer.shards.bitfield, capacity: entries.count)
        let early = peer.earlyGroups
        peer.earlyGroups = []
        for (shard, ranges) in early { receiveHaveGroups(peer, shard, ranges) }
    }
}
