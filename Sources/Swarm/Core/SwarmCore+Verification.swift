// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
public import Wire

extension SwarmCore {
    // MARK: - Groups

    /// Whether a group from this peer could be checked now.
    func canVerify(_ state: EntryState, from peer: Peer) -> Bool {
        guard state.needsValues else { return true }
        guard state.values != nil else { return false }
        return state.entry.algorithm == .blake3 || peer.commitments[state.index] == state.commitments.inUse
    }

    /// Every byte of a group has come: check it, or hold it until its values are known.
    mutating func groupIsWhole(_ state: EntryState, _ group: Int, now: Timestamp) {
        guard let assembly = state.assemblies[group] else { return }
        switch assembly.source {
        case .peer(let handle, _):
            guard let peer = peers[handle], canVerify(state, from: peer) else { return }
            dropHeld(assembly)
            state.assemblies[group]?.heldBytes = 0
            guard isRight(state, group, assembly.buffer) else {
                rejectAssembly(state, group)
                fault(peer, "group \(group) of \(state.entry.name) is not what its proof says", now: now)
                return
            }
            peer.silences = 0
            peer.rejects = 0
            state.bytesFromPeers += assembly.buffer.count
        case .origin:
            guard state.values != nil || !state.needsValues else {
                // No proof is to be had: kept, with its value, until the whole shard can be checked.
                state.tentative[group] = assembly.buffer.value(group: group)
                state.bytesFromOrigin += assembly.buffer.count
                store(state, group, assembly.buffer, now: now)
                return
            }
            guard isRight(state, group, assembly.buffer) else {
                rejectAssembly(state, group)
                originLied(state, "group \(group) of \(state.entry.name) from HTTP is wrong", now: now)
                return
            }
            state.bytesFromOrigin += assembly.buffer.count
        }
        store(state, group, assembly.buffer, now: now)
    }

    private func isRight(_ state: EntryState, _ group: Int, _ buffer: GroupBuffer) -> Bool {
        if let values = state.values, state.needsValues { return buffer.value(group: group) == values[group] }
        switch state.entry.algorithm {
        case .blake3: return BLAKE3.hash(buffer.bytes).bytes == state.entry.hash
        case .sha256: return SHA256.hash(buffer.bytes) == state.entry.hash
        }
    }

    private mutating func store(_ state: EntryState, _ group: Int, _ buffer: GroupBuffer, now: Timestamp) {
        state.assemblies[group] = nil
        state.assigned[group] = nil
        state.setStatus(group, .writing)
        state.writing[group] = buffer
        state.lastGroupAt = now
        actions.append(.writeGroup(entry: state.index, group: group, buffer: buffer))
        if let value = state.tentative[group] {
            actions.append(.writeValues(entry: state.index, first: group, values: [value]))
        }
    }

    /// A group is in the part file, or could not be put there.
    public mutating func groupWritten(
        entry: Int, group: Int, buffer: GroupBuffer, error: String? = nil, now: Timestamp
    ) {
        let wasFull = pool.inUse >= SwarmCore.bufferLimit
        // After a discard the completion is of no interest any more.
        let isExpected = self.state(entry)?.writing[group] === buffer
        pool.give(buffer)
        guard isExpected, let state = state(entry) else { return }
        state.writing[group] = nil
        if let error {
            state.tentative[group] = nil
            state.setStatus(group, .open)
            fail(.storage(error))
            return
        }
        state.setStatus(group, .stored)
        if state.sharesGroups { state.unannounced.append(group) }
        if state.stored.isFull { finish(state) }
        if wasFull { schedule(now: now) }
    }

    // MARK: - Values

    /// Group values came from a peer; what is wrong with them, `nil` if nothing is.
    mutating func takeValues(
        _ state: EntryState, _ values: [BLAKE3.Digest], from peer: Peer, now: Timestamp
    ) -> String? {
        if state.isComplete { return values == state.values ? nil : "a proof that is not the shard's" }
        if state.entry.algorithm == .sha256 { return takeCommitment(state, values, from: peer, now: now) }
        if let known = state.values { return values == known ? nil : "a proof that is not the shard's" }
        guard state.entry.isProved(by: values) else { return "a proof that the manifest's hash does not cover" }
        state.isProved = true
        useValues(state, values, now: now)
        return nil
    }

    /// Checks from now on against these values, and what is here already as well.
    mutating func useValues(_ state: EntryState, _ values: [BLAKE3.Digest], now: Timestamp) {
        state.values = values
        actions.append(.writeValues(entry: state.index, first: 0, values: values))
        let tentative = state.tentative
        state.tentative = [:]
        for (group, value) in tentative where value != values[group] {
            state.writing[group] = nil
            state.setStatus(group, .open)
            originLied(state, "group \(group) of \(state.entry.name) from HTTP is wrong", now: now)
        }
        if state.sharesGroups { state.unannounced = Array(state.stored) }
        checkHeld(state, now: now)
        if state.stored.isFull { finish(state) }
    }

