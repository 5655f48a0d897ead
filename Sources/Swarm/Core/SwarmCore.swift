// SPDX-License-Identifier: Apache-2.0

public import Hashing
import RDRR
public import Wire

/// A node of a swarm as a value: it is fed with what peers, the disk and the HTTP origin say, and with the time, and
/// answers with ``SwarmAction``s and the time it wants to be called next.
///
///     peerConnected ─▶ hello ⇄ hello ─▶ bitfield … ─▶ want ─▶ chunks ─▶ group verified ─▶ writeGroup
///                                                                                            │
///     have, events ◀─ entryFinished ◀─ finishEntry ◀─ every group stored ◀─ groupWritten ◀───┘
///
/// Calls fall in four classes: connections (``peerConnected(_:role:certificateDigest:maxMessageSize:bulkIsOpen:now:)`` and
/// what follows it), the model (``setCatalog(_:manifest:now:)`` … ``begin(now:)``), completions of actions, and time.
/// After every call the driver takes ``takeActions()`` and performs them in order; it may keep them until it has left its
/// lock. Bytes from peers never trap and never make memory grow without bound.
public struct SwarmCore: ~Copyable {
    let configuration: SwarmConfiguration
    let manifestDigest: BLAKE3.Digest
    let certificateDigest: [UInt8]
    /// This node's id.
    public let nodeID: NodeID
    let hasOrigin: Bool
    var entropy: Entropy

    var peers: [PeerHandle: Peer] = [:]
    var nextPeerNumber: UInt64 = 0
    var bans: [NodeID: String] = [:]
    var silentCloses: [NodeID: Int] = [:]
    var departed = DepartedSources()
    var hasLeft = false

    var manifest: [UInt8]?
    var manifestAssembly: ManifestAssembly?
    var entries: [EntryState] = []
    /// Entries that are wanted and not complete.
    var open: [EntryState] = []
    var hasBegun = false
    /// Why nothing is asked for any more.
    var failure: SwarmFailure?
    var availability: [Int] = []
    var availabilityIsStale = true
    /// Whether a peer is connected that misses something too.
    var hasFellows = false

    var pool = GroupBufferPool()
    var uploadBucket: TokenBucket
    var downloadBucket: TokenBucket
    var uploadTurn = 0
    var originFetches: [OriginRequestID: OriginFetch] = [:]
    var lastOriginRequest: UInt64 = 0
    var originPausedUntil: Timestamp = .zero
    var originFailures = 0
    var originMeter: RateMeter
    var manifestUncoveredSince: Timestamp?

    var actions: [SwarmAction] = []
    var startedAt: Timestamp
    var lastTick: Timestamp
    var lastGroupAnnouncement: Timestamp
    var lastRechoke: Timestamp
    var wasComplete = false
    var lastProgress = -1

    /// What has been moved so far.
    public internal(set) var statistics = SwarmStatistics()

    /// A node that knows the link and nothing else.
    ///
    /// - Parameters:
    ///   - manifestDigest: from the link; the credential.
    ///   - certificateDigest: SHA-256 of the certificate that this node uses for all its connections.
    ///   - hasOrigin: whether ``SwarmAction/fetch(_:_:)`` can be served.
    ///   - entropy: for nonces and turns.
    public init(
        manifestDigest: BLAKE3.Digest, certificateDigest: [UInt8], hasOrigin: Bool = false,
        configuration: SwarmConfiguration = SwarmConfiguration(), entropy: Entropy, now: Timestamp
    ) {
        self.manifestDigest = manifestDigest
        self.certificateDigest = certificateDigest
        self.hasOrigin = hasOrigin && !configuration.p2pOnly
        self.configuration = configuration
        self.entropy = entropy
        nodeID = NodeID(certificateDigest: certificateDigest)
        uploadBucket = TokenBucket(rate: configuration.uploadLimit, now: now)
        downloadBucket = TokenBucket(rate: configuration.downloadLimit, now: now)
        originMeter = RateMeter(now: now)
        startedAt = now
        lastTick = now
        lastGroupAnnouncement = now
        lastRechoke = now
    }

