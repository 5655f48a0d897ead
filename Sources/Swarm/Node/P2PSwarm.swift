// SPDX-License-Identifier: Apache-2.0

import Hashing
import NetIO
public import RDRR
import Synchronization
import Wire

/// A node of a swarm: it fetches a model into a folder, and serves what the folder holds.
///
///     let swarm = try P2PSwarm(link: link, folder: "model", transport: transport, discovery: [tracker], origin: nil)
///     try await swarm.join()
///     try await swarm.completed()
///     await swarm.leave()
public final class P2PSwarm: Sendable {
    /// How a node works.
    public struct Configuration: Sendable {
        /// Limits and names.
        public var core = SwarmConfiguration()
        /// Which entries are fetched, by the protocol's shard index. The default is all.
        public var wanted: @Sendable (RDRRManifest) throws -> [Int] = { Array($0.entries.indices) }
        /// Offers that an announce carries while more peers are welcome.
        public var offersPerAnnounce = 5
        /// Files that are hashed at a time when the folder is looked through.
        public var verifyThreads = 2

        /// The defaults: everything, without limits.
        public init() {}
    }

    /// The link to the model.
    public let link: MagnetLink
    /// Where the model lies.
    public let folder: String
    /// Who this node is to its peers.
    public let nodeID: NodeID
    /// What happens. At most 1,000 events wait; the oldest of more are lost.
    public let events: AsyncStream<SwarmEvent>

    fileprivate struct State {
        var manifest: RDRRManifest?
        var isReady = false
        var failure: (any Error)?
        var hasLeft = false
        var isComplete = false
        var isExamining = false
        /// Nodes whose offer was answered a moment ago, and until when no other of theirs is.
        var answered: [NodeID: Timestamp] = [:]
        var waiters = Waiters()
        var offers: [UInt64: any OfferedLink] = [:]
        var lastOffer: UInt64 = 0
        var joinedAt = Timestamp.zero
    }

    /// Whether the folder is being looked through.
    public var isExamining: Bool { state.withLock { $0.isExamining } }

    private let configuration: Configuration
    private let transport: any SwarmTransport
    private let discovery: [any PeerDiscovery]
    private let known: [UInt8]?
    private let state = Mutex(State())
    private let continuation: AsyncStream<SwarmEvent>.Continuation
    private let engine: SwarmEngine
    private let relay: EventRelay

