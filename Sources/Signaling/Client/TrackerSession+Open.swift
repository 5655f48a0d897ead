// SPDX-License-Identifier: Apache-2.0

package import Wire

extension TrackerSession {
    /// What belongs to one open socket.
    struct Link: Sendable {
        var openedAt = Timestamp.zero
        /// What the tracker wants between two announces.
        var interval = Timing.defaultInterval
        /// What it wants at least.
        var minInterval = Timing.announceFloor
        var trackerID: String?
        /// `started` was sent.
        var isStarted = false
        /// The tracker knows us as one that misses something.
        var announcedIncomplete = false
        var lastAnnounce: Timestamp?
        /// Drawn for each announce: 900 to 1100 thousandths of the interval, so that clients do not march in step.
        var jitter: Int64 = 1000
        var lonelyDelay = Timing.lonelyAnnounce
        var lastFailed = false
        var gathering: Gathering?
        /// The newest batch of offers asked for; older ones come too late.
        var batch: UInt64 = 0
        var replyDeadline: Timestamp?
        var nextPing = Timestamp.distantFuture
        var pongDeadline: Timestamp?
        var lastAnswer: Timestamp?
        /// Ours, by their name on the wire.
        var outgoing: [Bytes20: Outgoing] = [:]
        /// Those of others that can still be answered.
        var incoming: [Incoming: Timestamp] = [:]
        var offersLeft = Link.offersPerInterval
        var noticesLeft = Link.noticesPerInterval
        var budgetRenewal = Timestamp.zero
        var rubbishInARow = 0

        /// Offers of others that are passed on in an interval.
        static let offersPerInterval = 50
        /// Failures and warnings that are passed on in an interval.
        static let noticesPerInterval = 20
        /// Offers of ours in flight at a time, each of which is a connection half made.
        static let outgoingLimit = 20
        /// Offers of others that wait for an answer at a time.
        static let incomingLimit = 200
        /// A tracker that sends nothing else is none.
        static let rubbishLimit = 20
        /// Even a seeder's first announce carries a few offers, so that a fetcher that waits is found at once.
        static let startOffers = 5
    }

    struct Gathering: Sendable {
        var event: TrackerRequest.Event?
        var deadline: Timestamp
    }

    struct Outgoing: Sendable {
        var id: UInt64
        var deadline: Timestamp
    }

    struct Incoming: Hashable, Sendable {
        var peerID: Bytes20
        var offerID: Bytes20
    }

    /// Messages stay below this many bytes: aquatic refuses frames above 16 KiB.
    static let messageLimit = 16_000
    /// Longer descriptions are not passed on (libtorrent's bound).
    static let sdpLimit = 65_536

    // MARK: - Announcing

    /// Asks for offers, or announces at once when none are wanted.
    mutating func beginAnnounce(_ event: TrackerRequest.Event?, now: Timestamp) {
        let wanted = event == .started ? max(status.wantedOffers, Link.startOffers) : status.wantedOffers
        let count = min(wanted, Link.outgoingLimit - link.outgoing.count)
        guard count > 0 else { return sendAnnounce(event, offers: [], now: now) }
        link.batch += 1
        link.gathering = Gathering(
            event: event, deadline: now + (event == .started ? Timing.firstOffers : Timing.offers))
        outputs.append(.event(.offersWanted(batch: link.batch, count: count)))
    }

    /// Takes the offers that ``Event/offersWanted(batch:count:)`` asked for. Offers that come after the announce went
    /// out without them are sent behind it; those of an older batch or another socket expire at once.
    package mutating func provide(_ offers: [TrackerOffer], batch: UInt64, now: Timestamp) {
        guard phase == .open, batch == link.batch else { return expire(offers.map(\.id)) }
        let room = max(Link.outgoingLimit - link.outgoing.count, 0)
        expire(offers.dropFirst(room).map(\.id))
        let offers = Array(offers.prefix(room))
        if let gathering = link.gathering {
            link.gathering = nil
            sendAnnounce(gathering.event, offers: offers, now: now)
        } else if !offers.isEmpty {
            // Offers given twice for one batch would not be bounded.
            link.batch += 1
            sendAnnounce(nil, offers: offers, now: now)
        }
    }

