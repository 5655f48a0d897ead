// SPDX-License-Identifier: Apache-2.0

import Hashing
public import Wire

extension SwarmCore {
    /// A message came on the channel `bulk`.
    public mutating func receiveBulk(_ handle: PeerHandle, _ bytes: RawSpan, isText: Bool, now: Timestamp) {
        guard let peer = peers[handle] else { return }
        heard(peer, now: now)
        guard !isText else {
            fault(peer, "text on `bulk`", now: now)
            schedule(now: now)
            return
        }
        switch BulkDecoding(bytes) {
        case .unknownType: statistics.unknownFrames += 1
        case .fault(let what):
            fault(peer, what, now: now)
            schedule(now: now)
        case .frame(let header, let dataOffset, let hasUnknownFlags):
            if hasUnknownFlags { statistics.unknownFlags += 1 }
            let data = bytes.extracting(dataOffset..<bytes.byteCount)
            if let what = receiveFrame(peer, header, data, now: now) {
                fault(peer, what, now: now)
                schedule(now: now)
            }
        }
    }

    /// Takes a frame in; what is wrong with it, if it is the sender's fault.
    private mutating func receiveFrame(_ peer: Peer, _ header: BulkHeader, _ data: RawSpan, now: Timestamp) -> String? {
        guard header.requestID != 0, header.requestID <= peer.lastRequestID else { return "a frame never asked for" }
        guard let request = peer.requests[header.requestID] else {
            // Its request has ended.
            statistics.lateFrames += 1
            statistics.duplicateBytes += header.kind == .chunk ? data.byteCount : 0
            return nil
        }
        let shardIndex = request.entry.map { UInt32($0) } ?? ControlMessage.manifestIndex
        guard header.shardIndex == shardIndex, (request.entry == nil) == (header.kind == .manifest) else {
            return "a frame of something else than was asked for"
        }
        let objection: String? =
            switch header.kind {
            case .chunk: receiveChunk(peer, request, header, data, now: now)
            case .proof: receiveProof(peer, request, header, data, now: now)
            case .manifest: receiveManifest(peer, request, header, data, now: now)
            }
        guard objection == nil, let after = peer.requests[header.requestID] else { return objection }
        if !after.hasFrame, peer.requests.count == 1 || peer.download.total < SwarmCatalog.groupSize * 8 {
            // The first frame of a request that had nothing before it in the queue.
            peer.roundTrip = min(max((now - after.sentAt).seconds, 0.001), 5)
        }
        peer.requests[header.requestID]?.hasFrame = true
        peer.requests[header.requestID]?.lastFrameAt = now
        if after.entry != nil, after.isComplete {
            endRequest(peer, after.id, now: now)
            schedule(now: now)
        }
        return nil
    }

    // MARK: - Chunks

    private mutating func receiveChunk(
        _ peer: Peer, _ request: OutgoingRequest, _ header: BulkHeader, _ data: RawSpan, now: Timestamp
    ) -> String? {
        guard let index = request.entry else { return "a chunk never asked for" }
        // The offset is at most 2^53, the data at most a message.
        let start = Int(header.offset)
        let end = start + data.byteCount
        guard data.byteCount > 0 else { return "an empty chunk" }
        guard start / SwarmCatalog.groupSize == (end - 1) / SwarmCatalog.groupSize else {
            return "a chunk across a group's border"
        }
        guard start >= request.bytes.lowerBound, end <= request.bytes.upperBound else {
            return "a chunk outside the range asked for"
        }
        guard header.isEnd == (end == request.bytes.upperBound) else { return "a chunk with a wrong end flag" }
        peer.download.add(data.byteCount)
        let state = entries[index]
        let group = start / SwarmCatalog.groupSize
        let source = GroupSource.peer(peer.handle, request: request.id)
        guard !request.isCancelled, state.assigned[group] == source, state.status[group] == .asked else {
            // The group was given to someone else, or is here already.
            count(peer, request.id, data.byteCount)
            statistics.duplicateBytes += data.byteCount
            return nil
        }
        if state.assemblies[group] == nil {
            state.assemblies[group] = .init(
                buffer: pool.take(count: state.entry.range(ofGroup: group).count), source: source)
        }
        if !canVerify(state, from: peer) {
            guard peer.heldByteCount + data.byteCount <= SwarmCore.heldLimit else {
                // It does not fit before its proof: asked for again, without blame.
                dropAssembly(state, group)
                unassign(state, group)
                count(peer, request.id, data.byteCount)
                return nil
            }
            peer.heldByteCount += data.byteCount
            state.assemblies[group]?.heldBytes += data.byteCount
        }
        guard let buffer = state.assemblies[group]?.buffer else { return nil }
        let offset = start - group * SwarmCatalog.groupSize
        let fresh = data.withUnsafeBytes { buffer.add($0, at: offset) }
        count(peer, request.id, fresh)
        statistics.duplicateBytes += data.byteCount - fresh
        statistics.bytesFromPeers += fresh
        peer.bytesReceived += fresh
        statistics.firstPeerByteAt = statistics.firstPeerByteAt ?? now
        statistics.lastPeerByteAt = now
        if buffer.isWhole { groupIsWhole(state, group, now: now) }
        return nil
    }

    /// Chunks that come before their proof are held up to this many bytes a peer.
    static let heldLimit = 2 << 20

    private func count(_ peer: Peer, _ requestID: UInt32, _ bytes: Int) {
        guard var request = peer.requests[requestID] else { return }
        let before = request.isCancelled ? 0 : request.remaining
        request.received += bytes
        peer.inFlight -= request.isCancelled ? 0 : before - request.remaining
        peer.requests[requestID] = request
    }

    // MARK: - Proofs

    private mutating func receiveProof(
        _ peer: Peer, _ request: OutgoingRequest, _ header: BulkHeader, _ data: RawSpan, now: Timestamp
    ) -> String? {
        guard let index = request.entry, request.proof != nil else { return "a proof never asked for" }
        let size = SwarmCatalog.valueSize
        let total = entries[index].groupCount * size
        let start = Int(header.offset)
        let end = start + data.byteCount
        guard data.byteCount > 0, start % size == 0, data.byteCount % size == 0, end <= total else {
            return "a proof frame that is not whole values of the list"
        }
        guard header.isEnd == (end == total) else { return "a proof with a wrong end flag" }
        var isWhole = false
        for value in start / size..<end / size {
            guard peer.requests[request.id]?.proof?.missing.remove(value) == true else { continue }
            let at = value * size - start
            peer.requests[request.id]?.proof?.values[value] = BLAKE3.Digest(bytes: data.extracting(at..<at + size))
            isWhole = peer.requests[request.id]?.proof?.isWhole ?? false
        }
        guard isWhole, let values = peer.requests[request.id]?.proof?.values else { return nil }
        peer.proofsAsked.remove(index)
        return takeValues(entries[index], values, from: peer, now: now)
    }
}
