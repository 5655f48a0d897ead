// SPDX-License-Identifier: Apache-2.0

/// A way to meet peers: a tracker, a signalling server.
public protocol PeerDiscovery: Sendable {
    /// Begins to announce. Offers, answers and problems go to `meeting` until ``stop()``.
    func start(_ status: DiscoveryStatus, meeting: any PeerMeeting)
    /// What is announced has changed.
    func update(_ status: DiscoveryStatus)
    /// Addresses of this host have come or gone.
    func networkChanged()
    /// Says good-bye.
    func stop() async
}

/// What a node announces.
public struct DiscoveryStatus: Hashable, Sendable {
    /// Bytes that are missing; 0 makes the node a seeder. At least 1 while the size is not known.
    public var left: Int
    /// Bytes sent to peers.
    public var uploaded: Int
    /// Bytes received from peers.
    public var downloaded: Int
    /// How many offers an announce may carry.
    public var wantedOffers: Int
    /// How many peers are connected; with none the node announces more often.
    public var connectedPeers: Int

    /// A status from its parts.
    public init(left: Int, uploaded: Int, downloaded: Int, wantedOffers: Int, connectedPeers: Int) {
        self.left = left
        self.uploaded = uploaded
        self.downloaded = downloaded
        self.wantedOffers = wantedOffers
        self.connectedPeers = connectedPeers
    }
}

/// An offer to be announced.
public struct MeetingOffer: Hashable, Sendable {
    /// Its name, which comes back with the answer or when nobody will answer any more.
    public let id: UInt64
    /// The session description.
    public let sdp: String

    /// An offer from its parts.
    public init(id: UInt64, sdp: String) {
        self.id = id
        self.sdp = sdp
    }
}

/// What a swarm does for those who bring it together with peers.
public protocol PeerMeeting: Sendable {
    /// Makes so many offers, or fewer.
    func makeOffers(_ count: Int) async -> [MeetingOffer]
    /// Answers another node's offer; `nil` where this node does not want the connection.
    func answer(offer sdp: String) async -> String?
    /// Another node answers an offer of this one.
    func received(answer sdp: String, to offer: UInt64)
    /// Nobody will answer these offers any more.
    func expired(offers: [UInt64])
    /// Something that people should know: a tracker that cannot be reached, say.
    func report(_ message: String)
}