    /// Checks the whole groups that waited for their values.
    mutating func checkHeld(_ state: EntryState, now: Timestamp) {
        for group in state.assemblies.keys.sorted() {
            guard let assembly = state.assemblies[group] else { continue }
            if case .peer(let handle, _) = assembly.source, let peer = peers[handle] {
                guard canVerify(state, from: peer) else { continue }
                dropHeld(assembly)
                state.assemblies[group]?.heldBytes = 0
            }
            if assembly.buffer.isWhole { groupIsWhole(state, group, now: now) }
        }
    }

    // MARK: - Whole entries

    /// Every group is stored: have the entry put under its final name.
    mutating func finish(_ state: EntryState) {
        guard !state.isComplete, !state.isFinishing, failure == nil else { return }
        if state.needsValues, state.values == nil {
            // Everything came from HTTP without a proof: now the values make one.
            let values = (0..<state.groupCount).compactMap { state.tentative[$0] }
            guard values.count == state.groupCount else { return }
            if state.entry.algorithm == .blake3, !state.entry.isProved(by: values) {
                originLied(state, "\(state.entry.name) from HTTP has another hash", isFinal: true, now: lastTick)
                discard(state)
                return
            }
            state.values = values
            state.isProved = state.entry.algorithm == .blake3
            state.bytesFromOrigin = max(state.bytesFromOrigin, 1)
        }
        state.isFinishing = true
        actions.append(
            .finishEntry(state.index, checksHash: state.entry.algorithm == .sha256 && state.groupCount > 1))
    }

    /// What came of ``SwarmAction/finishEntry(_:checksHash:)``.
    public mutating func entryFinished(_ index: Int, result: FinishResult, now: Timestamp) {
        guard let state = state(index), state.isFinishing else { return }
        state.isFinishing = false
        switch result {
        case .finished:
            let origin: ShardOrigin =
                if state.bytesFromPeers == 0 && state.bytesFromOrigin == 0 {
                    .disk
                } else {
                    state.bytesFromPeers >= state.bytesFromOrigin ? .p2p : .http
                }
            punishOtherCommitments(state, now: now)
            markComplete(state, values: state.values ?? [])
            actions.append(.event(.shardVerified(index: index, origin)))
            for peer in joinedPeers {
                sendHave(peer, [index], now: now)
                partIfComplete(peer, now: now)
            }
            reportProgress(now: now)
        case .hashMismatch: commitmentFailed(state, now: now)
        case .failed(let what): fail(.storage(what))
        }
        schedule(now: now)
    }

    mutating func markComplete(_ state: EntryState, values: [BLAKE3.Digest]) {
        for group in Array(state.assemblies.keys) { dropAssembly(state, group) }
        state.assigned = [:]
        state.writing = [:]
        state.tentative = [:]
        state.unannounced = []
        for group in 0..<state.groupCount { state.setStatus(group, .stored) }
        state.values = values
        state.isProved = true
        state.isComplete = true
        state.commitments = Commitments()
        open.removeAll { $0 === state }
    }

    /// Starts an entry from nothing: what is in its part file is not right.
    mutating func discard(_ state: EntryState) {
        for group in Array(state.assemblies.keys) { dropAssembly(state, group) }
        for group in Array(state.assigned.keys) { unassign(state, group) }
        state.writing = [:]
        state.tentative = [:]
        state.unannounced = []
        statistics.rejectedBytes += state.storedByteCount
        for group in 0..<state.groupCount { state.setStatus(group, .open) }
        state.values = nil
        state.isProved = false
        state.isFinishing = false
        state.bytesFromPeers = 0
        state.bytesFromOrigin = 0
        actions.append(.discardPart(entry: state.index))
    }

    // MARK: - Assemblies

    private func dropHeld(_ assembly: EntryState.Assembly) {
        guard assembly.heldBytes > 0, case .peer(let handle, _) = assembly.source else { return }
        peers[handle]?.heldByteCount -= assembly.heldBytes
    }

    /// Forgets a group that is wrong; it is to be asked for again.
    private mutating func rejectAssembly(_ state: EntryState, _ group: Int) {
        guard let assembly = state.assemblies.removeValue(forKey: group) else { return }
        statistics.rejectedBytes += assembly.buffer.received
        pool.give(assembly.buffer)
        unassign(state, group)
    }

    /// Forgets the bytes of a group that came so far; they will come again.
    mutating func dropAssembly(_ state: EntryState, _ group: Int) {
        guard let assembly = state.assemblies.removeValue(forKey: group) else { return }
        dropHeld(assembly)
        statistics.duplicateBytes += assembly.buffer.received
        pool.give(assembly.buffer)
    }

    /// A group is to be asked for again.
    func unassign(_ state: EntryState, _ group: Int) {
        state.assigned[group] = nil
        if state.status[group] == .asked { state.setStatus(group, .open) }
    }
}
