// SPDX-License-Identifier: Apache-2.0

import Hashing
public import Wire

//  want ─▶ accepted: a job (proof first, then chunks) ─▶ nextFrame … nextFrame(end) : done
//      └─▶ reject                                     └─▶ cancel, choke, read error : reject

extension SwarmCore {
    /// The next frame to be sent to a peer, `nil` when there is none now. Call it while the peer's channel has room. The
    /// frame counts as queued: where it cannot be sent, say ``frameFailed(_:now:)``.
    public mutating func nextFrame(for handle: PeerHandle, now: Timestamp) -> OutgoingFrame? {
        guard let peer = peers[handle], peer.isJoined, peer.bulkIsOpen, !peer.jobs.isEmpty else { return nil }
        uploadBucket.refill(now: now)
        guard uploadBucket.isOpen else { return nil }
        let job = peer.jobs[0]
        let frame = job.proof.isEmpty ? dataFrame(peer, job) : proofFrame(peer, job)
        if job.proof.isEmpty {
            peer.jobs[0].bytes = job.bytes.lowerBound + frame.length..<job.bytes.upperBound
        } else {
            peer.jobs[0].proof = job.proof.lowerBound + frame.length..<job.proof.upperBound
        }
        if peer.jobs[0].isDone { peer.jobs.removeFirst() }
        uploadBucket.take(frame.byteCount)
        if case .file(let entry, _) = frame.payload {
            peer.upload.add(frame.length)
            statistics.bytesServed += frame.length
            entries[entry].lastUsed = now
        }
        return frame
    }

    /// A frame's bytes could not be read: its request is rejected.
    public mutating func frameFailed(_ frame: OutgoingFrame, now: Timestamp) {
        guard let peer = peers[frame.peer] else { return }
        if let index = peer.jobs.firstIndex(where: {
            $0.requestID == frame.header.requestID && $0.shardIndex == frame.header.shardIndex
        }) {
            let job = peer.jobs.remove(at: index)
            reject(peer, job, .io, now: now)
        } else {
            send(
                peer,
                .reject(
                    .init(requestID: frame.header.requestID, shardIndex: frame.header.shardIndex, reason: .io)),
                now: now)
        }
    }

    /// Bytes of one frame: as configured, less for small messages and for low limits, so that frames keep coming.
    private func payloadLimit(_ peer: Peer) -> Int {
        let slow = uploadBucket.rate.map { $0 < 512 * 1024 } ?? false
        let wanted = min(slow ? 16 * 1024 : configuration.chunkSize, SwarmCatalog.groupSize)
        return max(16 * 1024, min(wanted, peer.largestPayload) / (16 * 1024) * (16 * 1024))
    }

    private func dataFrame(_ peer: Peer, _ job: ServingJob) -> OutgoingFrame {
        let start = job.bytes.lowerBound
        let border = job.entry == nil ? Int.max : (start / SwarmCatalog.groupSize + 1) * SwarmCatalog.groupSize
        let end = min(start + payloadLimit(peer), border, job.bytes.upperBound)
        let payload: OutgoingFrame.Payload =
            if let entry = job.entry { .file(entry: entry, offset: start) } else { .bytes(Array((manifest ?? [])[start..<end])) }
        return OutgoingFrame(
            peer: peer.handle,
            header: BulkHeader(
                kind: job.entry == nil ? .manifest : .chunk, isEnd: end == job.bytes.upperBound,
                requestID: job.requestID, shardIndex: job.shardIndex, offset: UInt64(start)),
            payload: payload, length: end - start)
    }

    private func proofFrame(_ peer: Peer, _ job: ServingJob) -> OutgoingFrame {
        let size = SwarmCatalog.valueSize
        let start = job.proof.lowerBound
        let end = min(start + payloadLimit(peer), job.proof.upperBound)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(end - start)
        let values = job.entry.flatMap { entries[$0].values } ?? []
        for value in values[start / size..<end / size] { value.withUnsafeBytes { bytes.append(contentsOf: $0) } }
        return OutgoingFrame(
            peer: peer.handle,
            header: BulkHeader(
                kind: .proof, isEnd: end == job.proof.upperBound, requestID: job.requestID,
                shardIndex: job.shardIndex, offset: UInt64(start)),
            payload: .bytes(bytes), length: end - start)
    }

