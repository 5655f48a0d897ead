// SPDX-License-Identifier: Apache-2.0

package import Wire

//  idle ──start──▶ opening ──socketOpened──▶ open ──stop──▶ stopped
//                     ▲  │                     │
//                     │  └──fails, times out──▶│ closes, falls silent
//                     └───────── waiting ◀─────┘
//
//  open:  offersWanted ──provide──▶ announce(started, offers) ──reply──▶ … interval … ──▶ offersWanted ──provide──▶ …

/// The client's side of the WebTorrent tracker protocol, one swarm over one WebSocket, as a value without I/O.
///
/// The driver opens, feeds and closes the socket; the session says when, and what to write. After each call of a
/// mutating method it is drained with ``nextOutput()`` until that answers ``Output/wait(until:)``.
package struct TrackerSession: ~Copyable, Sendable {
    /// What the driver is to do.
    package enum Output: Hashable, Sendable {
        /// Open a socket, and report ``TrackerSession/socketOpened(now:)`` or ``TrackerSession/socketClosed(_:now:)``.
        case open
        /// Write a text message.
        case send(String)
        /// Write a ping frame.
        case ping
        /// Close the socket or give up opening it. Nothing more is to be reported about it.
        case close
        /// Tell whoever uses the client.
        case event(Event)
        /// Nothing more until input arrives or this time passes. Always the last output of a drain.
        case wait(until: Timestamp?)
    }

    /// What happened.
    package enum Event: Hashable, Sendable {
        /// The socket is open, and the session is called so on it.
        case connected(peerID: Bytes20)
        /// The socket is gone or was never opened.
        case disconnected(TrackerDisconnect)
        /// An announce is due: give so many offers to ``TrackerSession/provide(_:batch:now:)``, an empty list included.
        case offersWanted(batch: UInt64, count: Int)
        /// The tracker took an announce.
        case announced(TrackerAnnounceReply)
        /// A peer offers; to be answered with ``TrackerSession/answer(_:offerID:sdp:now:)``.
        case offer(from: Bytes20, offerID: Bytes20, sdp: String)
        /// A peer answered the caller's offer of this id.
        case answer(offerID: UInt64, from: Bytes20, sdp: String)
        /// Offers that nobody will answer any more.
        case offersExpired([UInt64])
        /// "failure reason".
        case failure(String)
        /// "warning message".
        case warning(String)
        /// The counts of the swarm.
        case scraped(TrackerScrape)
    }

    /// What was received and not used.
    package struct Dropped: Hashable, Sendable {
        /// Messages that are no tracker's messages.
        package var rubbish = 0
        /// Messages about other swarms, offers of our own, answers to offers that are none of ours, repeated offers.
        package var foreign = 0
        /// Offers, failures and warnings beyond the bound of an interval.
        package var excess = 0
    }

    enum Phase: Hashable, Sendable {
        case idle
        case waiting(until: Timestamp)
        case opening(deadline: Timestamp)
        case open
        case stopped
    }

    /// The swarm.
    package let infoHash: Bytes20
    /// What the session is called on its socket. A new one is made after each socket that was lost: two of four
    /// trackers lose a peer that comes back under its old name.
    package private(set) var peerID: Bytes20
    /// What was received and not used.
    package internal(set) var dropped = Dropped()

    var phase = Phase.idle
    var status: TrackerStatus
    var entropy: Entropy
    var outputs: [Output] = []
    var outputIndex = 0
    /// State of the socket that is open now; fresh for each.
    var link = Link()
    private var peerIDWasUsed = false
    private var attempt = 0
    private var freeReconnects = 0
    private var ownPeerIDs: [Bytes20] = []

    /// A session that does nothing before ``start(_:now:)``.
    package init(infoHash: Bytes20, entropy: Entropy) {
        self.infoHash = infoHash
        self.entropy = entropy
        status = TrackerStatus(left: 1)
        peerID = TrackerSession.makePeerID(&self.entropy)
        ownPeerIDs = [peerID]
    }

    private static func makePeerID(_ entropy: inout Entropy) -> Bytes20 {
        // The customary form (BEP 20): client and version between dashes, the rest random.
        Bytes20.random(from: &entropy).withPrefix(Array("-DR0100-".utf8))
    }

    // MARK: - The caller

    /// Begins to connect. Without effect when already begun.
    package mutating func start(_ status: TrackerStatus, now: Timestamp) {
        guard phase == .idle else { return }
        self.status = status.bounded
        open(now: now)
    }

    /// Takes a new status. The end of the download is announced at once, everything else when the next announce is due.
    package mutating func update(_ status: TrackerStatus, now: Timestamp) {
        let lonelier = self.status.connectedPeers > 0 && status.connectedPeers <= 0
        self.status = status.bounded
        guard phase == .open else { return }
        if lonelier { link.lonelyDelay = Timing.lonelyAnnounce }
        if self.status.left == 0, link.announcedIncomplete { sendAnnounce(.completed, offers: [], now: now) }
    }

    /// Says good-bye and ends the session for good.
    package mutating func stop(now: Timestamp) {
        switch phase {
        case .open:
            if link.isStarted { sendAnnounce(.stopped, offers: [], now: now) }
            outputs.append(.close)
            expireAllOffers()
        case .opening: outputs.append(.close)
        case .idle, .waiting, .stopped: break
        }
        phase = .stopped
    }

    /// Asks for the counts of the swarm. Without effect while no socket is open.
    package mutating func scrape(now: Timestamp) {
        guard phase == .open, link.isStarted else { return }
        outputs.append(.send(TrackerRequest.scrape([infoHash]).text))
    }

    // MARK: - The socket

    /// The WebSocket is open.
    package mutating func socketOpened(now: Timestamp) {
        guard case .opening = phase else { return }
        phase = .open
        peerIDWasUsed = true
        link = Link()
        link.openedAt = now
        link.budgetRenewal = now + Timing.defaultInterval
        link.nextPing = now + Timing.ping
        outputs.append(.event(.connected(peerID: peerID)))
        beginAnnounce(.started, now: now)
    }

    /// The socket was closed, or could not be opened.
    package mutating func socketClosed(_ reason: TrackerDisconnect, now: Timestamp) {
        switch phase {
        case .open, .opening: lose(reason, now: now)
        case .idle, .waiting, .stopped: break
        }
    }

    /// Something came over the socket, a pong say: it lives.
    package mutating func socketIsAlive(now: Timestamp) {
        guard phase == .open else { return }
        link.pongDeadline = nil
        link.nextPing = now + Timing.ping
    }

    /// This host's addresses are others than before. `isAddressGone` tells that the socket's, where there is one, is
    /// among those that went: TCP would notice that after minutes only. What was waited for may work now.
    package mutating func networkChanged(isAddressGone: Bool, now: Timestamp) {
        switch phase {
        case .open where isAddressGone, .opening:
            outputs.append(.close)
            attempt = 0
            lose(.addressGone, now: now)
        case .waiting(let until):
            attempt = 0
            phase = .waiting(until: min(until, now + reconnectDelay()))
        case .idle, .open, .stopped: break
        }
    }

    // MARK: - Time and output

    /// Tells that time has passed. Early and repeated calls are harmless.
    package mutating func handleTimeout(now: Timestamp) {
        switch phase {
        case .waiting(let until) where until <= now: open(now: now)
        case .opening(let deadline) where deadline <= now:
            outputs.append(.close)
            lose(.timedOut, now: now)
        case .open: handleOpenTimeout(now: now)
        default: break
        }
    }

    /// The next thing to do.
    package mutating func nextOutput() -> Output {
        if outputIndex < outputs.count {
            outputIndex += 1
            return outputs[outputIndex - 1]
        }
        outputs.removeAll(keepingCapacity: true)
        outputIndex = 0
        return .wait(until: nextTimeout)
    }

    private var nextTimeout: Timestamp? {
        switch phase {
        case .idle, .stopped: nil
        case .waiting(let until): until
        case .opening(let deadline): deadline
        case .open: nextOpenTimeout
        }
    }

    // MARK: - Connecting

    /// Whether a name is or was ours.
    func isOwn(_ peerID: Bytes20) -> Bool { ownPeerIDs.contains(peerID) }

    private mutating func open(now: Timestamp) {
        if peerIDWasUsed {
            peerID = TrackerSession.makePeerID(&entropy)
            peerIDWasUsed = false
            // Offers of a ghost of ours can only be recent ones.
            ownPeerIDs = ownPeerIDs.suffix(7) + [peerID]
        }
        phase = .opening(deadline: now + Timing.opening)
        outputs.append(.open)
    }

    mutating func lose(_ reason: TrackerDisconnect, now: Timestamp) {
        if phase == .open {
            expireAllOffers()
            if now - link.openedAt >= link.interval {
                attempt = 0
                freeReconnects = 0
            }
            // Two of four trackers close the socket when the peer that an answer is for has left.
            if let answered = link.lastAnswer, now - answered < .seconds(2), freeReconnects < Timing.freeReconnects {
                freeReconnects += 1
                attempt = 0
            }
        }
        phase = .waiting(until: now + reconnectDelay())
        attempt = min(attempt + 1, 16)
        outputs.append(.event(.disconnected(reason)))
    }

    private mutating func reconnectDelay() -> Duration {
        guard attempt > 0 else { return .milliseconds(Int64.random(in: 250...1000, using: &entropy)) }
        let longest = min(Int64(1000) << Int64(attempt), Timing.longestReconnect)
        return .milliseconds(Int64.random(in: longest / 2...longest, using: &entropy))
    }
}