    /// A node that is not joined yet.
    ///
    /// - Parameters:
    ///   - link: the model.
    ///   - manifest: the manifest's bytes where they are known; else the folder's are taken if they match the link, or they
    ///     are fetched.
    ///   - folder: where the model lies or is put.
    ///   - transport: makes connections.
    ///   - discovery: where peers are met.
    ///   - origin: a web server for what no peer has.
    public init(
        link: MagnetLink, manifest: [UInt8]? = nil, folder: String, transport: any SwarmTransport,
        discovery: [any PeerDiscovery] = [], origin: (any FallbackOrigin)? = nil, configuration: Configuration = .init()
    ) throws {
        self.link = link
        self.folder = folder
        self.transport = transport
        self.discovery = discovery
        self.configuration = configuration
        known = manifest
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1_000))
        nodeID = NodeID(certificateDigest: transport.certificateDigest)
        let core = SwarmCore(
            manifestDigest: link.manifestDigest, certificateDigest: transport.certificateDigest,
            hasOrigin: origin != nil, configuration: configuration.core, entropy: SystemEntropy.make(),
            now: MonotonicClock.now)
        let relay = EventRelay()
        self.relay = relay
        engine = try SwarmEngine(core: core, origin: origin) { relay.deliver($0) }
        relay.connect { [weak self] in self?.handle($0) }
    }

    deinit { engine.leave() }

    // MARK: - Lifecycle

    /// Looks through the folder, begins to announce and to fetch. Comes back when the folder was looked through, or at
    /// once where the manifest still has to be fetched.
    public func join() async throws {
        state.withLock { $0.joinedAt = MonotonicClock.now }
        if let bytes = known ?? manifestInFolder() {
            guard BLAKE3.hash(bytes) == link.manifestDigest else {
                throw SwarmFailure.manifest("the manifest has another digest than the link")
            }
            try await prepare(bytes)
        }
        // Without a peer, time alone brings a node to ask HTTP.
        engine.input { $0.handleTimeout(now: $1) }
        let status = discoveryStatus()
        if !discovery.isEmpty { continuation.yield(.announcing(at: MonotonicClock.now)) }
        for meeting in discovery { meeting.start(status, meeting: self) }
        transport.setNetworkHandler { [discovery] in
            for meeting in discovery { meeting.networkChanged() }
        }
    }

    /// Tells the trackers and closes all connections. Repeated calls are harmless.
    public func leave() async {
        transport.setNetworkHandler(nil)
        for meeting in discovery {
            meeting.update(discoveryStatus())
            await meeting.stop()
        }
        engine.leave()
        // What is with the disk already is written before this returns.
        await withCheckedContinuation { continuation in
            engine.afterDisk { continuation.resume() }
        }
        let offers = state.withLock { state in
            state.hasLeft = true
            defer { state.offers = [:] }
            return state.offers.values
        }
        for offer in offers { offer.close() }
        finishWaiters(CancellationError())
        continuation.finish()
    }

    /// The manifest, as soon as it is known and the folder was looked through.
    public func ready() async throws -> RDRRManifest {
        try await wait(for: .ready) { $0.isReady }
        guard let manifest else { throw CancellationError() }
        return manifest
    }

    /// Comes back when everything that is wanted is here and verified, or throws when the task is cancelled.
    public func completed() async throws {
        try await wait(for: .complete) { $0.isComplete }
    }

    // MARK: - Shards

    /// The manifest, once it is known.
    public var manifest: RDRRManifest? { state.withLock { $0.manifest } }

    /// Whether an entry is here and verified.
    public func has(_ index: Int) -> Bool { engine.query { $0.isComplete(index) } }

    /// A verified shard or file: at once if it is here, else before everything else that is being fetched.
    public func requestShard(_ index: Int) async throws -> MappedFile {
        let manifest = try await ready()
        guard manifest.entries.indices.contains(index) else {
            throw RDRRError(
                .outOfBounds, at: "shard \(index)", "the model has \(manifest.entries.count) shards and files",
                advice: "ask for one of them")
        }
        engine.input { $0.request(index, now: $1) }
        try await wait(for: .shard(index)) { [engine] _ in engine.query { $0.isComplete(index) } }
        return try MappedFile(path: ModelFolder(path: folder, manifest: manifest).path(of: manifest.entries[index]))
    }

    /// Looks at files that were put into the folder by someone else, and announces those that are right.
    public func announceShards(_ indices: [Int]) async {
        guard let store = engine.store else { return }
        for index in indices where store.catalog.entries.indices.contains(index) && !has(index) {
            guard case .whole(let values) = store.examine(index) else { continue }
            engine.input { $0.entryAppeared(index, values: values, now: $1) }
        }
    }

    // MARK: - Peers

    /// The peers whose hello was checked.
    public var peers: [PeerSnapshot] { engine.query { $0.peerSnapshots } }

    /// The peers that have a shard whole.
    public func peers(withShard index: Int) -> [PeerSnapshot] { engine.query { $0.peers(withShard: index) } }

    /// What this node has moved.
    public var statistics: SwarmStatistics { engine.query { $0.statistics } }

    /// Everybody who gave or was given bytes, whether still connected or not; who gave most comes first.
    public var sources: [SwarmSource] { engine.query { $0.sources } }

    /// The nodes that were banned, and why.
    public var bannedNodes: [NodeID: String] { engine.query { $0.bannedNodes } }

    /// How far the fetch is.
    public var progress: SwarmProgress {
        engine.query { core in
            let (verified, total) = core.progress
            let rate = core.peerSnapshots.reduce(0) { $0 + $1.downloadRate } + core.originRate
            return SwarmProgress(
                bytesVerified: verified, bytesTotal: total, statistics: core.statistics, bytesPerSecond: rate,
                peers: core.peerSnapshots.count)
        }
    }

    /// Takes in a connection that was made by other means than `discovery`.
    public func add(_ link: any PeerLink) { engine.add(link) }

    // MARK: - Inside

    private func manifestInFolder() -> [UInt8]? {
        guard let file = try? MappedFile(path: "\(folder)/\(RDRRManifest.manifestName)"),
            file.count <= RDRRManifest.largestManifest, BLAKE3.hash(file.bytes) == link.manifestDigest
        else { return nil }
        return file.bytes.withUnsafeBytes { Array($0) }
    }

    /// Reads the manifest, looks at what the folder holds and begins.
    private func prepare(_ bytes: [UInt8]) async throws {
        do {
            let manifest = try RDRRManifest(parsing: bytes)
            let catalog = SwarmCatalog(manifest)
            if let objection = catalog.objection { throw SwarmFailure.manifest(objection) }
            let store = ModelStore(folder: folder, manifestDigest: link.manifestDigest, catalog: catalog)
            engine.store = store
            let wanted = try configuration.wanted(manifest)
            if !wanted.isEmpty { try store.prepare(manifest: bytes) }
            state.withLock { $0.isExamining = true }
            let found = await examine(store)
            state.withLock { $0.isExamining = false }
            try Task.checkCancellation()
            try displaceWrongFiles(found, wanted: Set(wanted), store)
            try checkRoom(found, wanted: wanted, store)
            engine.input { core, now in
                core.setCatalog(store.catalog, manifest: bytes, now: now)
                for (index, state) in found.sorted(by: { $0.key < $1.key }) {
                    switch state {
                    case .whole(let values): core.entryOnDisk(index, values: values)
                    case .part(let values, let groups): core.partOnDisk(index, values: values, groups: groups)
                    case .nothing, .wrong: break
                    }
                }
                core.want(wanted)
            }
            let waiters = state.withLock { state in
                state.manifest = manifest
                state.isReady = true
                return state.waiters.take(.ready)
            }
            for waiter in waiters { waiter.resume() }
            engine.input { $0.begin(now: $1) }
            for meeting in discovery { meeting.update(discoveryStatus()) }
        } catch {
            let failure =
                error as? SwarmFailure
                ?? (error is StoreError ? .storage("\(error)") : .manifest("\(error)"))
            engine.input { core, _ in core.giveUp(failure) }
            throw failure
        }
    }

    private func examine(_ store: ModelStore) async -> [Int: ModelStore.Found] {
        let entries = store.catalog.entries.indices
        let threads = max(1, configuration.verifyThreads)
        return await withTaskGroup(of: (Int, ModelStore.Found).self) { group in
            var found: [Int: ModelStore.Found] = [:]
            for index in entries where !Task.isCancelled {
                if index >= threads, let (earlier, state) = await group.next() { found[earlier] = state }
                group.addTask { (index, store.examine(index)) }
            }
            for await (index, state) in group { found[index] = state }
            return found
        }
    }

    private func displaceWrongFiles(_ found: [Int: ModelStore.Found], wanted: Set<Int>, _ store: ModelStore) throws {
        for (index, state) in found {
            guard case .wrong = state else { continue }
            let name = store.catalog.entries[index].name
            if wanted.contains(index) {
                try store.displace(index)
                report("\(name) has another hash than the manifest says; it is fetched again")
            } else {
                report("\(name) has another hash than the manifest says; it is not served")
            }
        }
        if !wanted.isEmpty { try store.makeEmptyFiles() }
    }

    /// Refuses to start what cannot end.
    private func checkRoom(_ found: [Int: ModelStore.Found], wanted: [Int], _ store: ModelStore) throws {
        let needed = wanted.reduce(0) { sum, index in
            switch found[index] {
            case .whole: sum
            case .part(_, let groups):
                sum + max(0, store.catalog.entries[index].size - groups.count * SwarmCatalog.groupSize)
            default: sum + store.catalog.entries[index].size
            }
        }
        // Holes of part files count as free here and in the part's groups as taken: this is a first check, not the
        // last.
        guard needed > 0, let free = store.freeBytes(), free < needed else { return }
        throw SwarmFailure.storage(
            "\(folder): \(needed) bytes are to be fetched and \(free) are free; make room or choose another folder")
    }

    private func handle(_ event: SwarmEvent) {
        continuation.yield(event)
        switch event {
        case .manifest(let bytes): Task { try? await self.prepare(bytes) }
        case .shardVerified(let index, _):
            let waiters = state.withLock { $0.waiters.take(.shard(index)) }
            for waiter in waiters { waiter.resume() }
        case .complete:
            let waiters = state.withLock { state in
                state.isComplete = true
                return state.waiters.take(.complete)
            }
            for waiter in waiters { waiter.resume() }
            for meeting in discovery { meeting.update(discoveryStatus()) }
        case .failed(let failure):
            state.withLock { $0.failure = failure }
            finishWaiters(failure)
        case .peerJoined, .peerLeft:
            for meeting in discovery { meeting.update(discoveryStatus()) }
        default: break
        }
    }

    private func wait(for topic: Waiters.Topic, unless isDone: @Sendable (borrowing State) -> Bool) async throws {
        let id = state.withLock { $0.waiters.makeID() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: Waiters.Continuation) in
                let outcome: Result<Void, any Error>? = state.withLock { state in
                    if isDone(state) { return .success(()) }
                    if let failure = state.failure { return .failure(failure) }
                    // A cancellation after this look finds the waiter in the list.
                    if state.hasLeft || Task.isCancelled { return .failure(CancellationError()) }
                    state.waiters.add(continuation, id, for: topic)
                    return nil
                }
                if let outcome { continuation.resume(with: outcome) }
            }
        } onCancel: {
            state.withLock { $0.waiters.take(id) }?.resume(throwing: CancellationError())
        }
    }

    private func finishWaiters(_ error: any Error) {
        for waiter in state.withLock({ $0.waiters.takeAll() }) { waiter.resume(throwing: error) }
    }

    private func discoveryStatus() -> DiscoveryStatus {
        let isReady = state.withLock { $0.isReady }
        return engine.query { core in
            let (verified, total) = core.progress
            let left = isReady ? total - verified : max(1, link.size ?? 1)
            return DiscoveryStatus(
                left: left, uploaded: core.statistics.bytesServed, downloaded: core.statistics.bytesFromPeers,
                wantedOffers: core.wantsPeers ? configuration.offersPerAnnounce : 0,
                connectedPeers: core.peerSnapshots.count)
        }
    }
}

