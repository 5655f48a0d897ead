// SPDX-License-Identifier: Apache-2.0
public import Wire

/// One thing that an agent decided or learned, when, and why. Together they tell why a connection came about, or did
/// not.
public struct ICEDecision: Hashable, Sendable {
    /// When.
    public let time: Timestamp
    /// What, with its reason.
    public let action: Action

    /// What an agent decides or learns.
    public enum Action: Hashable, Sendable {
        /// A local candidate was found and told.
        case localCandidateFound(ICECandidate)
        /// A local address is not used.
        case localCandidateDropped(SocketAddress, DropReason)
        /// The host has an address no more.
        case localAddressGone(SocketAddress)
        /// The peer has a candidate.
        case remoteCandidateFound(ICECandidate, Source)
        /// A signalled candidate takes the place of one that was learned from a check.
        case remoteCandidateReplaced(ICECandidate)
        /// A candidate of the peer is not used.
        case remoteCandidateDropped(ICECandidate, DropReason)

        /// A server is asked for the address it sees.
        case serverAsked(SocketAddress, from: SocketAddress)
        /// A server answered.
        case serverAnswered(SocketAddress, from: SocketAddress, mapped: SocketAddress)
        /// A server is of no use.
        case serverFailed(SocketAddress, from: SocketAddress, FailureReason)
        /// No more local candidates will come.
        case gatheringCompleted(GatheringEnd)

        /// A TURN server is asked for relayed addresses.
        case relayAsked(SocketAddress, TURNServer.Transport)
        /// It lends these, and sees us as `mapped`.
        case relayAllocated(SocketAddress, relayed: [SocketAddress], mapped: SocketAddress?)
        /// It is of no use, or not any more.
        case relayFailed(SocketAddress, TURNFailure)
        /// Its addresses are given back.
        case relayReleased(SocketAddress)
        /// It lets packets of a peer's address through.
        case relayPermitted(SocketAddress, IPAddress)
        /// It does not.
        case relayRefused(SocketAddress, IPAddress, TURNFailure)
        /// A peer has a channel there.
        case relayChannelBound(SocketAddress, SocketAddress, channel: UInt16)

        /// A pair entered the checklist.
        case pairFormed(ICECandidatePair.Name, ICECandidatePair.State, priority: UInt64)
        /// A pair was left out or taken off the checklist.
        case pairPruned(base: SocketAddress, remote: SocketAddress, PruneReason)
        /// A frozen pair may now be checked.
        case pairUnfrozen(ICECandidatePair.Name)
        /// A packet left that is to end before the peer's NAT.
        case openingSent(ICECandidatePair.Name, hopLimit: UInt8)
        /// Packets leave to ports of the peer's NAT that are guessed, or from many ports toward one of them.
        case probingStarted(SocketAddress, ports: Int, probes: Int)
        /// That is over, after so many packets; whether they were of use.
        case probingEnded(packets: Int, reached: Bool)
        /// The driver lets nothing be sent there for now: too much was, or too many do so at a time.
        case probingRefused(SocketAddress)
        /// Checks begin.
        case checksStarted(pairs: Int, pacing: Duration)

        /// A check left.
        case checkSent(ICECandidatePair.Name, STUNTransactionID, CheckReason)
        /// A check left again because no answer came.
        case checkRetransmitted(ICECandidatePair.Name, STUNTransactionID, attempt: Int)
        /// A check of the peer came and was answered.
        case checkAnswered(from: SocketAddress, at: SocketAddress, CheckOutcome)
        /// The peer answered a check: it reaches us, we reach it.
        case checkSucceeded(ICECandidatePair.Name, mapped: SocketAddress, roundTripTime: Duration)
        /// A check came to nothing.
        case checkFailed(ICECandidatePair.Name, FailureReason)
        /// ICMP says that a pair's packets do not arrive. Whether that is so the checks show.
        case unreachableTold(ICECandidatePair.Name, Unreachability)
        /// A response was taken for none.
        case responseIgnored(STUNTransactionID, from: SocketAddress, IgnoreReason)

        /// The role changed.
        case roleSwitched(ICEAgent.Role, RoleReason)
        /// Nomination waits for a better kind of pair.
        case nominationDeferred(ICECandidatePair.Name, until: Timestamp)
        /// The controlling agent chose a pair and says so to its peer.
        case nominationStarted(ICECandidatePair.Name, NominationReason)
        /// Both sides now know the chosen pair.
        case pairNominated(ICECandidatePair.Name)
        /// Data goes here from now on.
        case pairSelected(ICECandidatePair.Name, isNominated: Bool)