extension TrackerSession {
    /// The times and counts of the client, with where they come from.
    enum Timing {
        /// TCP, TLS and upgrade together.
        static let opening = Duration.seconds(20)
        /// What JavaScript clients use before the first reply.
        static let defaultInterval = Duration.seconds(30)
        /// Intervals beyond an hour, and below the floor between two announces, are not believed.
        static let longestInterval = 3600
        /// No tracker is asked more often, whatever it says.
        static let announceFloor = Duration.seconds(10)
        /// First extra announce while no peer is connected; it doubles each time.
        static let lonelyAnnounce = Duration.seconds(10)
        /// Nothing is tried for so long after a refusal (libtorrent waits as long).
        static let afterFailure = Duration.seconds(120)
        /// Trackers reply to an announce at once or not at all.
        static let reply = Duration.seconds(30)
        /// The first announce waits so long for offers; it is what makes us known.
        static let firstOffers = Duration.seconds(1)
        /// Gathering has a deadline of its own, of 3 s; past this the announce goes without offers.
        static let offers = Duration.seconds(5)
        /// JavaScript clients give an offer up after this time.
        static let offerLife = Duration.seconds(50)
        /// aquatic forgets an offer that it forwarded after this time.
        static let incomingLife = Duration.seconds(120)
        /// Keeps half-open sockets from staying unnoticed.
        static let ping = Duration.seconds(30)
        /// Milliseconds.
        static let longestReconnect: Int64 = 60_000
        /// Closes right after an answer that cost no patience, until an interval went well.
        static let freeReconnects = 5
    }
}

extension TrackerStatus {
    /// The status with nothing negative, and no more offers than trackers take (aquatic: 10).
    fileprivate var bounded: TrackerStatus {
        TrackerStatus(
            left: max(left, 0), uploaded: max(uploaded, 0), downloaded: max(downloaded, 0),
            wantedOffers: min(max(wantedOffers, 0), 10), connectedPeers: max(connectedPeers, 0))
    }
}