/// A swarm as the source of a model's bytes: what is not here yet is fetched first.
public struct SwarmShardSource: ShardSource {
    /// The manifest that the bytes belong to.
    public let manifest: RDRRManifest
    /// Where they come from.
    public let swarm: P2PSwarm

    /// A source from a joined swarm, as soon as its manifest is known.
    public init(_ swarm: P2PSwarm) async throws {
        manifest = try await swarm.ready()
        self.swarm = swarm
    }

    /// Verified bytes of a shard or file.
    public func shard(_ index: Int, range: Range<Int>?) async throws -> [UInt8] {
        let file = try await swarm.requestShard(index)
        let range = range ?? 0..<file.count
        guard range.lowerBound >= 0, range.upperBound <= file.count else {
            throw RDRRError(
                .outOfBounds, at: "shard \(index)", "bytes \(range) are not inside its \(file.count)",
                advice: "ask for a range inside the shard")
        }
        return file.bytes.extracting(range).withUnsafeBytes { Array($0) }
    }
}

extension P2PSwarm: PeerMeeting {
    public func makeOffers(_ count: Int) async -> [MeetingOffer] {
        guard engine.query({ $0.wantsPeers }) else { return [] }
        return await withTaskGroup(of: MeetingOffer?.self) { group in
            for _ in 0..<min(count, 10) {
                group.addTask {
                    guard let (link, sdp) = try? await self.transport.makeOffer() else { return nil }
                    let id: UInt64? = self.state.withLock { state in
                        guard !state.hasLeft else { return nil }
                        state.lastOffer += 1
                        state.offers[state.lastOffer] = link
                        return state.lastOffer
                    }
                    guard let id else {
                        link.close()
                        return nil
                    }
                    return MeetingOffer(id: id, sdp: sdp)
                }
            }
            var offers: [MeetingOffer] = []
            for await offer in group { if let offer { offers.append(offer) } }
            self.continuation.yield(.offered(count: offers.count, at: MonotonicClock.now))
            return offers
        }
    }

