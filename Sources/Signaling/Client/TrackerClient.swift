// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix
import Synchronization

/// One swarm at one WebTorrent tracker: finds peers by handing offers around, and stays connected by itself.
///
/// The caller makes offers when asked to, takes ``events``, and keeps the status up to date. Where the tracker's host
/// has public IPv4 and IPv6 addresses a socket is held over each, since some trackers keep a swarm for each family. A
/// tracker that answers rubbish, closes or says nothing costs nothing but its own events.
public final class TrackerClient: Sendable {
    /// Knobs of the connection.
    public struct Configuration: Sendable {
        /// PEM file of the certificates to trust for `wss`; `nil` means the system's.
        public var trustRootsFile: String?
        /// Whether a second socket is held where the host has addresses of both families.
        public var holdsBothFamilies = true
        /// The defaults.
        public init() {}
    }

    /// The tracker.
    public let url: TrackerURL
    /// The swarm.
    public let infoHash: Bytes20
    /// What happens, in order. For one consumer; beyond 1,000 events that nobody takes, new ones are dropped. Ends with
    /// ``stop()``.
    public let events: AsyncStream<TrackerEvent>

    private let continuation: AsyncStream<TrackerEvent>.Continuation
    private let configuration: Configuration
    private let loop: any EventLoop
    private let own: OwnPeerIDs
    private let state: NIOLoopBoundBox<State>

    /// Confined to the event loop.
    private struct State {
        var status: TrackerStatus?
        var lanes: [TrackerLane] = []
        var connectedLanes: Set<Int> = []
        var isStopped = false
    }

    /// A client that does nothing before ``start(_:offers:)``.
    public convenience init(url: TrackerURL, infoHash: Bytes20, configuration: Configuration = Configuration()) {
        self.init(url: url, infoHash: infoHash, configuration: configuration, own: OwnPeerIDs())
    }

    init(url: TrackerURL, infoHash: Bytes20, configuration: Configuration, own: OwnPeerIDs) {
        self.url = url
        self.infoHash = infoHash
        self.configuration = configuration
        self.own = own
        loop = MultiThreadedEventLoopGroup.singleton.next()
        state = .makeBoxSendingValue(State(), eventLoop: loop)
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1000))
    }

    /// Connects, announces, and keeps doing both until ``stop()``. Without effect when already started.
    ///
    /// `offers` is asked for offers before each announce that is to carry some; what it gives late is sent late.
    public func start(_ status: TrackerStatus, offers: @escaping TrackerOfferMaker) {
        loop.execute {
            guard self.state.value.status == nil, !self.state.value.isStopped else { return }
            self.state.value.status = status
            self.prepare(offers)
        }
    }

    /// Tells what changed. It goes out with the next announce; that nothing is left to download, at once.
    public func update(_ status: TrackerStatus) {
        loop.execute {
            guard self.state.value.status != nil else { return }
            self.state.value.status = status
            for lane in self.state.value.lanes { lane.update(status) }
        }
    }

    /// Tells that addresses of this host have come or gone: sockets on those that are gone are made anew, and a tracker
    /// that could not be reached is tried again soon.
    public func networkChanged() {
        loop.execute {
            guard !self.state.value.lanes.isEmpty, let devices = try? System.enumerateDevices() else { return }
            let addresses = Set(devices.compactMap { $0.address?.ipAddress })
            for lane in self.state.value.lanes { lane.networkChanged(addresses: addresses) }
        }
    }

    /// Asks how many peers there are; the answer is ``TrackerEvent/scraped(_:)``, if the tracker gives one.
    public func scrape() {
        loop.execute {
            for lane in self.state.value.lanes { lane.scrape() }
        }
    }

    /// Says good-bye to the tracker, closes the socket and ends ``events``. Returns when the socket is closed, within
    /// about a second.
    public func stop() async {
        let closed = loop.flatSubmit {
            self.state.value.isStopped = true
            let lanes = self.state.value.lanes
            self.state.value.lanes = []
            return EventLoopFuture.andAllComplete(lanes.map { $0.stop() }, on: self.loop)
        }
        try? await closed.get()
        continuation.finish()
    }

    // MARK: - On the event loop

    /// Looks the host up and reads the certificates, neither of which an event loop may wait for.
    private func prepare(_ offers: @escaping TrackerOfferMaker) {
        let (url, file) = (url, configuration.trustRootsFile)
        let dialer = NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
            try WebSocketDialer(url: url, trustRootsFile: file)
        }
        let families =
            configuration.holdsBothFamilies
            ? HostResolver.resolve(url.host, port: url.port, on: loop).map(HostResolver.familiesToHold)
            : loop.makeSucceededFuture([nil])
        dialer.and(families).whenComplete { result in
            switch result {
            case .success(let (dialer, families)): self.begin(dialer, families, offers)
            case .failure(let error):
                self.continuation.yield(
                    .disconnected(.unreachable("the trusted certificates cannot be used: \(error)")))
            }
        }
    }

    private func begin(
        _ dialer: WebSocketDialer, _ families: [HostResolver.Family?], _ offers: @escaping TrackerOfferMaker
    ) {
        guard !state.value.isStopped, let status = state.value.status else { return }
        let lanes = families.indices.map { index in
            TrackerLane(
                dialer: dialer, family: families[index], infoHash: infoHash, loop: loop, offers: offers
            ) { self.report($0, lane: index) }
        }
        state.value.lanes = lanes
        for lane in lanes { lane.start(status) }
    }

    private func report(_ event: TrackerEvent, lane: Int) {
        switch event {
        case .connected(let peerID):
            own.insert(peerID)
            state.value.connectedLanes.insert(lane)
        case .disconnected(let reason):
            let wasConnected = state.value.connectedLanes.remove(lane) != nil
            // While one family works, it is no news that the other has no route.
            if case .unreachable(_) = reason, !wasConnected, !state.value.connectedLanes.isEmpty { return }
        case .offer(let offer) where own.contains(offer.peerID): return
        default: break
        }
        continuation.yield(event)
    }
}

/// The names of this node on all its sockets, so that it does not meet itself through a tracker with two addresses.
final class OwnPeerIDs: Sendable {
    private let ids = Mutex<[Bytes20]>([])

    func insert(_ id: Bytes20) {
        ids.withLock { ids in
            ids.append(id)
            // A name is of use for as long as a tracker may keep a ghost of it.
            if ids.count > 256 { ids.removeFirst() }
        }
    }

    func contains(_ id: Bytes20) -> Bool { ids.withLock { $0.contains(id) } }
}
