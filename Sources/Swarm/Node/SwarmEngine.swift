// SPDX-License-Identifier: Apache-2.0

import Hashing
import NetIO
import RDRR
import Synchronization
import Wire

// handlers of links ─┐                        ┌─▶ links        (control, frames read from the files, close)
// disk thread ───────┼─▶ [lock] SwarmCore ────┼─▶ disk thread  (groups, values, finish)
// origin tasks ──────┤      │ actions         ├─▶ origin tasks
// timer ─────────────┘      ▼ after unlock    └─▶ owner        (events)

/// Drives a ``SwarmCore``: one lock around it, and its actions done in order after the lock, by one thread at a time.
final class SwarmEngine: Sendable {
    private struct State: ~Copyable {
        var core: SwarmCore
        var links: [PeerHandle: any PeerLink] = [:]
        var fetches: [OriginRequestID: Task<Void, Never>] = [:]
        var store: ModelStore?
        var nextHandle: UInt64 = 0
        /// Somebody does the core's actions; others only leave word that there is more.
        var isProcessing = false
        var isDirty = false
        var hasLeft = false
        /// Whose channels are being filled, so that a peer's frames keep their order; and for whom there is more to do.
        var pumping: Set<PeerHandle> = []
        var pumpAgain: Set<PeerHandle> = []
    }

    private let state: Mutex<State>
    private let origin: (any FallbackOrigin)?
    private let clock: EventLoop
    private let disk: EventLoop
    private let timer = Mutex<LoopTimer?>(nil)
    private let onEvent: @Sendable (SwarmEvent) -> Void

    /// Bytes that wait in a peer's channel before more frames are made, at most: about 1 MiB.
    private static let highWaterMark = 1 << 20

    init(
        core: consuming sending SwarmCore, origin: (any FallbackOrigin)?,
        onEvent: @escaping @Sendable (SwarmEvent) -> Void
    ) throws {
        state = Mutex(State(core: core))
        self.origin = origin
        self.onEvent = onEvent
        clock = try EventLoop(name: "dreamer-swarm")
        disk = try EventLoop(name: "dreamer-disk")
        let timer = clock.makeTimer { [weak self] in self?.timerFired() }
        self.timer.withLock { $0 = timer }
    }

    deinit {
        clock.stop()
        disk.stop()
    }

    // MARK: - Input

    /// Changes or asks the core, then does what it answers.
    @discardableResult
    func input<Result>(_ body: (inout SwarmCore, Timestamp) -> Result) -> Result where Result: Sendable {
        let result = state.withLock { body(&$0.core, MonotonicClock.now) }
        process()
        return result
    }

    /// Asks the core.
    func query<Result: Sendable>(_ body: (borrowing SwarmCore) -> Result) -> Result { state.withLock { body($0.core) } }

    /// Where the model lies, once its catalog is known.
    var store: ModelStore? {
        get { state.withLock { $0.store } }
        set { state.withLock { $0.store = newValue } }
    }

    /// Takes a connection in, whose channels may not be open yet.
    func add(_ link: any PeerLink) {
        let handle: PeerHandle? = state.withLock { state in
            guard !state.hasLeft else { return nil }
            state.nextHandle += 1
            let handle = PeerHandle(state.nextHandle)
            state.links[handle] = link
            return handle
        }
        guard let handle else {
            link.close()
            return
        }
        link.start(
            PeerLinkHandler(
                onControlOpen: { [weak self, weak link] in
                    guard let self, let link else { return }
                    self.input { core, now in
                        core.peerConnected(
                            handle, role: link.role, certificateDigest: link.remoteCertificateDigest,
                            maxMessageSize: link.remoteMaxMessageSize, bulkIsOpen: link.isBulkOpen, now: now)
                    }
                },
                onBulkOpen: { [weak self] in self?.input { $0.bulkOpened(handle, now: $1) } },
                onControl: { [weak self] isText, bytes in
                    bytes.withUnsafeBytes { raw in
                        self?.input { core, now in
                            core.receiveControl(handle, RawSpan(_unsafeBytes: raw), isText: isText, now: now)
                        }
                    }
                },
                onBulk: { [weak self] isText, bytes in
                    bytes.withUnsafeBytes { raw in
                        self?.input { core, now in
                            core.receiveBulk(handle, RawSpan(_unsafeBytes: raw), isText: isText, now: now)
                        }
                    }
                },
                onBulkLow: { [weak self] in self?.pump(handle) },
                onOversizedMessage: { [weak self] isBulk in
                    self?.input { $0.receiveOversizedMessage(handle, isBulk: isBulk, now: $1) }
                },
                onFailure: { [weak self] reason in
                    self?.onEvent(.warning("a connection to a peer could not be made: \(reason)"))
                },
                onClose: { [weak self] reason in self?.linkClosed(handle, reason) }))
        // A connection on which `control` never opens is nobody to the core, and would stay for ever.
        clock.schedule(at: MonotonicClock.now + SwarmEngine.openingTimeout) { [weak self] in
            guard let self, self.link(handle) != nil, !self.query({ $0.knows(handle) }) else { return }
            self.linkClosed(handle, "no channel was opened")
        }
    }