    mutating func sendAnnounce(_ event: TrackerRequest.Event?, offers: [TrackerOffer], now: Timestamp) {
        var announce = TrackerRequest.Announce(
            infoHash: infoHash, peerID: peerID, event: event, left: status.left, uploaded: status.uploaded,
            downloaded: status.downloaded, trackerID: link.trackerID)
        for offer in offers {
            let named = TrackerRequest.Offer(offerID: .random(from: &entropy), sdp: offer.sdp)
            link.outgoing[named.offerID] = Outgoing(id: offer.id, deadline: now + Timing.offerLife)
            var longer = announce
            longer.offers.append(named)
            if !announce.offers.isEmpty, TrackerRequest.announce(longer).text.utf8.count > TrackerSession.messageLimit {
                outputs.append(.send(TrackerRequest.announce(announce).text))
                // What follows belongs to the same announce and must not say `started` again.
                announce.event = nil
                announce.offers = [named]
            } else {
                announce = longer
            }
        }
        outputs.append(.send(TrackerRequest.announce(announce).text))
        guard event != .stopped else { return }
        link.isStarted = true
        link.announcedIncomplete = status.left > 0
        link.replyDeadline = link.replyDeadline ?? now + Timing.reply
        if let last = link.lastAnnounce, now - last >= link.lonelyDelay, status.connectedPeers == 0 {
            link.lonelyDelay = min(link.lonelyDelay * 2, link.interval)
        }
        link.lastAnnounce = now
        link.jitter = Int64.random(in: 900...1100, using: &entropy)
    }

    /// When the next announce is due; `nil` while one is being made.
    private var nextAnnounce: Timestamp? {
        guard link.gathering == nil, let last = link.lastAnnounce else { return nil }
        var delay = Duration.nanoseconds(link.interval.nanoseconds / 1000 * link.jitter)
        if link.lastFailed {
            delay = max(delay, Timing.afterFailure)
        } else if status.connectedPeers == 0 {
            delay = min(delay, link.lonelyDelay)
        }
        return last + max(delay, link.minInterval)
    }

    // MARK: - Time

    var nextOpenTimeout: Timestamp? {
        var next = link.pongDeadline ?? link.nextPing
        for deadline in [link.replyDeadline, link.gathering?.deadline, nextAnnounce] {
            if let deadline, deadline < next { next = deadline }
        }
        for offer in link.outgoing.values where offer.deadline < next { next = offer.deadline }
        return next
    }

    mutating func handleOpenTimeout(now: Timestamp) {
        if [link.replyDeadline, link.pongDeadline].contains(where: { $0.map { $0 <= now } ?? false }) {
            outputs.append(.close)
            return lose(.timedOut, now: now)
        }
        expire(
            link.outgoing.filter { $0.value.deadline <= now }.map { (name, offer) in
                link.outgoing[name] = nil
                return offer.id
            })
        if let gathering = link.gathering, gathering.deadline <= now {
            link.gathering = nil
            sendAnnounce(gathering.event, offers: [], now: now)
        }
        if let due = nextAnnounce, due <= now { beginAnnounce(nil, now: now) }
        if link.pongDeadline == nil, link.nextPing <= now {
            outputs.append(.ping)
            link.pongDeadline = now + Timing.ping
        }
    }

    mutating func expireAllOffers() {
        expire(link.outgoing.values.map(\.id))
        link = Link.kept(from: link)
    }

    private mutating func expire(_ ids: [UInt64]) {
        if !ids.isEmpty { outputs.append(.event(.offersExpired(ids.sorted()))) }
    }

    // MARK: - Receiving

    /// Takes a message of the tracker, text or binary. What makes no sense is dropped and counted.
    package mutating func receive(_ message: RawSpan, now: Timestamp) {
        guard phase == .open else { return }
        socketIsAlive(now: now)
        if link.budgetRenewal <= now {
            link.budgetRenewal = now + link.interval
            (link.offersLeft, link.noticesLeft) = (Link.offersPerInterval, Link.noticesPerInterval)
        }
        let response: TrackerResponse
        do {
            response = try TrackerResponse(parsing: message)
            link.rubbishInARow = 0
        } catch {
            dropped.rubbish &+= 1
            link.rubbishInARow += 1
            if link.rubbishInARow > Link.rubbishLimit {
                outputs.append(.close)
                lose(.broken("the tracker sends nothing that makes sense"), now: now)
            }
            return
        }
        if let counts = response.files[infoHash] { outputs.append(.event(.scraped(counts))) }
        guard response.infoHash == nil || response.infoHash == infoHash else {
            dropped.foreign &+= 1
            return
        }
        takeNotices(response)
        if response.isAnnounceReply { takeReply(response) }
        if let sdp = response.offer { takeOffer(sdp, response, now: now) }
        if let sdp = response.answer { takeAnswer(sdp, response) }
    }