    // MARK: - Requests of peers

    mutating func receiveWant(_ peer: Peer, _ want: ControlMessage.Want, now: Timestamp) {
        guard acceptRequestID(peer, want.requestID, now: now) else { return }
        if want.requestID == 0, peer.jobs.contains(where: { $0.requestID == 0 && $0.shardIndex == want.shardIndex }) {
            return
        }
        peer.wantsServiceSince = peer.wantsServiceSince ?? now
        if !peer.isChoked, !isBeingServed(peer, now: now), servedCount(now: now) >= configuration.uploadSlots {
            choke(peer, now: now)
        }
        switch job(for: want, of: peer) {
        case .success(let job):
            if !peer.isChoked { peer.wantsServiceSince = now }
            peer.jobs.append(job)
            if !job.proof.isEmpty, peer.proofsSent[Int(want.shardIndex)] == nil {
                peer.proofsSent[Int(want.shardIndex)] = want.requestID
            }
            if peer.jobs.count == 1 { actions.append(.framesReady(peer.handle)) }
        case .failure(let reason):
            send(
                peer,
                .reject(.init(requestID: want.requestID, shardIndex: want.shardIndex, reason: reason.reason)), now: now)
        }
    }

    private struct Refusal: Error {
        let reason: ControlMessage.Reject.Reason
    }

    private func job(for want: ControlMessage.Want, of peer: Peer) -> Result<ServingJob, Refusal> {
        guard peer.takesBulk, peer.jobs.count < configuration.maxRequests else { return .failure(.init(reason: .limit)) }
        guard !peer.isChoked else { return .failure(.init(reason: .choked)) }
        guard hasBegun, let state = state(Int(want.shardIndex)) else { return .failure(.init(reason: .missing)) }
        let size = Int64(state.entry.size)
        let offset = want.offset ?? 0
        guard offset < size else { return .failure(.init(reason: .range)) }
        // Both are at most 2^53, so the sum cannot overflow.
        let end = want.length.map { offset + $0 } ?? size
        let unit = Int64(SwarmCatalog.groupSize)
        guard end > offset, end <= size, offset % unit == 0, end % unit == 0 || end == size else {
            return .failure(.init(reason: .range))
        }
        let groups = Int(offset / unit)..<Int((end + unit - 1) / unit)
        guard state.isComplete || state.sharesGroups && state.stored.contains(groups) else {
            return .failure(.init(reason: .missing))
        }
        let wantsProof = want.proof ?? (peer.proofsSent[state.index] == nil)
        let proofLength = state.needsValues && wantsProof ? state.groupCount * SwarmCatalog.valueSize : 0
        guard proofLength == 0 || state.values != nil else { return .failure(.init(reason: .missing)) }
        return .success(
            ServingJob(
                requestID: want.requestID, entry: state.index, proof: 0..<proofLength, bytes: Int(offset)..<Int(end),
                shardIndex: want.shardIndex))
    }

    mutating func receiveManifestRequest(_ peer: Peer, _ requestID: UInt32, now: Timestamp) {
        guard acceptRequestID(peer, requestID, now: now) else { return }
        let index = ControlMessage.manifestIndex
        let reason: ControlMessage.Reject.Reason? =
            if !peer.takesBulk || peer.jobs.count >= configuration.maxRequests {
                .limit
            } else if manifest?.isEmpty ?? true {
                .missing
            } else {
                nil
            }
        if let reason {
            send(peer, .reject(.init(requestID: requestID, shardIndex: index, reason: reason)), now: now)
            return
        }
        peer.jobs.append(
            ServingJob(
                requestID: requestID, entry: nil, proof: 0..<0, bytes: 0..<(manifest?.count ?? 0), shardIndex: index))
        if peer.jobs.count == 1 { actions.append(.framesReady(peer.handle)) }
    }

