// SPDX-License-Identifier: Apache-2.0

import Hashing
import RDRR
public import Wire

/// A fetch from HTTP that is under way.
struct OriginFetch {
    let resource: OriginResource
    /// Bytes that have come.
    var received = 0
    /// Bytes of the manifest or of a proof.
    var bytes: [UInt8] = []
}

extension SwarmCore {
    // MARK: - Answers

    /// The next bytes of a fetch, in order.
    public mutating func originReceived(_ id: OriginRequestID, _ data: RawSpan, now: Timestamp) {
        guard let fetch = originFetches[id] else { return }
        switch fetch.resource {
        case .manifest, .proof:
            guard fetch.bytes.count + data.byteCount <= ManifestAssembly.limit else {
                actions.append(.cancelFetch(id))
                originFailed(id, "an answer of more than 64 MiB", isPermanent: true, now: now)
                return
            }
            data.withUnsafeBytes { originFetches[id]?.bytes.append(contentsOf: $0) }
        case .range(let entry, let range): receiveRange(id, entries[entry], range, fetch.received, data, now: now)
        }
        originFetches[id]?.received += data.byteCount
        originMeter.add(data.byteCount)
    }

    private mutating func receiveRange(
        _ id: OriginRequestID, _ state: EntryState, _ range: Range<Int>, _ received: Int, _ data: RawSpan, now: Timestamp
    ) {
        var taken = 0
        while taken < data.byteCount, originFetches[id] != nil {
            let position = range.lowerBound + received + taken
            guard position < range.upperBound else { return }
            let group = position / SwarmCatalog.groupSize
            let bounds = state.entry.range(ofGroup: group)
            let length = min(data.byteCount - taken, bounds.upperBound - position)
            defer { taken += length }
            guard state.assigned[group] == .origin(id), state.status[group] == .asked else {
                statistics.duplicateBytes += length
                continue
            }
            if state.assemblies[group] == nil {
                state.assemblies[group] = .init(buffer: pool.take(count: bounds.count), source: .origin(id))
            }
            guard let buffer = state.assemblies[group]?.buffer else { continue }
            statistics.bytesFromOrigin += data.extracting(taken..<taken + length).withUnsafeBytes {
                buffer.add($0, at: position - bounds.lowerBound)
            }
            if buffer.isWhole { groupIsWhole(state, group, now: now) }
        }
    }

    /// A fetch has come to its end.
    public mutating func originFinished(_ id: OriginRequestID, now: Timestamp) {
        guard let fetch = originFetches[id] else { return }
        if case .range(_, let range) = fetch.resource, fetch.received < range.count {
            originFailed(id, "the answer ended after \(fetch.received) of \(range.count) bytes", now: now)
            return
        }
        endFetch(id)
        originFailures = 0
        switch fetch.resource {
        case .manifest:
            if !takeManifest(fetch.bytes) {
                actions.append(.event(.originFailed("manifest.json from HTTP does not match the link")))
                pauseOrigin(now: now)
            }
        case .proof(let entry): takeOriginProof(entries[entry], fetch.bytes, now: now)
        case .range: break
        }
        scheduleOrigin(now: now)
    }

    /// A fetch failed. `isPermanent`: the origin does not have it.
    public mutating func originFailed(_ id: OriginRequestID, _ what: String, isPermanent: Bool = false, now: Timestamp) {
        guard let fetch = originFetches[id] else { return }
        endFetch(id)
        switch fetch.resource {
        case .proof:
            // Without a proof the whole entry is checked at its end.
            if !isPermanent { pauseOrigin(now: now) }
        case .manifest:
            actions.append(.event(.originFailed(what)))
            pauseOrigin(now: now)
        case .range(let entry, _):
            entries[entry].originFailures += isPermanent ? 3 : 0
            actions.append(.event(.originFailed("\(entries[entry].entry.name): \(what)")))
            pauseOrigin(now: now)
        }
        schedule(now: now)
    }

    private mutating func endFetch(_ id: OriginRequestID) {
        guard let fetch = originFetches.removeValue(forKey: id), case .range(let entry, let range) = fetch.resource else {
            return
        }
        let state = entries[entry]
        downloadBucket.take(-max(0, range.count - fetch.received))
        for group in groups(of: range) where state.assigned[group] == .origin(id) {
            dropAssembly(state, group)
            unassign(state, group)
        }
    }

    /// Tries again after 1 s, twice as long after each further failure, up to a minute.
    private mutating func pauseOrigin(now: Timestamp) {
        originFailures += 1
        originPausedUntil = now + .milliseconds(min(60_000, 500 << min(originFailures, 8)))
    }

