// SPDX-License-Identifier: Apache-2.0

import Synchronization

/// One swarm at several trackers: a ``TrackerClient`` for each address, however often it is listed, and their events
/// in one stream. A tracker that fails leaves the others as they are.
public final class TrackerSet: Sendable {
    /// An event and the tracker that it comes from.
    public struct Event: Sendable {
        /// The tracker.
        public let tracker: TrackerURL
        /// What happened.
        public let event: TrackerEvent
    }

    /// The clients, in the order in which their trackers were listed first.
    public let clients: [TrackerClient]
    /// The listed addresses that are no WebSocket trackers: `udp`, `https` and what is no address at all.
    public let unusable: [String]
    /// The events of all clients. For one consumer; beyond 1,000 events that nobody takes, new ones are dropped. Ends
    /// with ``stop()``.
    public let events: AsyncStream<Event>

    private let continuation: AsyncStream<Event>.Continuation
    private let readers = Mutex<[Task<Void, Never>]>([])

    /// How many trackers are used at a time; a link may list any number.
    public static let limit = 16

    /// Clients for the addresses of a link. They do nothing before ``start(_:offers:)``.
    public init(
        urls: [String], infoHash: Bytes20, configuration: TrackerClient.Configuration = TrackerClient.Configuration()
    ) {
        var seen: Set<TrackerURL> = []
        var unusable: [String] = []
        var wanted: [TrackerURL] = []
        for text in urls {
            guard let url = TrackerURL(text) else {
                unusable.append(text)
                continue
            }
            if seen.insert(url).inserted, wanted.count < Self.limit { wanted.append(url) }
        }
        let own = OwnPeerIDs()
        clients = wanted.map { TrackerClient(url: $0, infoHash: infoHash, configuration: configuration, own: own) }
        self.unusable = unusable
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1000))
    }

    /// Starts all clients. Each asks for offers of its own: an offer can be answered once only.
    public func start(_ status: TrackerStatus, offers: @escaping TrackerOfferMaker) {
        readers.withLock { readers in
            guard readers.isEmpty else { return }
            readers = clients.map { client in
                Task { [continuation] in
                    for await event in client.events {
                        continuation.yield(Event(tracker: client.url, event: event))
                    }
                }
            }
        }
        for client in clients { client.start(status, offers: offers) }
    }

    /// Tells all trackers what changed.
    public func update(_ status: TrackerStatus) {
        for client in clients { client.update(status) }
    }

    /// Tells all clients that addresses of this host have come or gone.
    public func networkChanged() {
        for client in clients { client.networkChanged() }
    }

    /// Asks all trackers how many peers there are.
    public func scrape() {
        for client in clients { client.scrape() }
    }

    /// Says good-bye to all trackers at once and ends ``events``; takes about a second at most.
    public func stop() async {
        await withTaskGroup { group in
            for client in clients { group.addTask { await client.stop() } }
        }
        for reader in readers.withLock({ $0 }) { await reader.value }
        continuation.finish()
    }
}