    /// How many connections there are, those included whose channels are not open.
    var linkCount: Int { state.withLock { $0.links.count } }

    /// How long a connection may take until `control` opens: more than ICE's patience (39.5 s, RFC 8863 §4).
    private static let openingTimeout = Duration.seconds(60)

    private func linkClosed(_ handle: PeerHandle, _ reason: String) {
        let link = state.withLock { $0.links.removeValue(forKey: handle) }
        link?.close()
        input { $0.peerDisconnected(handle, reason: reason, now: $1) }
    }

    /// Everything ends: peers, fetches, threads.
    func leave() {
        input { $0.leave(now: $1) }
        let (links, fetches) = state.withLock { state in
            state.hasLeft = true
            defer {
                state.links = [:]
                state.fetches = [:]
            }
            return (Array(state.links.values), Array(state.fetches.values))
        }
        for link in links { link.close() }
        for fetch in fetches { fetch.cancel() }
        timer.withLock { $0 }?.cancel()
    }

    private func timerFired() { input { $0.handleTimeout(now: $1) } }

    // MARK: - Actions

    private func process() {
        let isFree = state.withLock { state in
            state.isDirty = state.isProcessing
            if state.isProcessing { return false }
            state.isProcessing = true
            return true
        }
        guard isFree else { return }
        while true {
            let actions = state.withLock { state in
                state.isDirty = false
                return state.core.takeActions()
            }
            for action in actions { perform(action) }
            let isDone = state.withLock { state in
                guard actions.isEmpty, !state.isDirty else { return false }
                state.isProcessing = false
                return true
            }
            if isDone {
                armTimer()
                return
            }
        }
    }

    /// Arms the timer for the core's next deadline. The deadline is looked up under the timer's lock: one that was found
    /// before another thread changed the core must not replace the newer one.
    private func armTimer() {
        timer.withLock { timer in
            timer?.arm(at: state.withLock { $0.hasLeft ? nil : $0.core.nextTimeout })
        }
    }

    private func perform(_ action: SwarmAction) {
        switch action {
        case .sendControl(let handle, let text): link(handle)?.sendControl(text)
        case .framesReady(let handle): pump(handle)
        case .close(let handle, _): state.withLock { $0.links.removeValue(forKey: handle) }?.close()
        case .writeGroup(let entry, let group, let buffer): writeGroup(entry, group, buffer)
        case .writeValues(let entry, let first, let values):
            onDisk { store in try store.write(values: values, entry: entry, first: first) }
        case .finishEntry(let entry, let checksHash): finish(entry, checksHash: checksHash)
        case .discardPart(let entry): onDisk { store in store.discard(entry) }
        case .removeEntry(let entry): onDisk { store in store.remove(entry) }
        case .fetch(let id, let resource): startFetch(id, resource)
        case .cancelFetch(let id): state.withLock { $0.fetches.removeValue(forKey: id) }?.cancel()
        case .event(let event): onEvent(event)
        }
    }

    private func link(_ handle: PeerHandle) -> (any PeerLink)? { state.withLock { $0.links[handle] } }

    /// Fills a peer's channel with frames. One thread at a time does, so that a proof stays before its chunks.
    private func pump(_ handle: PeerHandle) {
        let isFree = state.withLock { state in
            guard state.pumping.insert(handle).inserted else {
                state.pumpAgain.insert(handle)
                return false
            }
            return true
        }
        guard isFree else { return }
        var goOn = true
        while goOn {
            fill(handle)
            goOn = state.withLock { state in
                if state.pumpAgain.remove(handle) != nil { return true }
                state.pumping.remove(handle)
                return false
            }
        }
    }