    private mutating func takeOriginProof(_ state: EntryState, _ bytes: [UInt8], now: Timestamp) {
        let size = SwarmCatalog.valueSize
        guard bytes.count == state.groupCount * size, !state.isComplete, state.values == nil else { return }
        let values = (0..<state.groupCount).map { index in
            BLAKE3.Digest(bytes: Array(bytes[index * size..<(index + 1) * size]))
        }
        if state.entry.algorithm == .blake3 {
            guard state.entry.isProved(by: values) else {
                actions.append(.event(.originFailed("the proof of \(state.entry.name) from HTTP is wrong")))
                return
            }
            state.isProved = true
        } else {
            let id = Commitments.id(of: values)
            state.commitments.lists[id] = values
            state.commitments.inUse = id
            state.commitments.fromOrigin = id
            state.lastGroupAt = now
        }
        useValues(state, values, now: now)
    }

    /// The origin gave wrong bytes: after three times it is not asked for this entry again.
    mutating func originLied(_ state: EntryState, _ what: String, isFinal: Bool = false, now: Timestamp) {
        state.originFailures += isFinal ? 3 : 1
        actions.append(.event(.originFailed(what)))
        guard state.originFailures >= 3 else { return }
        for (id, fetch) in originFetches {
            guard case .range(state.index, _) = fetch.resource else { continue }
            actions.append(.cancelFetch(id))
            endFetch(id)
        }
    }

    // MARK: - Questions

    /// Asks HTTP for what no peer has had for a while.
    mutating func scheduleOrigin(now: Timestamp) {
        guard hasOrigin, !hasLeft, failure == nil, originPausedUntil <= now else { return }
        guard manifest != nil else {
            scheduleOriginManifest(now: now)
            return
        }
        guard hasBegun, pool.inUse < SwarmCore.bufferLimit else { return }
        downloadBucket.refill(now: now)
        let helpers = peers.values.filter { $0.isJoined && $0.bulkIsOpen && $0.takesBulk && !$0.isChokingUs }
        for state in open.sorted(by: { (-$0.priority, $0.index) < (-$1.priority, $1.index) })
        where state.openCount > 0 && state.originFailures < 3 {
            let useful = helpers.filter { $0.offers(state.index) && !isExcluded($0, state) }
            let groups = state.openRun(limit: 64) { group in !useful.contains { $0.has(state.index, group: group) } }
            guard let groups else {
                state.uncoveredSince = nil
                continue
            }
            let since = state.uncoveredSince ?? now
            state.uncoveredSince = since
            guard now - since >= configuration.originGrace else { continue }
            guard originFetches.count < configuration.originRequests, downloadBucket.isOpen else { return }
            fetch(state, groups)
        }
    }

    private func isExcluded(_ peer: Peer, _ state: EntryState) -> Bool {
        guard let given = peer.commitments[state.index], let inUse = state.commitments.inUse else { return false }
        return given != inUse
    }

    private mutating func fetch(_ state: EntryState, _ groups: Range<Int>) {
        if state.needsValues, state.values == nil {
            if originFetches.values.contains(where: { $0.resource == .proof(entry: state.index) }) { return }
            if !state.proofWasTriedAtOrigin {
                state.proofWasTriedAtOrigin = true
                startFetch(.proof(entry: state.index))
                return
            }
        }
        let run = configuration.downloadLimit.map { limit in
            groups.prefix(max(1, limit / 4 / SwarmCatalog.groupSize))
        } ?? groups
        let bytes = state.entry.range(ofGroups: run)
        let id = startFetch(.range(entry: state.index, bytes))
        for group in run {
            state.setStatus(group, .asked)
            state.assigned[group] = .origin(id)
        }
        downloadBucket.take(bytes.count)
    }

    private mutating func scheduleOriginManifest(now: Timestamp) {
        guard originFetches.isEmpty else { return }
        let isWaiting = manifestAssembly != nil
            || peers.values.contains { $0.isJoined && $0.manifestTriedAt == nil && $0.bulkIsOpen && $0.takesBulk }
        guard !isWaiting else {
            manifestUncoveredSince = nil
            return
        }
        let since = manifestUncoveredSince ?? startedAt
        manifestUncoveredSince = since
        guard now - since >= configuration.originGrace else { return }
        startFetch(.manifest)
    }

    @discardableResult
    private mutating func startFetch(_ resource: OriginResource) -> OriginRequestID {
        lastOriginRequest += 1
        let id = OriginRequestID(rawValue: lastOriginRequest)
        originFetches[id] = OriginFetch(resource: resource)
        actions.append(.fetch(id, resource))
        return id
    }

    private func groups(of range: Range<Int>) -> Range<Int> {
        range.lowerBound / SwarmCatalog.groupSize
            ..< (range.upperBound + SwarmCatalog.groupSize - 1) / SwarmCatalog.groupSize
    }
}
