// SPDX-License-Identifier: Apache-2.0

import Wire

/// A message from a tracker to a client, read tolerantly: what it is goes by the members it has, not by `action`, and one
/// message can be several things at once.
package struct TrackerResponse: Hashable, Sendable {
    /// The swarm; errors of some trackers leave it out.
    package var infoHash: Bytes20?
    /// Who sent the offer or the answer.
    package var peerID: Bytes20?
    package var offerID: Bytes20?
    /// The session description of a forwarded offer.
    package var offer: String?
    /// The session description of a forwarded answer.
    package var answer: String?
    /// Seconds to the next announce.
    package var interval: Int?
    /// Seconds that have to lie between two announces at least.
    package var minInterval: Int?
    package var complete: Int?
    package var incomplete: Int?
    package var trackerID: String?
    package var failure: String?
    package var warning: String?
    /// Counts by swarm.
    package var files: [Bytes20: TrackerScrape] = [:]

    /// Whether the tracker answers an announce with this.
    package var isAnnounceReply: Bool { interval != nil || complete != nil || incomplete != nil }
}

extension TrackerResponse {
    /// Why a tracker's message is dropped.
    package enum Fault: Error, Hashable, Sendable {
        /// Not JSON, or no object.
        case notJSON
        /// An id that has not 20 scalars, or an offer without its description.
        case malformed
        /// Nothing in it that means anything.
        case empty
    }

    /// Names of swarms and reasons that are longer are cut.
    private static let reasonLimit = 500
    /// Outer object, `files`, one swarm: nothing real is deeper than 4.
    private static let limits = JSON.Limits(depth: 8, values: 20_000)

    /// Reads a tracker's message.
    package init(parsing bytes: RawSpan) throws(Fault) {
        let json: JSON
        do { json = try JSON(parsing: bytes, limits: TrackerResponse.limits) } catch { throw .notJSON }
        guard case .object(let object) = json else { throw .notJSON }

        func id(_ key: String) throws(Fault) -> Bytes20? {
            guard let value = object[key], !value.isNull else { return nil }
            guard let text = value.string, let id = Bytes20(latin1: text) else { throw .malformed }
            return id
        }
        func count(_ key: String) -> Int? { TrackerResponse.count(object[key]) }
        func words(_ key: String) -> String? {
            object[key]?.string.map { String(String.UnicodeScalarView($0.unicodeScalars.prefix(Self.reasonLimit))) }
        }
        func sdp(_ key: String) throws(Fault) -> String? {
            guard let value = object[key], !value.isNull else { return nil }
            guard let text = value["sdp"]?.string else { throw .malformed }
            return text
        }

        failure = words("failure reason")
        warning = words("warning message")
        // The id of a swarm that was refused may be anything.
        if failure == nil {
            // A scrape reply may name several swarms here.
            infoHash = object["info_hash"]?.array == nil ? try id("info_hash") : nil
            offer = try sdp("offer")
            answer = try sdp("answer")
            if offer != nil || answer != nil {
                guard let peer = try id("peer_id"), let name = try id("offer_id"), infoHash != nil else {
                    throw .malformed
                }
                (peerID, offerID) = (peer, name)
            }
        } else {
            infoHash = object["info_hash"]?.string.flatMap { Bytes20(latin1: $0) }
        }
        interval = count("interval")
        minInterval = count("min interval") ?? count("min_interval")
        complete = count("complete")
        incomplete = count("incomplete")
        if let text = object["tracker id"]?.string, text.utf8.count <= 256 { trackerID = text }
        for (name, value) in object["files"]?.object ?? [:] {
            guard let hash = Bytes20(latin1: name) else { continue }
            files[hash] = TrackerScrape(
                complete: Self.count(value["complete"]) ?? 0, incomplete: Self.count(value["incomplete"]) ?? 0,
                downloaded: Self.count(value["downloaded"]) ?? 0)
        }
        guard
            failure != nil || warning != nil || offer != nil || answer != nil || isAnnounceReply || !files.isEmpty
                || object["files"] != nil
        else { throw .empty }
    }

    /// A number of peers or of seconds: not negative, and small enough to calculate with.
    private static func count(_ json: JSON?) -> Int? {
        guard let number = json?.number, number >= 0 else { return nil }
        return Int(min(number, 1e9))
    }
}

// MARK: - Writing

extension TrackerResponse {
    /// The message as a tracker sends it. `info_hash` is in every one that has a swarm: libtorrent closes the connection
    /// when it is missing.
    package var text: String {
        var object: JSON.Object = ["action": files.isEmpty ? "announce" : "scrape"]
        if let infoHash { object["info_hash"] = .string(infoHash.latin1) }
        if let peerID { object["peer_id"] = .string(peerID.latin1) }
        if let offerID { object["offer_id"] = .string(offerID.latin1) }
        if let offer { object["offer"] = ["type": "offer", "sdp": .string(offer)] }
        if let answer { object["answer"] = ["type": "answer", "sdp": .string(answer)] }
        if let interval { object["interval"] = .integer(Int64(interval)) }
        if let complete { object["complete"] = .integer(Int64(complete)) }
        if let incomplete { object["incomplete"] = .integer(Int64(incomplete)) }
        if let failure { object["failure reason"] = .string(failure) }
        if let warning { object["warning message"] = .string(warning) }
        if !files.isEmpty {
            var swarms = JSON.Object()
            for (hash, counts) in files.sorted(by: { $0.key < $1.key }) {
                swarms[hash.latin1] = [
                    "complete": .integer(Int64(counts.complete)), "incomplete": .integer(Int64(counts.incomplete)),
                    "downloaded": .integer(Int64(counts.downloaded)),
                ]
            }
            object["files"] = .object(swarms)
        }
        return JSON.object(object).serialized()
    }
}
