// SPDX-License-Identifier: Apache-2.0

package import Wire

/// A message from a client to a tracker: what our client writes and our tracker reads.
package enum TrackerRequest: Hashable, Sendable {
    /// The client is in the swarm, with offers for others.
    case announce(Announce)
    /// The answer to an offer that the tracker forwarded.
    case answer(Answer)
    /// How many peers do these swarms have? `nil` asks for all.
    case scrape([Bytes20]?)

    /// The events of an announce; without one it is a periodic update.
    package enum Event: String, Hashable, Sendable {
        case started, completed, stopped
    }

    /// An offer with its name on the wire.
    package struct Offer: Hashable, Sendable {
        package var offerID: Bytes20
        package var sdp: String
    }

    /// An announce.
    package struct Announce: Hashable, Sendable {
        package var infoHash: Bytes20
        package var peerID: Bytes20
        package var event: Event?
        /// Bytes missing; `nil` where the message does not say.
        package var left: Int64?
        package var uploaded: Int64 = 0
        package var downloaded: Int64 = 0
        /// How many offers to hand out; `nil` where the message does not say.
        package var numwant: Int?
        package var offers: [Offer] = []
        /// What the tracker called us, echoed back to it.
        package var trackerID: String?
    }

    /// An answer.
    package struct Answer: Hashable, Sendable {
        package var infoHash: Bytes20
        package var peerID: Bytes20
        package var toPeerID: Bytes20
        package var offerID: Bytes20
        package var sdp: String
        package var left: Int64?
    }
}

// MARK: - Writing

extension TrackerRequest {
    /// The message as JSON text.
    package var text: String {
        var object: JSON.Object
        switch self {
        case .announce(let announce):
            object = ["action": "announce"]
            object["info_hash"] = .string(announce.infoHash.latin1)
            object["peer_id"] = .string(announce.peerID.latin1)
            // Periodic updates must not carry an event: wt-tracker closes the socket on "update" and on "".
            if let event = announce.event { object["event"] = .string(event.rawValue) }
            // Always an integer: null counts as a seeder on bittorrent-tracker.
            object["left"] = .integer(announce.left ?? 1)
            object["uploaded"] = .integer(announce.uploaded)
            object["downloaded"] = .integer(announce.downloaded)
            if announce.event != .stopped {
                object["numwant"] = .integer(Int64(announce.numwant ?? announce.offers.count))
                object["offers"] = .array(announce.offers.map(\.json))
            }
            if let trackerID = announce.trackerID { object["trackerid"] = .string(trackerID) }
        case .answer(let answer):
            object = ["action": "announce"]
            object["info_hash"] = .string(answer.infoHash.latin1)
            object["peer_id"] = .string(answer.peerID.latin1)
            object["to_peer_id"] = .string(answer.toPeerID.latin1)
            object["offer_id"] = .string(answer.offerID.latin1)
            object["answer"] = ["type": "answer", "sdp": .string(answer.sdp)]
            // aquatic takes a seeder that leaves this out of an answer for a leecher.
            object["left"] = .integer(answer.left ?? 1)
        case .scrape(let hashes):
            object = ["action": "scrape"]
            if let hashes {
                object["info_hash"] =
                    hashes.count == 1 ? .string(hashes[0].latin1) : .array(hashes.map { .string($0.latin1) })
            }
        }
        return JSON.object(object).serialized()
    }
}

extension TrackerRequest.Offer {
    fileprivate var json: JSON {
        ["offer_id": .string(offerID.latin1), "offer": ["type": "offer", "sdp": .string(sdp)]]
    }
}

// MARK: - Reading

extension TrackerRequest {
    /// Why a message is no request, in the words that go back to the client.
    package struct Fault: Error, Hashable, Sendable {
        package let reason: String
        /// The swarm that the message was about, as it was sent, as far as it can be said.
        package let infoHash: JSON?
    }

    /// How many offers of a message are looked at.
    package static let offerLimit = 20

    /// Reads a client's message. Unknown members are ignored, and so are offers that are not well-formed.
    package init(_ json: JSON) throws(Fault) {
        guard case .object(let object) = json else { throw Fault(reason: "the message is no JSON object", infoHash: nil) }
        let name = object["info_hash"]
        func fault(_ reason: String) -> Fault {
            // Echoed so that the client knows which swarm failed; nothing long is sent back.
            let short = name?.string.map { $0.utf8.count <= 80 } ?? false
            return Fault(reason: reason, infoHash: short ? name : nil)
        }
        func id(_ key: String) throws(Fault) -> Bytes20 {
            guard let text = object[key]?.string, let value = Bytes20(latin1: text) else { throw fault("invalid \(key)") }
            return value
        }
        switch object["action"]?.string {
        case "announce":
            let infoHash = try id("info_hash")
            let peerID = try id("peer_id")
            let left = object["left"]?.number.flatMap { Int64(exactly: $0.rounded()) }
            if let answer = object["answer"], !answer.isNull {
                guard let sdp = answer["sdp"]?.string else { throw fault("invalid answer") }
                self = .answer(
                    Answer(
                        infoHash: infoHash, peerID: peerID, toPeerID: try id("to_peer_id"), offerID: try id("offer_id"),
                        sdp: sdp, left: left))
                return
            }
            var announce = Announce(infoHash: infoHash, peerID: peerID, left: left)
            switch object["event"] {
            case nil, .null?, .string("")?, .string("update")?, .string("paused")?: break
            case .string(let text)?:
                guard let event = Event(rawValue: text) else { throw fault("invalid event") }
                announce.event = event
            default: throw fault("invalid event")
            }
            announce.numwant = object["numwant"]?.number.flatMap { Int(exactly: $0.rounded()) }.map { max($0, 0) }
            announce.offers = (object["offers"]?.array ?? []).prefix(TrackerRequest.offerLimit).compactMap { entry in
                guard let offerID = entry["offer_id"]?.string.flatMap({ Bytes20(latin1: $0) }),
                    let sdp = entry["offer"]?["sdp"]?.string
                else { return nil }
                return Offer(offerID: offerID, sdp: sdp)
            }
            self = .announce(announce)
        case "scrape":
            switch name {
            case nil, .null?: self = .scrape(nil)
            case .array(let values)?:
                self = .scrape(values.prefix(255).compactMap { $0.string.flatMap { Bytes20(latin1: $0) } })
            default: self = .scrape([try id("info_hash")])
            }
        default: throw fault("invalid action")
        }
    }
}
