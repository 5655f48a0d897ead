// SPDX-License-Identifier: Apache-2.0

/// What a node tells its trackers about itself.
public struct TrackerStatus: Hashable, Sendable {
    /// Bytes still missing; 0 makes the node a seeder. Before the size is known, a guess of at least 1.
    public var left: Int64
    /// Bytes sent to peers since the start.
    public var uploaded: Int64
    /// Bytes received from peers since the start.
    public var downloaded: Int64
    /// How many offers a periodic announce carries; 0 while no peer is looked for. At most 10 are sent.
    public var wantedOffers: Int
    /// How many peers the node is connected to; while it is 0 the node announces more often.
    public var connectedPeers: Int

    /// A status from its parts.
    public init(
        left: Int64, uploaded: Int64 = 0, downloaded: Int64 = 0, wantedOffers: Int = 5, connectedPeers: Int = 0
    ) {
        self.left = left
        self.uploaded = uploaded
        self.downloaded = downloaded
        self.wantedOffers = wantedOffers
        self.connectedPeers = connectedPeers
    }
}

/// An offer of ours on its way to a tracker.
public struct TrackerOffer: Hashable, Sendable {
    /// The caller's own name for it, which comes back with the answer or when it expires. The offer_id on the wire is
    /// another, random one.
    public let id: UInt64
    /// The session description, candidates included: trackers relay no candidates.
    public let sdp: String

    /// An offer from its parts.
    public init(id: UInt64, sdp: String) {
        self.id = id
        self.sdp = sdp
    }
}

/// Makes so many offers (or fewer) for an announce. The announce waits a few seconds at most; offers that come later
/// are sent behind it. Those that cannot be sent any more come back as ``TrackerEvent/offersExpired(_:)``.
public typealias TrackerOfferMaker = @Sendable (_ count: Int) async -> [TrackerOffer]

/// An offer that a tracker forwarded to us, and the way to answer it.
public struct TrackerIncomingOffer: Sendable {
    /// Who offers.
    public let peerID: Bytes20
    /// The offerer's name for the offer.
    public let offerID: Bytes20
    /// The session description.
    public let sdp: String
    /// The tracker that it came through.
    public let tracker: TrackerURL
    let reply: @Sendable (String) -> Void

    /// Sends the answer back through the tracker that the offer came from. The first answer counts; an answer after the
    /// socket was lost or after two minutes goes nowhere.
    public func answer(sdp: String) { reply(sdp) }
}

/// What a tracker client reports.
public enum TrackerEvent: Sendable {
    /// The socket is open, and this is our name on it.
    case connected(peerID: Bytes20)
    /// The socket is gone, or could not be opened; the client tries again by itself.
    case disconnected(TrackerDisconnect)
    /// The tracker took an announce.
    case announced(TrackerAnnounceReply)
    /// A peer offers a connection.
    case offer(TrackerIncomingOffer)
    /// A peer answers an offer of ours.
    case answer(offerID: UInt64, from: Bytes20, sdp: String)
    /// Offers that will not be answered any more: their connections can be dropped.
    case offersExpired([UInt64])
    /// The tracker refused something.
    case failure(reason: String)
    /// The tracker has something to say.
    case warning(reason: String)
    /// What the tracker counts in the swarm, after ``TrackerClient/scrape()``.
    case scraped(TrackerScrape)
}

/// Why a socket to a tracker is gone.
public enum TrackerDisconnect: Hashable, Sendable {
    /// It could not be opened: refused, unknown name, wrong certificate, no WebSocket there …
    case unreachable(String)
    /// Nothing answered in time.
    case timedOut
    /// The tracker closed it.
    case closed
    /// The tracker broke the WebSocket protocol or the connection failed.
    case broken(String)
    /// The address that the socket was made from is not this host's any more.
    case addressGone
}

extension TrackerDisconnect: CustomStringConvertible {
    public var description: String {
        switch self {
        case .unreachable(let why): "cannot be reached: \(why)"
        case .timedOut: "does not answer in time"
        case .closed: "closed the connection"
        case .broken(let why): "the connection failed: \(why)"
        case .addressGone: "this host's address of the connection is gone; connecting again"
        }
    }
}

/// A tracker's answer to an announce.
public struct TrackerAnnounceReply: Hashable, Sendable {
    /// Seconds to the next announce, as the tracker wants it.
    public var interval: Int
    /// Seeders in the swarm, where the tracker says.
    public var complete: Int?
    /// Other peers in the swarm, where the tracker says.
    public var incomplete: Int?

    /// A reply from its parts.
    public init(interval: Int, complete: Int? = nil, incomplete: Int? = nil) {
        self.interval = interval
        self.complete = complete
        self.incomplete = incomplete
    }
}

/// What a tracker counts in a swarm.
public struct TrackerScrape: Hashable, Sendable {
    /// Seeders.
    public var complete: Int
    /// Other peers.
    public var incomplete: Int
    /// How often a download was finished; some trackers always say 0.
    public var downloaded: Int

    /// Counts from their parts.
    public init(complete: Int, incomplete: Int, downloaded: Int) {
        self.complete = complete
        self.incomplete = incomplete
        self.downloaded = downloaded
    }
}