    /// Everything that is to be done now, in order. Empty until the next call of another method.
    public mutating func takeActions() -> [SwarmAction] {
        guard !actions.isEmpty else { return [] }
        var taken: [SwarmAction] = []
        swap(&taken, &actions)
        return taken
    }

    /// When ``handleTimeout(now:)`` wants to be called, `nil` while only input can change anything.
    public var nextTimeout: Timestamp? {
        guard !hasLeft else { return nil }
        let isWaiting = hasBegun ? !open.isEmpty && failure == nil : manifest == nil
        guard isWaiting || !peers.isEmpty || !originFetches.isEmpty else { return nil }
        var isBusy = isWaiting
        var next = Timestamp.distantFuture
        for peer in peers.values {
            if !peer.requests.isEmpty || !peer.jobs.isEmpty || !peer.isJoined { isBusy = true }
            if !peer.controlQueue.isEmpty { next = min(next, peer.controlBudget.opens) }
            if !peer.jobs.isEmpty, let opens = uploadBucket.opens { next = min(next, opens) }
        }
        if isWaiting, let opens = downloadBucket.opens { next = min(next, opens) }
        next = min(next, lastTick + (isBusy ? SwarmCore.busyTick : SwarmCore.idleTick))
        return max(next, lastTick + .milliseconds(5))
    }

    /// Between two looks at every timer while something is on its way, and while nothing is.
    static let busyTick = Duration.milliseconds(100)
    static let idleTick = Duration.seconds(1)
}

extension SwarmCore {
    // MARK: - The model

    /// Takes the parsed manifest. Follow with ``entryOnDisk(_:values:)`` and ``partOnDisk(_:values:groups:)`` for what the
    /// folder holds, ``want(_:)`` and ``begin(now:)``.
    public mutating func setCatalog(_ catalog: SwarmCatalog, manifest: [UInt8], now: Timestamp) {
        guard entries.isEmpty else { return }
        if let objection = catalog.objection {
            fail(.manifest(objection))
            return
        }
        self.manifest = manifest
        manifestAssembly = nil
        entries = []
        for (index, entry) in catalog.entries.enumerated() {
            entries.append(EntryState(index: index, entry: entry, turn: Int(entropy.next() >> 1)))
        }
        for peer in peers.values { adoptCatalog(peer) }
        availabilityIsStale = true
    }

    /// A finished file that was verified, with its group values.
    public mutating func entryOnDisk(_ index: Int, values: [BLAKE3.Digest]) {
        guard let state = state(index), !state.isComplete else { return }
        precondition(values.count == state.groupCount, "an entry has one value a group")
        markComplete(state, values: values)
        statistics.verifiedFromDisk += state.entry.size
    }

    /// What a part file of an earlier run holds.
    ///
    /// - Parameters:
    ///   - values: what was kept beside it, `nil` where a value is not known.
    ///   - groups: what the file's groups hash to now.
    public mutating func partOnDisk(_ index: Int, values: [BLAKE3.Digest?], groups: [Int: BLAKE3.Digest]) {
        guard let state = state(index), !state.isComplete, values.count == state.groupCount else { return }
        let known = values.compactMap { $0 }
        if known.count == state.groupCount, state.needsValues {
            if state.entry.isProved(by: known) {
                state.values = known
                state.isProved = true
            } else if state.entry.algorithm == .sha256 {
                let id = Commitments.id(of: known)
                state.commitments.lists[id] = known
                state.commitments.inUse = id
                state.values = known
            }
        }
        for (group, value) in groups where (0..<state.groupCount).contains(group) && values[group] == value {
            guard state.needsValues else { continue }
            if state.values == nil { state.tentative[group] = value }
            state.setStatus(group, .stored)
        }
        statistics.verifiedFromDisk += state.storedByteCount
    }

    /// Which entries are to be fetched; more may be added at any time.
    public mutating func want(_ indices: some Sequence<Int>, priority: Int = 1) {
        for index in indices {
            guard let state = state(index) else { continue }
            state.priority = max(state.priority, priority)
            guard !state.isWanted else { continue }
            state.isWanted = true
            if !state.isComplete { open.append(state) }
        }
        availabilityIsStale = true
        if hasBegun { wasComplete = false }
    }

