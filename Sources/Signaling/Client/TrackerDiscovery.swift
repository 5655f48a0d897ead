// SPDX-License-Identifier: Apache-2.0
public import Swarm
import Synchronization

/// Trackers as a swarm's way to meet peers.
public final class TrackerDiscovery: PeerDiscovery {
    private let trackers: TrackerSet
    private let listener = Mutex<Task<Void, Never>?>(nil)

    /// Announces a model to trackers; addresses that are none are reported once it starts.
    public init(urls: [String], infoHash: Bytes20, configuration: TrackerClient.Configuration = .init()) {
        trackers = TrackerSet(urls: urls, infoHash: infoHash, configuration: configuration)
    }

    public func start(_ status: DiscoveryStatus, meeting: any PeerMeeting) {
        for url in trackers.unusable { meeting.report("\(url) is no tracker's address (give ws://host:port/path)") }
        let task = Task { [trackers] in
            for await event in trackers.events { await Self.handle(event, meeting) }
        }
        listener.withLock { $0 = task }
        trackers.start(TrackerStatus(status)) { count in
            await meeting.makeOffers(count).map { TrackerOffer(id: $0.id, sdp: $0.sdp) }
        }
    }

    public func update(_ status: DiscoveryStatus) { trackers.update(TrackerStatus(status)) }

    public func networkChanged() { trackers.networkChanged() }

    public func stop() async {
        await trackers.stop()
        // What was told before is dealt with when this returns: offers that expired give back what they hold.
        let last = listener.withLock { $0.take() }
        last?.cancel()
        await last?.value
    }

    private static func handle(_ event: TrackerSet.Event, _ meeting: any PeerMeeting) async {
        switch event.event {
        case .offer(let offer):
            // One answer must not wait for another's gathering.
            Task {
                if let answer = await meeting.answer(offer: offer.sdp) { offer.answer(sdp: answer) }
            }
        case .answer(let id, _, let sdp):
            meeting.received(answer: sdp, to: id)
        case .offersExpired(let ids):
            meeting.expired(offers: ids)
        case .failure(let reason):
            meeting.report("tracker \(event.tracker): \(reason)")
        case .warning(let reason):
            meeting.report("tracker \(event.tracker) warns: \(reason)")
        case .disconnected(let reason):
            meeting.report("tracker \(event.tracker): \(reason)")
        case .connected, .announced, .scraped:
            break
        }
    }
}

extension TrackerStatus {
    /// What a node announces, in a tracker's terms.
    fileprivate init(_ status: DiscoveryStatus) {
        self.init(
            left: Int64(status.left), uploaded: Int64(status.uploaded), downloaded: Int64(status.downloaded),
            wantedOffers: status.wantedOffers, connectedPeers: status.connectedPeers)
    }
}