    public func answer(offer sdp: String) async -> String? {
        let now = MonotonicClock.now
        guard let node = transport.nodeID(inOffer: sdp), engine.query({ $0.shouldAnswer(node, now: now) }),
            // Some more than the peers: not all of them come up.
            engine.linkCount < configuration.core.maxPeers + 16,
            // Offers of one node that come by several trackers at once would run between the same two sockets.
            state.withLock({ $0.mayAnswer(node, now: now) }),
            let (link, answer) = try? await transport.answer(offer: sdp)
        else { return nil }
        engine.add(link)
        return answer
    }

    public func received(answer sdp: String, to offer: UInt64) {
        guard let link = state.withLock({ $0.offers.removeValue(forKey: offer) }) else { return }
        do {
            // The handlers stand before anything can arrive.
            engine.add(link)
            try link.accept(answer: sdp)
        } catch {
            report("an answer that cannot be used: \(error)")
            link.close()
        }
    }

    public func expired(offers: [UInt64]) {
        let links = state.withLock { state in offers.compactMap { state.offers.removeValue(forKey: $0) } }
        for link in links { link.close() }
    }

    public func report(_ message: String) { continuation.yield(.warning(message)) }
}

/// Passes events on to an owner that does not exist yet when the engine is made.
private final class EventRelay: Sendable {
    private let handler = Mutex<(@Sendable (SwarmEvent) -> Void)?>(nil)

    func connect(_ handler: @escaping @Sendable (SwarmEvent) -> Void) { self.handler.withLock { $0 = handler } }

    func deliver(_ event: SwarmEvent) { handler.withLock { $0 }?(event) }
}

extension P2PSwarm.State {
    /// Whether an offer of a node may be answered now; if so, no other of its offers is for 5 s.
    fileprivate mutating func mayAnswer(_ node: NodeID, now: Timestamp) -> Bool {
        answered = answered.filter { $0.value > now }
        guard !hasLeft, answered[node] == nil else { return false }
        answered[node] = now + .seconds(5)
        return true
    }
}