        /// A consent request left (RFC 7675).
        case consentAsked(ICECandidatePair.Name, STUNTransactionID)
        /// The peer still wants our packets.
        case consentGiven(ICECandidatePair.Name, roundTripTime: Duration)
        /// The peer does not, or is gone.
        case consentLost(ICECandidatePair.Name, FailureReason)
        /// A Binding indication left to keep NAT bindings alive.
        case keepaliveSent(ICECandidatePair.Name)
        /// The state changed to failed, for this reason.
        case failed(AgentFailure)
    }

    /// Where a candidate of the peer is known from.
    public enum Source: String, Hashable, Sendable {
        /// Signalling.
        case signalled
        /// A check came from it.
        case check
        /// The peer's NAT is likely to use it next.
        case predicted
    }

    /// Why an address or a candidate is not used.
    public enum DropReason: String, Hashable, Sendable {
        case loopback, unspecified, multicast, portZero, tcp, otherComponent, unresolvedName, duplicate, deprecated
        /// The same address on the same base is known under another kind.
        case redundant
        /// It belongs to other credentials.
        case otherUfrag
        /// The peer had said that no more would come.
        case afterEndOfCandidates
        /// Gathering is over, or the agent has ended.
        case tooLate
        /// As many are known as may be.
        case limit
    }

    /// Why a pair is not on the checklist.
    public enum PruneReason: String, Hashable, Sendable {
        /// The same base and remote candidate stand there with a higher priority (RFC 8445 §6.1.2.4).
        case redundant
        /// The checklist is full of better ones (RFC 8445 §6.1.2.5).
        case limit
        /// Another pair was nominated (RFC 8445 §8.1.2).
        case concluded
    }

    /// Why a check is sent.
    public enum CheckReason: String, Hashable, Sendable {
        /// It is next in the checklist.
        case ordinary
        /// The peer checked this pair (RFC 8445 §7.3.1.4).
        case triggered
        /// It carries USE-CANDIDATE.
        case nomination
    }

    /// What a check of the peer was answered with.
    public enum CheckOutcome: Hashable, Sendable {
        /// Success.
        case success(useCandidate: Bool)
        /// Success, and remembered until the peer's credentials are known.
        case early
        /// An error.
        case refused(code: Int)
    }

    /// Why a request came to nothing.
    public enum FailureReason: Hashable, Sendable {
        /// No answer to any copy.
        case timeout
        /// The answer came from elsewhere, or to elsewhere (RFC 8445 §7.2.5.2.1).
        case asymmetric(from: SocketAddress, at: SocketAddress)
        /// The peer refused.
        case refused(code: Int)
        /// The answer cannot be used.
        case malformed
        /// The network says that nobody listens there.
        case unreachable
        /// No answer, and ICMP said why.
        case told(Unreachability)
        /// The relay does not do what is needed for it.
        case relay(TURNFailure)
    }

    /// Why a response was taken for none.
    public enum IgnoreReason: Hashable, Sendable {
        /// Its proof is missing or wrong; `code` where it claims an error.
        case unauthenticated(code: Int?)
        /// FINGERPRINT is missing.
        case noFingerprint
    }

    /// Why a role changed.
    public enum RoleReason: String, Hashable, Sendable {
        /// The peer answered 487.
        case refusedByPeer
        /// The peer claims the same role and its tie-breaker decides.
        case tieBreaker
        /// The peer is a lite agent.
        case litePeer
    }

    /// Why this pair, and now.
    public enum NominationReason: String, Hashable, Sendable {
        /// Nothing better can come.
        case best
        /// Something better might have come but took too long.
        case waitedLongEnough
        /// It takes the place of one with a relay in it.
        case direct
    }

    /// Why gathering ended.
    public enum GatheringEnd: String, Hashable, Sendable {
        /// No server is to be asked.
        case noServers
        /// All servers answered or failed.
        case allDone
        /// Every address that could be asked for has an answer.
        case answered
        /// Some answered; the rest had its time.
        case grace
        /// The deadline passed.
        case deadline
        /// A pair was nominated first.
        case nominated
    }

    /// Why an agent failed.
    public enum AgentFailure: String, Hashable, Sendable {
        /// There was no pair to check until the PAC timer ended.
        case noPairs
        /// All checks failed.
        case allPairsFailed
        /// The peer stopped answering, or revoked its consent.
        case consentLost
        /// The relay that the chosen pair goes over is gone.
        case relayLost
    }
}