    private mutating func takeNotices(_ response: TrackerResponse) {
        let notices = [response.failure.map(Event.failure), response.warning.map(Event.warning)].compactMap(\.self)
        if response.failure != nil {
            link.replyDeadline = nil
            link.lastFailed = true
        }
        for notice in notices {
            guard link.noticesLeft > 0 else {
                dropped.excess &+= 1
                continue
            }
            link.noticesLeft -= 1
            outputs.append(.event(notice))
        }
    }

    private mutating func takeReply(_ response: TrackerResponse) {
        link.replyDeadline = nil
        if response.failure == nil { link.lastFailed = false }
        if let interval = response.interval, interval > 0 {
            link.interval = max(.seconds(min(interval, Timing.longestInterval)), Timing.announceFloor)
        }
        if let least = response.minInterval {
            link.minInterval = max(.seconds(min(least, Timing.longestInterval)), Timing.announceFloor)
        }
        if let trackerID = response.trackerID { link.trackerID = trackerID }
        outputs.append(
            .event(
                .announced(
                    TrackerAnnounceReply(
                        interval: Int(link.interval.components.seconds), complete: response.complete,
                        incomplete: response.incomplete))))
    }

    private mutating func takeOffer(_ sdp: String, _ response: TrackerResponse, now: Timestamp) {
        guard let peerID = response.peerID, let offerID = response.offerID else { return }
        let key = Incoming(peerID: peerID, offerID: offerID)
        guard !isOwn(peerID), link.incoming[key] == nil, sdp.utf8.count <= TrackerSession.sdpLimit else {
            dropped.foreign &+= 1
            return
        }
        if link.incoming.count >= Link.incomingLimit { link.incoming = link.incoming.filter { $0.value > now } }
        guard link.offersLeft > 0, link.incoming.count < Link.incomingLimit else {
            dropped.excess &+= 1
            return
        }
        link.offersLeft -= 1
        link.incoming[key] = now + Timing.incomingLife
        outputs.append(.event(.offer(from: peerID, offerID: offerID, sdp: sdp)))
    }

    private mutating func takeAnswer(_ sdp: String, _ response: TrackerResponse) {
        guard let peerID = response.peerID, let offerID = response.offerID, !isOwn(peerID),
            sdp.utf8.count <= TrackerSession.sdpLimit, let offer = link.outgoing.removeValue(forKey: offerID)
        else {
            dropped.foreign &+= 1
            return
        }
        outputs.append(.event(.answer(offerID: offer.id, from: peerID, sdp: sdp)))
    }

    /// Answers an offer that came over the socket that is open now. Returns whether the answer went out: each offer can
    /// be answered once, for two minutes.
    @discardableResult
    package mutating func answer(_ peerID: Bytes20, offerID: Bytes20, sdp: String, now: Timestamp) -> Bool {
        guard phase == .open, link.isStarted,
            let deadline = link.incoming.removeValue(forKey: Incoming(peerID: peerID, offerID: offerID)), now < deadline
        else { return false }
        link.lastAnswer = now
        outputs.append(
            .send(
                TrackerRequest.answer(
                    TrackerRequest.Answer(
                        infoHash: infoHash, peerID: self.peerID, toPeerID: peerID, offerID: offerID, sdp: sdp,
                        left: status.left)
                ).text))
        return true
    }
}

extension TrackerSession.Link {
    /// What the reconnect rules still ask about a socket that is gone.
    fileprivate static func kept(from old: Self) -> Self {
        var link = Self()
        (link.openedAt, link.interval, link.lastAnswer) = (old.openedAt, old.interval, old.lastAnswer)
        return link
    }
}
