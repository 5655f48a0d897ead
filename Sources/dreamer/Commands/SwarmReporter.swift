// SPDX-License-Identifier: Apache-2.0
import RDRR
import Swarm
import WebRTC
import Wire

/// Tells what happens in a swarm: lines for people on standard error, or JSON lines on standard output. Times are
/// seconds since the program began.
struct SwarmReporter: Sendable {
    let json: Bool
    let modelId: @Sendable () -> RDRRManifest?

    /// Shows one event.
    func report(_ event: SwarmEvent) {
        switch event {
        case .announcing(let time): tell("announcing", ["time": .time(time)], nil)
        case .offered(let count, let time):
            tell("offers", ["count": .integer(Int64(count)), "time": .time(time)], nil)
        case .peerConnected(_, let node, let role, let time):
            tell(
                "peer",
                [
                    "nodeId": .string(node.description), "state": "connected", "role": .string("\(role)"),
                    "time": .time(time),
                ], nil)
        case .peerJoined(_, let node, let agent):
            tell(
                "peer", ["nodeId": .string(node.description), "agent": .string(agent), "state": "joined"],
                "peer \(short(node)) joined (\(agent))")
        case .peerLeft(_, let node, let reason):
            tell(
                "peer", ["nodeId": .string(node.description), "state": "left", "reason": .string("\(reason)")],
                "peer \(short(node)) left: \(reason)")
        case .peerRefused(let node, let reason):
            tell(
                "peer", ["nodeId": .string(node.description), "state": "refused", "reason": .string("\(reason)")],
                "peer \(short(node)) was refused: \(reason)")
        case .peerBanned(let node, let reason):
            tell(
                "banned", ["nodeId": .string(node.description), "reason": .string(reason)],
                "peer \(short(node)) is banned: \(reason)")
        case .manifest(let bytes):
            tell("manifest", ["bytes": .integer(Int64(bytes.count))], nil)
        case .shardVerified(let index, let origin):
            let name = modelId().map { $0.entries[index].name } ?? "\(index)"
            tell(
                "shard", ["index": .integer(Int64(index)), "name": .string(name), "from": .string(origin.rawValue)], nil
            )
        case .shardEvicted(let index):
            tell("evicted", ["index": .integer(Int64(index))], "shard \(index) was removed to make room")
        case .originFailed(let what):
            tell("origin", ["message": .string(what)], "HTTP: \(what)")
        case .warning(let what):
            tell("warning", ["message": .string(what)], what)
        case .peerHas, .progress, .complete, .failed:
            break
        }
    }

    /// How far a fetch is, and where its bytes came from.
    static func json(_ progress: SwarmProgress) -> JSON.Object {
        let moved = progress.statistics
        var members: JSON.Object = [
            "verified": .integer(Int64(progress.bytesVerified)), "total": .integer(Int64(progress.bytesTotal)),
            "bytesPerSecond": .number(progress.bytesPerSecond), "peers": .integer(Int64(progress.peers)),
            "bytesFromPeers": .integer(Int64(moved.bytesFromPeers)),
            "bytesFromHTTP": .integer(Int64(moved.bytesFromOrigin)),
            "bytesFromDisk": .integer(Int64(moved.verifiedFromDisk)),
            "duplicateBytes": .integer(Int64(moved.duplicateBytes)),
            "rejectedBytes": .integer(Int64(moved.rejectedBytes)),
            "bytesServed": .integer(Int64(moved.bytesServed)),
        ]
        if let first = moved.firstPeerByteAt, let last = moved.lastPeerByteAt {
            members["firstByteTime"] = .time(first)
            members["lastByteTime"] = .time(last)
        }
        return members
    }

    /// Who gave and was given how much, those that have left too.
    static func json(_ sources: [SwarmSource]) -> JSON {
        .array(
            sources.map {
                [
                    "nodeId": .string($0.nodeID.description), "bytes": .integer(Int64($0.bytesReceived)),
                    "bytesServed": .integer(Int64($0.bytesServed)),
                ]
            })
    }

    /// A line of JSON, or one for people where there are words for it.
    func tell(_ name: String, _ members: JSON.Object, _ words: String?) {
        Self.tell(json: json, name, members, words)
    }

    private static func tell(json: Bool, _ name: String, _ members: JSON.Object, _ words: String?) {
        if json {
            var object: JSON.Object = ["event": .string(name)]
            for (key, value) in members { object[key] = value }
            Terminal.output(JSON.object(object).serialized())
        } else if let words {
            Terminal.note(words)
        }
    }

    private func short(_ node: NodeID) -> String { Self.short(node) }

    private static func short(_ node: NodeID) -> String { String(node.description.prefix(8)) }
}

// MARK: - Relays

extension SwarmReporter {
    /// A budget for relays, in bytes, that tells of warnings and ends.
    static func relayBudget(_ limit: Int, json: Bool) -> RelayBudget {
        RelayBudget(limit: UInt64(limit)) { verdict, peer in
            let node = NodeID(certificateDigest: peer)
            let (state, bytes, words) =
                switch verdict {
                case .warning(let bytes):
                    (
                        "warning", bytes,
                        "\(Units.bytes(Int(bytes))) of \(Units.bytes(limit)) that may go over relays are gone"
                    )
                case .spent(let bytes):
                    (
                        "spent", bytes,
                        "disconnected, \(Units.bytes(limit)) went over relays, as many as may (--relay-budget)"
                    )
                }
            tell(
                json: json, "relay",
                [
                    "nodeId": .string(node.description), "state": .string(state), "bytes": .integer(Int64(bytes)),
                    "budget": .integer(Int64(limit)),
                ], "peer \(short(node)): \(words)")
        }
    }
}

extension JSON {
    /// Seconds since the program began.
    fileprivate static func time(_ time: Timestamp) -> JSON { .number(Double(time.nanoseconds) * 1e-9) }
}
