// SPDX-License-Identifier: Apache-2.0

package import Wire

/// A WebTorrent tracker as a value without I/O: swarms of peers that are connected now, among which it hands offers and
/// answers around. It stores no offer and tells nobody's address.
///
/// After each call of a mutating method the driver drains it with ``nextOutput()`` until that answers
/// ``Output/wait(until:)``.
package struct TrackerCore: ~Copyable, Sendable {
    /// A WebSocket, as the driver calls it.
    package typealias ConnectionID = UInt64

    /// What the driver is to do.
    package enum Output: Hashable, Sendable {
        /// Write a text message.
        case send(ConnectionID, String)
        /// Write a ping frame.
        case ping(ConnectionID)
        /// Close the socket; nothing more is to be reported about it.
        case close(ConnectionID)
        /// Nothing more until input arrives or this time passes. Always the last output of a drain.
        case wait(until: Timestamp?)
    }

    struct Connection: Sendable {
        /// The swarms the socket is in, and its name in each: libtorrent has another for each swarm.
        var names: [Bytes20: Bytes20] = [:]
        var lastHeard: Timestamp
        var pinged = false
        var allowance: Double
        var allowanceTime: Timestamp
        var strikes = 0
    }

    /// What it takes before it refuses.
    package let limits: TrackerLimits
    private(set) var announces = 0
    private(set) var offersForwarded = 0
    private(set) var answersForwarded = 0
    private(set) var refused = 0

    private var connections: [ConnectionID: Connection] = [:]
    private var swarms: [Bytes20: TrackerSwarm] = [:]
    private var entropy: Entropy
    private var outputs: [Output] = []
    private var outputIndex = 0
    private var nextSweep: Timestamp?

    /// How often the tracker looks for sockets and peers that fell silent.
    private static let sweep = Duration.seconds(15)
    /// A socket is pinged after so long a silence …
    private static let pingAfter = Duration.seconds(45)
    /// … and closed after this one.
    private static let closeAfter = Duration.seconds(120)
    /// Refused messages before a socket is closed, less those taken.
    private static let strikeLimit = 20

    /// An empty tracker.
    package init(limits: TrackerLimits, entropy: Entropy) {
        self.limits = limits
        self.entropy = entropy
    }

    // MARK: - Input

    /// A WebSocket was opened. Returns whether there is room for it; if not, the driver closes it.
    package mutating func open(_ id: ConnectionID, now: Timestamp) -> Bool {
        guard connections.count < limits.connections, connections[id] == nil else { return false }
        connections[id] = Connection(
            lastHeard: now, allowance: Double(limits.messageBurst), allowanceTime: now)
        if nextSweep == nil { nextSweep = now + Self.sweep }
        return true
    }

    /// A WebSocket is gone, and with it its peers.
    package mutating func close(_ id: ConnectionID) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        for (infoHash, peerID) in connection.names { remove(peerID, from: infoHash, of: id) }
        if connections.isEmpty { nextSweep = nil }
    }

    /// A control frame came in.
    package mutating func socketIsAlive(_ id: ConnectionID, now: Timestamp) {
        connections[id]?.lastHeard = now
        connections[id]?.pinged = false
    }

    /// A message came in, text or binary.
    package mutating func receive(_ message: RawSpan, from id: ConnectionID, now: Timestamp) {
        guard connections[id] != nil else { return }
        socketIsAlive(id, now: now)
        guard takeAllowance(id, now: now) else {
            return refuse(id, TrackerRequest.Fault(reason: "too many messages", infoHash: nil))
        }
        guard message.byteCount <= limits.messageSize,
            let json = try? JSON(parsing: message, limits: JSON.Limits(depth: 8, values: 5_000))
        else { return refuse(id, TrackerRequest.Fault(reason: "the message is no JSON object", infoHash: nil)) }
        do throws(TrackerRequest.Fault) {
            switch try TrackerRequest(json) {
            case .announce(let announce): try take(announce, from: id, now: now)
            case .answer(let answer): take(answer, from: id, now: now)
            case .scrape(let hashes): try takeScrape(hashes, from: id)
            }
            if let strikes = connections[id]?.strikes, strikes > 0 { connections[id]?.strikes = strikes - 1 }
        } catch {
            refuse(id, error)
        }
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    package mutating func handleTimeout(now: Timestamp) {
        guard let due = nextSweep, due <= now else { return }
        nextSweep = now + Self.sweep
        // In order, so that the same input gives the same output.
        for id in connections.filter({ now - $0.value.lastHeard >= Self.pingAfter }).keys.sorted() {
            guard let connection = connections[id] else { continue }
            if now - connection.lastHeard >= Self.closeAfter {
                drop(id)
            } else if !connection.pinged {
                connections[id]?.pinged = true
                outputs.append(.ping(id))
            }
        }
        // A peer may miss one announce.
        let oldest = now + .seconds(-(limits.interval * 5 / 2))
        for infoHash in Array(swarms.keys) {
            guard let silent = swarms[infoHash]?.peers(notHeardSince: oldest) else { continue }
            for (peerID, connection) in silent {
                connections[connection]?.names[infoHash] = nil
                remove(peerID, from: infoHash, of: connection)
            }
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
        return .wait(until: nextSweep)
    }

    /// Counts of now and since the start.
    package var statistics: TrackerStatistics {
        TrackerStatistics(
            connections: connections.count, swarms: swarms.count, peers: swarms.values.reduce(0) { $0 + $1.count },
            seeders: swarms.values.reduce(0) { $0 + $1.complete }, announces: announces, offers: offersForwarded,
            answers: answersForwarded, refused: refused)
    }

    // MARK: - Announces

    private mutating func take(
        _ announce: TrackerRequest.Announce, from id: ConnectionID, now: Timestamp
    ) throws(TrackerRequest.Fault) {
        let (infoHash, peerID) = (announce.infoHash, announce.peerID)
        func fault(_ reason: String) -> TrackerRequest.Fault {
            TrackerRequest.Fault(reason: reason, infoHash: .string(infoHash.latin1))
        }
        announces += 1
        if let former = connections[id]?.names[infoHash], former != peerID { remove(former, from: infoHash, of: id) }
        if announce.event == .stopped {
            connections[id]?.names[infoHash] = nil
            remove(peerID, from: infoHash, of: id)
            return reply(to: id, infoHash)
        }
        guard swarms[infoHash] != nil || swarms.count < limits.swarms else { throw fault("the tracker is full") }
        guard (connections[id]?.names[infoHash] != nil) || (connections[id]?.names.count ?? 0) < limits.swarmsPerConnection
        else { throw fault("too many swarms on one connection") }
        var swarm = swarms.removeValue(forKey: infoHash) ?? TrackerSwarm()
        let former = swarm.connection(of: peerID)
        guard former != nil || swarm.count < limits.peersPerSwarm else {
            swarms[infoHash] = swarm
            throw fault("the swarm is full")
        }
        swarm.announce(peerID, on: id, left: announce.left, completed: announce.event == .completed, now: now)
        // A client that reconnects under its old name is served on its new socket.
        if let former, former != id { connections[former]?.names[infoHash] = nil }
        connections[id]?.names[infoHash] = peerID
        swarms[infoHash] = swarm
        reply(to: id, infoHash)
        forward(announce, in: infoHash)
    }

    private mutating func reply(to id: ConnectionID, _ infoHash: Bytes20) {
        send(
            TrackerResponse(
                infoHash: infoHash, interval: limits.interval, complete: swarms[infoHash]?.complete ?? 0,
                incomplete: swarms[infoHash]?.incomplete ?? 0),
            to: id)
    }

    /// Each offer goes to another peer, by chance; what is left over is dropped.
    private mutating func forward(_ announce: TrackerRequest.Announce, in infoHash: Bytes20) {
        let count = min(announce.offers.count, announce.numwant ?? announce.offers.count)
        guard count > 0, let swarm = swarms[infoHash] else { return }
        let wantsSeeders = announce.left == 0
        let chosen = swarm.choose(count, besides: announce.peerID, onlyIncomplete: wantsSeeders, entropy: &entropy)
        for (offer, connection) in zip(announce.offers, chosen) {
            offersForwarded += 1
            send(
                TrackerResponse(infoHash: infoHash, peerID: announce.peerID, offerID: offer.offerID, offer: offer.sdp),
                to: connection)
        }
    }

    private mutating func take(_ answer: TrackerRequest.Answer, from id: ConnectionID, now: Timestamp) {
        // Only a peer of the swarm, under the name it has there, can answer; for one that left there is silence.
        guard connections[id]?.names[answer.infoHash] == answer.peerID,
            let connection = swarms[answer.infoHash]?.connection(of: answer.toPeerID)
        else { return }
        answersForwarded += 1
        send(
            TrackerResponse(
                infoHash: answer.infoHash, peerID: answer.peerID, offerID: answer.offerID, answer: answer.sdp),
            to: connection)
    }

    private mutating func remove(_ peerID: Bytes20, from infoHash: Bytes20, of id: ConnectionID) {
        // A name that moved to another socket is not the old socket's to remove.
        guard swarms[infoHash]?.connection(of: peerID) == id else { return }
        swarms[infoHash]?.remove(peerID)
        if swarms[infoHash]?.count == 0 { swarms[infoHash] = nil }
    }

    // MARK: - Scrapes and refusals

    private mutating func takeScrape(_ hashes: [Bytes20]?, from id: ConnectionID) throws(TrackerRequest.Fault) {
        guard let hashes, let first = hashes.first else {
            throw TrackerRequest.Fault(reason: "full scrapes are not allowed", infoHash: nil)
        }
        var response = TrackerResponse(infoHash: first)
        for hash in hashes {
            let swarm = swarms[hash]
            response.files[hash] = TrackerScrape(
                complete: swarm?.complete ?? 0, incomplete: swarm?.incomplete ?? 0, downloaded: swarm?.downloaded ?? 0)
        }
        send(response, to: id)
    }

    private mutating func refuse(_ id: ConnectionID, _ fault: TrackerRequest.Fault) {
        refused += 1
        connections[id]?.strikes += 1
        if let strikes = connections[id]?.strikes, strikes > Self.strikeLimit { return drop(id) }
        var object: JSON.Object = ["action": "announce", "failure reason": .string(fault.reason)]
        if let infoHash = fault.infoHash { object["info_hash"] = infoHash }
        outputs.append(.send(id, JSON.object(object).serialized()))
    }

    private mutating func drop(_ id: ConnectionID) {
        outputs.append(.close(id))
        close(id)
    }

    private mutating func send(_ response: TrackerResponse, to id: ConnectionID) {
        outputs.append(.send(id, response.text))
    }

    /// A token bucket for each socket.
    private mutating func takeAllowance(_ id: ConnectionID, now: Timestamp) -> Bool {
        guard var connection = connections[id] else { return false }
        let earned = max(0, (now - connection.allowanceTime).seconds) * Double(limits.messagesPerSecond)
        connection.allowance = min(connection.allowance + earned, Double(limits.messageBurst))
        connection.allowanceTime = now
        let isAllowed = connection.allowance >= 1
        if isAllowed { connection.allowance -= 1 }
        connections[id] = connection
        return isAllowed
    }
}