    /// Makes frames while the peer's channel has room, their bytes read from the files straight into its buffer.
    private func fill(_ handle: PeerHandle) {
        guard let link = link(handle) else { return }
        while link.bulkBufferedAmount < SwarmEngine.highWaterMark {
            let (frame, store) = state.withLock { state in
                (state.core.nextFrame(for: handle, now: MonotonicClock.now), state.store)
            }
            guard let frame else { return }
            var isRead = true
            let isSent: Bool
            switch frame.payload {
            case .bytes(let bytes):
                isSent = link.sendBulk(byteCount: frame.byteCount) { room in
                    frame.header.write(into: room)
                    UnsafeMutableRawBufferPointer(rebasing: room[BulkHeader.byteCount...]).copyBytes(from: bytes)
                }
            case .file(let entry, let offset):
                isSent = link.sendBulk(byteCount: frame.byteCount) { room in
                    frame.header.write(into: room)
                    let data = UnsafeMutableRawBufferPointer(rebasing: room[BulkHeader.byteCount...])
                    isRead = store?.read(entry, at: offset, into: data) ?? false
                    // The message goes out all the same; of a type that no one knows it is dropped there.
                    if !isRead { room.storeBytes(of: 0, as: UInt8.self) }
                }
            }
            if !isSent || !isRead { input { $0.frameFailed(frame, now: $1) } }
            guard isSent else { return }
        }
    }

    // MARK: - Disk

    private func onDisk(_ work: @escaping @Sendable (ModelStore) throws -> Void) {
        guard let store else { return }
        disk.execute { [weak self] in
            do {
                try work(store)
            } catch {
                self?.input { core, _ in core.storageFailed("\(error)") }
            }
        }
    }

    private func writeGroup(_ entry: Int, _ group: Int, _ buffer: GroupBuffer) {
        guard let store else { return }
        disk.execute { [weak self] in
            var failure: String?
            do throws(StoreError) {
                try store.write(buffer.bytes, entry: entry, group: group)
            } catch {
                failure = "\(error)"
            }
            self?.input { core, now in
                core.groupWritten(entry: entry, group: group, buffer: buffer, error: failure, now: now)
            }
        }
    }

    private func finish(_ entry: Int, checksHash: Bool) {
        guard let store else { return }
        disk.execute { [weak self] in
            let result: FinishResult
            do throws(StoreError) {
                result = try store.finish(entry, checksHash: checksHash) ? .finished : .hashMismatch
            } catch {
                result = .failed("\(error)")
            }
            self?.input { $0.entryFinished(entry, result: result, now: $1) }
        }
    }

    /// Does something on the disk's thread, after everything that was asked of it before.
    func afterDisk(_ work: @escaping @Sendable () -> Void) { disk.execute(work) }

    // MARK: - Origin

    private func startFetch(_ id: OriginRequestID, _ resource: OriginResource) {
        guard let origin else { return }
        let store = store
        let task = Task { [weak self] in
            do {
                switch resource {
                case .manifest:
                    self?.received(id, try await origin.manifest(limit: ManifestAssembly.limit))
                case .proof(let entry):
                    guard let entry = store?.catalog.entries[entry] else { return }
                    let size = entry.groupCount * SwarmCatalog.valueSize
                    guard let bytes = try await origin.proof(of: entry.name, byteCount: size) else {
                        self?.fetchFailed(id, "no proof", isPermanent: true)
                        return
                    }
                    self?.received(id, bytes)
                case .range(let entry, let range):
                    guard let entry = store?.catalog.entries[entry] else { return }
                    try await origin.fetch(
                        entry.name, range: Int64(range.lowerBound)..<Int64(range.upperBound),
                        fileSize: Int64(entry.size)
                    ) { [weak self] bytes, _ in
                        try Task.checkCancellation()
                        self?.received(id, bytes)
                    }
                }
                self?.state.withLock { $0.fetches[id] = nil }
                self?.input { $0.originFinished(id, now: $1) }
            } catch {
                self?.fetchFailed(id, "\(error)", isPermanent: origin.isPermanent(error))
            }
        }
        let isLate = state.withLock { state in
            if state.hasLeft { return true }
            state.fetches[id] = task
            return false
        }
        if isLate { task.cancel() }
    }

    private func received(_ id: OriginRequestID, _ bytes: [UInt8]) {
        input { $0.originReceived(id, bytes.span.bytes, now: $1) }
    }

    private func fetchFailed(_ id: OriginRequestID, _ what: String, isPermanent: Bool) {
        state.withLock { $0.fetches[id] = nil }
        input { $0.originFailed(id, what, isPermanent: isPermanent, now: $1) }
    }
}
