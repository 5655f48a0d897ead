// SPDX-License-Identifier: Apache-2.0
public import ICE
import SDP
public import Wire

/// The peer's candidates that have a name instead of an address, as browsers give to pages that may not know addresses
/// (draft-ietf-mmusic-mdns-ice-candidates).
struct RemoteNames: Sendable {
    /// What waits for a name's address.
    var waiting: [String: [ICECandidate]] = [:]
    /// No candidates follow those that wait.
    var isComplete = false
    /// As many names as are asked for in one generation of candidates.
    static let limit = 16
    var asked = 0
}

extension PeerCore {
    /// Takes a candidate that was signalled later; `nil` says that there are no more. One with a name of multicast DNS
    /// waits for ``resolved(_:as:now:)``.
    public mutating func addRemoteCandidate(_ candidate: ICECandidate?, now: Timestamp) {
        take(candidate, now: now)
        pumpICE()
    }

    /// Tells what a name stands for: one address, or none or several, and then its candidates are dropped (the draft's
    /// §3.2.1).
    public mutating func resolved(_ name: String, as addresses: [IPAddress], now: Timestamp) {
        guard let candidates = remoteNames.waiting.removeValue(forKey: name) else { return }
        for var candidate in candidates {
            if addresses.count == 1 { candidate.host = .address(addresses[0]) }
            ice?.addRemoteCandidate(candidate, now: now)
        }
        if remoteNames.isComplete, remoteNames.waiting.isEmpty { ice?.endOfRemoteCandidates(now: now) }
        pumpICE()
    }

    mutating func takeCandidates(of description: SessionDescription, now: Timestamp) {
        for line in description.candidates {
            if let candidate = ICECandidate(sdp: line) { take(candidate, now: now) }
        }
        // RFC 8838 §4.1: who does not trickle has told all.
        if description.endOfCandidates || !description.acceptsTrickle { take(nil, now: now) }
    }

    private mutating func take(_ candidate: ICECandidate?, now: Timestamp) {
        guard let candidate else {
            remoteNames.isComplete = true
            if remoteNames.waiting.isEmpty { ice?.endOfRemoteCandidates(now: now) }
            return
        }
        if refusesRelays, candidate.kind == .relayed { return }
        guard case .name(let host) = candidate.host, candidate.component == 1,
            candidate.transport == .udp || configuration.tcpCandidates != .none,
            Self.isMulticastName(host), !remoteNames.isComplete
        else {
            ice?.addRemoteCandidate(candidate, now: now)
            return
        }
        // Asking would show the link our address, which whoever made the name up may hear.
        guard configuration.transportPolicy == .all else { return }
        let name = host.lowercased()
        if remoteNames.waiting[name] == nil {
            guard remoteNames.asked < RemoteNames.limit else {
                ice?.addRemoteCandidate(candidate, now: now)
                return
            }
            remoteNames.asked += 1
            events.append(.nameToResolve(name))
        }
        if remoteNames.waiting[name, default: []].count < RemoteNames.limit {
            remoteNames.waiting[name, default: []].append(candidate)
        }
    }

    /// The draft's §3.2.1: one label before `.local`; other names are not looked up.
    private static func isMulticastName(_ name: String) -> Bool {
        let labels = name.lowercased().split(separator: ".", omittingEmptySubsequences: false)
        return labels.count == 2 && labels[1] == "local" && (1...63).contains(labels[0].utf8.count)
    }

    /// Tells a local candidate with the user fragment that it belongs to (RFC 8838 §9).
    mutating func report(_ candidate: ICECandidate, ufrag: String?) {
        // What is found ahead of an offer is told with it.
        guard side != nil else { return }
        var candidate = candidate
        if let ufrag { candidate.extensions.append(.init(name: "ufrag", value: ufrag)) }
        events.append(.localCandidate(candidate))
    }
}
