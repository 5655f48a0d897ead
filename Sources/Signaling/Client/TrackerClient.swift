// SPDX-License-Identifier: Apache-2.0

/// One swarm at one WebTorrent tracker.
public final class TrackerClient: Sendable {
    /// Knobs of the connection.
    public struct Configuration: Sendable {
        /// PEM file of the certificates to trust for `wss`; `nil` means the system's.
        public var trustRootsFile: String?
        /// The defaults.
        public init() {}
    }

    /// The tracker.
    public let url: TrackerURL
    /// The swarm.
    public let infoHash: Bytes20
    /// What happens, in order. One consumer; events that nobody takes are dropped beyond 1,000.
    public let events: AsyncStream<TrackerEvent>

    private let continuation: AsyncStream<TrackerEvent>.Continuation

    /// A client that does nothing before ``start(_:offers:)``.
    public init(url: TrackerURL, infoHash: Bytes20, configuration: Configuration = Configuration()) {
        self.url = url
        self.infoHash = infoHash
        (events, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(1000))
    }

    /// Connects, announces, and keeps doing both until ``stop()``.
    public func start(_ status: TrackerStatus, offers: @escaping TrackerOfferMaker) {}

    /// Tells what changed; it goes out with the next announce, the end of the download at once.
    public func update(_ status: TrackerStatus) {}

    /// Asks how many peers there are.
    public func scrape() {}

    /// Says good-bye to the tracker and closes the socket; ends ``events``.
    public func stop() async {
        continuation.finish()
    }
}