    /// One rising counter for all kinds of request; 0 stands for a want without a number.
    private mutating func acceptRequestID(_ peer: Peer, _ id: UInt32, now: Timestamp) -> Bool {
        guard id != 0 else { return true }
        guard id > peer.lastRemoteRequestID else {
            breach(peer, "request \(id) after request \(peer.lastRemoteRequestID)", now: now)
            return false
        }
        peer.lastRemoteRequestID = id
        return true
    }

    mutating func receiveCancel(_ peer: Peer, _ shardIndex: UInt32, _ requestID: UInt32, now: Timestamp) {
        guard
            let index = peer.jobs.firstIndex(where: { $0.requestID == requestID && $0.shardIndex == shardIndex })
        else { return }
        let job = peer.jobs.remove(at: index)
        reject(peer, job, .cancelled, now: now)
    }

    /// Ends a job that was not queued to its end.
    mutating func reject(_ peer: Peer, _ job: ServingJob, _ reason: ControlMessage.Reject.Reason, now: Timestamp) {
        // A reject before the proof's last byte was queued takes the proof back.
        if let entry = job.entry, !job.proof.isEmpty, peer.proofsSent[entry] == job.requestID {
            peer.proofsSent[entry] = nil
        }
        send(peer, .reject(.init(requestID: job.requestID, shardIndex: job.shardIndex, reason: reason)), now: now)
    }

    // MARK: - Upload slots

    private func isBeingServed(_ peer: Peer, now: Timestamp) -> Bool {
        guard !peer.isChoked, let since = peer.wantsServiceSince else { return false }
        return !peer.jobs.isEmpty || now - since < SwarmCore.chokeInterval && peer.upload.total > 0
    }

    private func servedCount(now: Timestamp) -> Int { peers.values.count { isBeingServed($0, now: now) } }

    private mutating func choke(_ peer: Peer, now: Timestamp) {
        peer.isChoked = true
        peer.wantsServiceSince = now
        send(peer, .choke, now: now)
        let jobs = peer.jobs.filter { $0.entry != nil }
        peer.jobs.removeAll { $0.entry != nil }
        for job in jobs { reject(peer, job, .choked, now: now) }
    }

    private mutating func unchoke(_ peer: Peer, now: Timestamp) {
        peer.isChoked = false
        peer.unchokedAt = now
        peer.wantsServiceSince = now
        send(peer, .unchoke, now: now)
    }

    /// Gives free slots to those that wait longest, and one slot in turn where none is free.
    mutating func rechoke(now: Timestamp) {
        guard now - lastRechoke >= SwarmCore.chokeInterval || peers.values.contains(where: { $0.isChoked }) else { return }
        var waiting = peers.values.filter { $0.isChoked && $0.isJoined }
            .sorted { ($0.wantsServiceSince ?? now, $0.number) < ($1.wantsServiceSince ?? now, $1.number) }
        var free = configuration.uploadSlots - servedCount(now: now)
        while free > 0, !waiting.isEmpty {
            unchoke(waiting.removeFirst(), now: now)
            free -= 1
        }
        guard now - lastRechoke >= SwarmCore.chokeInterval else { return }
        lastRechoke = now
        guard let next = waiting.first else { return }
        let served = peers.values.filter { isBeingServed($0, now: now) }
        guard let longest = served.min(by: { ($0.unchokedAt, $0.number) < ($1.unchokedAt, $1.number) }),
            now - longest.unchokedAt >= SwarmCore.chokeInterval
        else { return }
        choke(longest, now: now)
        unchoke(next, now: now)
    }

    /// How long a peer keeps a slot at least.
    static let chokeInterval = Duration.seconds(10)
}