    /// Everything that the disk holds is told: peers get the bitfield, and fetching starts.
    public mutating func begin(now: Timestamp) {
        guard !hasBegun, manifest != nil else { return }
        hasBegun = true
        guard hasRoom(now: now) else { return }
        for peer in joinedPeers { sendInventory(to: peer, now: now) }
        for state in Array(open) where !state.isFinishing && state.stored.isFull { finish(state) }
        reportProgress(now: now)
        schedule(now: now)
    }

    /// An entry was put into the folder by someone else, and verified.
    public mutating func entryAppeared(_ index: Int, values: [BLAKE3.Digest], now: Timestamp) {
        guard let state = state(index), !state.isComplete, !state.isFinishing, values.count == state.groupCount else {
            return
        }
        for peer in joinedPeers { dropWork(of: peer, on: state, now: now) }
        let hadPart = !state.stored.isEmpty || !state.writing.isEmpty
        markComplete(state, values: values)
        if hadPart { actions.append(.discardPart(entry: index)) }
        actions.append(.event(.shardVerified(index: index, .disk)))
        for peer in joinedPeers { sendHave(peer, [index], now: now) }
        reportProgress(now: now)
        schedule(now: now)
    }

    /// Asks for one entry now, before the others. Entries that are complete and not wanted are evicted where the quota
    /// leaves no room.
    public mutating func request(_ index: Int, now: Timestamp) {
        guard let state = state(index) else { return }
        state.lastUsed = now
        want(CollectionOfOne(index), priority: 2)
        guard hasBegun, hasRoom(now: now) else { return }
        schedule(now: now)
    }

    /// Removes an entry's file, and tells the peers.
    public mutating func evict(_ index: Int, now: Timestamp) {
        guard let state = state(index), state.isComplete, state.groupCount > 0 else { return }
        let fresh = EntryState(index: index, entry: state.entry, turn: state.turn)
        entries[index] = fresh
        actions.append(.removeEntry(index))
        actions.append(.event(.shardEvicted(index: index)))
        for peer in joinedPeers {
            for job in peer.jobs where job.entry == index { reject(peer, job, .missing, now: now) }
            peer.jobs.removeAll { $0.entry == index }
            send(peer, .dontHave([UInt32(index)]), now: now)
        }
    }

    /// Peers go, and nothing more is asked for.
    public mutating func leave(now: Timestamp) {
        for peer in Array(peers.values) { close(peer, SwarmCloseReason(.left, "this node leaves"), now: now) }
        for id in originFetches.keys { actions.append(.cancelFetch(id)) }
        originFetches = [:]
        hasLeft = true
    }

    /// Whether what is wanted fits the quota, after evicting what is not wanted. If not, the node gives up.
    mutating func hasRoom(now: Timestamp) -> Bool {
        guard let quota = configuration.diskQuota else { return true }
        var needed = entries.reduce(0) { $0 + ($1.isWanted || $1.isComplete ? $1.entry.size : 0) }
        let evictable = entries.filter { $0.isComplete && !$0.isWanted && $0.groupCount > 0 }
        for state in evictable.sorted(by: { $0.lastUsed < $1.lastUsed }) where needed > quota {
            needed -= state.entry.size
            evict(state.index, now: now)
        }
        if needed > quota { fail(.quotaExceeded(needed: needed, quota: quota)) }
        return needed <= quota
    }

    /// The file system refused something else than a group or a whole entry.
    public mutating func storageFailed(_ what: String) { fail(.storage(what)) }

    /// The manifest matches the link and is none, or something else makes the work impossible.
    public mutating func giveUp(_ failure: SwarmFailure) { fail(failure) }

    mutating func fail(_ failure: SwarmFailure) {
        guard self.failure == nil else { return }
        self.failure = failure
        actions.append(.event(.failed(failure)))
    }

    func state(_ index: Int) -> EntryState? { entries.indices.contains(index) ? entries[index] : nil }

    /// Whether every entry with bytes is here.
    var hasEverything: Bool { manifest != nil && hasBegun && entries.allSatisfy { $0.isComplete } }

    var joinedPeers: [Peer] { peers.values.filter { $0.isJoined }.sorted { $0.number < $1.number } }
}
