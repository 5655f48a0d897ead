// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension ICEDecision: CustomStringConvertible {
    /// Time and words for a log.
    public var description: String { "\(time) \(action)" }
}

extension ICEDecision.Action: CustomStringConvertible {
    /// What happened in words, on one line.
    public var description: String {
        switch self {
        case .localCandidateFound(let candidate): "local \(candidate)"
        case .localCandidateDropped(let address, let reason): "local \(address) not used: \(reason.rawValue)"
        case .localAddressGone(let address): "local \(address) is gone"
        case .remoteCandidateFound(let candidate, let source): "remote \(candidate), by \(source.rawValue)"
        case .remoteCandidateReplaced(let candidate): "remote \(candidate), learned before"
        case .remoteCandidateDropped(let candidate, let reason): "remote \(candidate) not used: \(reason.rawValue)"
        case .serverAsked(let server, let base): "asks server \(server) from \(base)"
        case .serverAnswered(let server, let base, let mapped): "server \(server) sees \(base) as \(mapped)"
        case .serverFailed(let server, let base, let reason): "server \(server) from \(base) failed: \(reason)"
        case .gatheringCompleted(let end): "gathering complete: \(end.rawValue)"
        case .relayAsked(let server, let transport): "asks relay \(server) over \(transport.rawValue)"
        case .relayAllocated(let server, let relayed, let mapped):
            "relay \(server) lends \(relayed.map(\.description).joined(separator: ", "))"
                + (mapped.map { ", sees us as \($0)" } ?? "")
        case .relayFailed(let server, let reason): "relay \(server) failed: \(reason)"
        case .relayReleased(let server): "relay \(server) not needed any more"
        case .relayPermitted(let server, let ip): "relay \(server) lets \(ip) through"
        case .relayRefused(let server, let ip, let reason): "relay \(server) does not let \(ip) through: \(reason)"
        case .relayChannelBound(let server, let peer, let channel):
            "relay \(server) binds channel 0x\(String(channel, radix: 16)) to \(peer)"
        case .pairFormed(let name, let state, let priority):
            "pair \(name) formed, \(state.rawValue), priority \(priority)"
        case .pairPruned(let base, let remote, let reason): "pair \(base) → \(remote) left out: \(reason.rawValue)"
        case .pairUnfrozen(let name): "pair \(name) unfrozen"
        case .openingSent(let name, let limit): "opens \(name) with \(limit) hops"
        case .probingStarted(let target, let ports, let probes):
            ports > 0 ? "probes \(target) from \(ports) ports" : "probes up to \(probes) random ports of \(target.ip)"
        case .probingRefused(let target):
            "no probing of \(target.ip): others are at it, or it has had its share of packets"
        case .probingEnded(let packets, let reached):
            "probing ended after \(packets) packets: \(reached ? "a way is found" : "no way")"
        case .checksStarted(let pairs, let pacing): "checks start: \(pairs) pairs, one every \(pacing)"
        case .checkSent(let name, let id, let reason): "check \(name) sent, \(reason.rawValue), transaction \(id)"
        case .checkRetransmitted(let name, let id, let attempt):
            "check \(name) sent again, copy \(attempt), transaction \(id)"
        case .checkAnswered(let source, let base, let outcome): "check from \(source) at \(base): \(outcome)"
        case .checkSucceeded(let name, let mapped, let time): "check \(name) succeeded in \(time), seen as \(mapped)"
        case .checkFailed(let name, let reason): "check \(name) failed: \(reason)"
        case .unreachableTold(let name, let cause): "ICMP says of \(name): \(cause)"
        case .responseIgnored(let id, let source, let reason): "response from \(source) to \(id) ignored: \(reason)"
        case .roleSwitched(let role, let reason): "role is now \(role.rawValue): \(reason.rawValue)"
        case .nominationDeferred(let name, let until): "pair \(name) works; waits until \(until) for a better kind"
        case .nominationStarted(let name, let reason): "nominates \(name): \(reason.rawValue)"
        case .pairNominated(let name): "pair \(name) nominated"
        case .pairSelected(let name, let isNominated): "data goes to \(name)\(isNominated ? "" : " for now")"
        case .consentAsked(let name, let id): "consent asked of \(name), transaction \(id)"
        case .consentGiven(let name, let time): "consent given by \(name) in \(time)"
        case .consentLost(let name, let reason): "consent lost of \(name): \(reason)"
        case .keepaliveSent(let name): "keepalive sent to \(name)"
        case .failed(let reason): "failed: \(reason.rawValue)"
        }
    }
}

extension ICEDecision.CheckOutcome: CustomStringConvertible {
    /// The answer in words.
    public var description: String {
        switch self {
        case .success(let useCandidate): useCandidate ? "success, nominates" : "success"
        case .early: "success, before the peer's credentials"
        case .refused(let code): "refused \(code)"
        }
    }
}

extension ICEDecision.FailureReason: CustomStringConvertible {
    /// The reason in words.
    public var description: String {
        switch self {
        case .timeout: "no answer"
        case .asymmetric(let source, let base): "answered from \(source) to \(base) instead"
        case .refused(let code): "refused \(code)"
        case .malformed: "unusable answer"
        case .unreachable: "unreachable"
        case .told(let cause): "no answer, and ICMP says \(cause)"
        case .relay(let reason): "relay: \(reason)"
        }
    }
}

extension ICEDecision.IgnoreReason: CustomStringConvertible {
    /// The reason in words.
    public var description: String {
        switch self {
        case .unauthenticated(let code): code.map { "no proof for its \($0)" } ?? "no proof"
        case .noFingerprint: "no fingerprint"
        }
    }
}
