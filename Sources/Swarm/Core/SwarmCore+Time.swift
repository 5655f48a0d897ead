// SPDX-License-Identifier: Apache-2.0

import RDRR
public import Wire

extension SwarmCore {
    /// Time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        guard !hasLeft, now >= lastTick else { return }
        lastTick = now
        uploadBucket.refill(now: now)
        originMeter.update(now: now)
        for peer in peers.values.sorted(by: { $0.number < $1.number }) { look(at: peer, now: now) }
        rechoke(now: now)
        announceGroups(now: now)
        for state in open where state.entry.algorithm == .sha256 { checkCommitmentProgress(state, now: now) }
        schedule(now: now)
        scheduleOrigin(now: now)
        offerUploads()
        if hasBegun { reportProgress(now: now) }
    }

    private mutating func look(at peer: Peer, now: Timestamp) {
        guard peers[peer.handle] === peer else { return }
        flushControl(peer, now: now)
        if peer.requests.isEmpty { peer.download.pause(now: now) } else { peer.download.update(now: now) }
        peer.upload.update(now: now)
        let silent = now - peer.lastReceived
        if !peer.isJoined || !peer.bulkIsOpen {
            // 10 s from the opening of `control`.
            guard now - peer.connectedAt >= .seconds(10) else { return }
            let what = peer.isJoined ? "the channel `bulk` did not open" : "no hello"
            close(peer, SwarmCloseReason(.helloTimeout, "\(what) within 10 s"), now: now)
        } else if silent >= .seconds(60) {
            close(peer, SwarmCloseReason(.silence, "nothing was received for 60 s"), now: now)
        } else if let deadline = peer.replacedDeadline, now >= deadline {
            close(peer, SwarmCloseReason(.duplicate, "a newer connection to the same node took its place"), now: now)
        } else {
            if silent >= .seconds(30), peer.pingSentAt == nil { ping(peer, now: now) }
            checkSilence(peer, now: now)
        }
    }

    /// Under an upload limit no channel tells when there is room again: the bucket does. Peers take turns at being first.
    private mutating func offerUploads() {
        guard uploadBucket.rate != nil, uploadBucket.isOpen else { return }
        let waiting = joinedPeers.filter { !$0.jobs.isEmpty && $0.bulkIsOpen }
        guard !waiting.isEmpty else { return }
        uploadTurn &+= 1
        for index in waiting.indices {
            actions.append(.framesReady(waiting[(index + uploadTurn) % waiting.count].handle))
        }
    }

    /// Tells peers of groups that were verified since the last time.
    private mutating func announceGroups(now: Timestamp) {
        guard now - lastGroupAnnouncement >= .milliseconds(500) else { return }
        lastGroupAnnouncement = now
        for state in open where !state.unannounced.isEmpty {
            var groups = GroupSet(capacity: state.groupCount)
            for group in state.unannounced { groups.insert(group) }
            state.unannounced = []
            guard state.sharesGroups else { continue }
            for peer in joinedPeers { sendGroups(peer, state, groups.ranges, now: now) }
        }
    }

    mutating func reportProgress(now: Timestamp) {
        let (verified, total) = progress
        if verified != lastProgress {
            lastProgress = verified
            actions.append(.event(.progress(verified: verified, total: total)))
        }
        if !wasComplete, open.isEmpty, entries.contains(where: { $0.isWanted }) {
            wasComplete = true
            actions.append(.event(.complete))
        }
    }
}
