// SPDX-License-Identifier: Apache-2.0
internal import Wire

// Which pair carries data, and when it is final (RFC 8445 §8). Until a pair is nominated data goes to the best valid
// one, which RFC 8445 §12.1 allows: a connection is usable one round trip after the first check.
extension ICEAgent {
    func isNominated(_ id: Int) -> Bool { nomination == .done(pair: id) }

    /// The valid pairs changed: takes the best for data, and for nomination.
    mutating func evaluateSelection() {
        guard !hasEnded else { return }
        guard !isConcluded else {
            renominate()
            return
        }
        let best = checklist.pairs.first { $0.isValid }
        if let best {
            select(best)
        } else {
            nomination = .none
            if selected != nil {
                selected = nil
                consent = nil
                setState(.checking)
            }
        }
        evaluateNomination()
    }

    /// Chooses and nominates, if this agent is to and the time has come (RFC 8445 §8.1.1).
    mutating func evaluateNomination() {
        guard role == .controlling, let best = checklist.pairs.first(where: \.isValid) else { return }
        let delay =
            // On a connection, as on a relay, data flows while datagrams have another chance.
            kindRank(best) == 0 || bases[best.base].tcp != nil
            ? max(configuration.relayNominationDelay, probingTimeLeft) : configuration.nominationDelay
        switch nomination {
        case .inProgress, .done:
            return
        case .none:
            if mayImprove(on: best), delay > .zero {
                let until = clock + delay
                nomination = .deferred(until: until)
                note(.nominationDeferred(name(best), until: until))
                return
            }
            nominate(best, .best)
        case .deferred(let until):
            if !mayImprove(on: best) {
                nominate(best, .best)
            } else if until <= clock {
                nominate(best, .waitedLongEnough)
            } else {
                // A pair without a relay need not wait as long as the one before it.
                nomination = .deferred(until: min(until, clock + delay))
            }
        }
    }

    /// Whether a pair of a better kind may still turn up: kinds, not priorities, since among equals the first to work
    /// is as good as any.
    private func mayImprove(on best: CheckPair) -> Bool {
        let rank = kindRank(best)
        guard rank < ICECandidate.Kind.host.preference else { return false }
        return !remoteEnded || isProbing || checklist.pairs.contains { $0.isPending && kindRank($0) > rank }
    }

    /// The type preference of the worse end.
    private func kindRank(_ pair: CheckPair) -> UInt32 {
        min(
            locals[pair.validLocal ?? bases[pair.base].host].candidate.typePreference,
            remotes[pair.remote].candidate.typePreference)
    }

    /// Tells that the peer lets a direct pair take the place of a nominated one with a relay in it, as this agent does.
    /// RFC 8445 §8.1.1 has one nomination only, so that both have to know. Before the peer's credentials.
    public mutating func allowRenomination() {
        mayRenominate = true
    }

    /// Whether the nominated pair has a relay in it and a direct one may still replace it.
    var isLookingFurther: Bool {
        guard mayRenominate, case .done(let id) = nomination, let pair = checklist[id: id] else { return false }
        return kindRank(pair) == 0
    }

    /// Nominates a direct pair after a relayed one.
    private mutating func renominate() {
        guard role == .controlling, isLookingFurther,
            let best = checklist.pairs.first(where: { $0.isValid && kindRank($0) > 0 })
        else { return }
        nominate(best, .direct)
    }

    private mutating func nominate(_ pair: CheckPair, _ reason: ICEDecision.NominationReason) {
        if configuration.pacesNomination, let nextCheck, nextCheck > clock {
            nomination = .deferred(until: nextCheck)
            return
        }
        nomination = .inProgress(pair: pair.id)
        note(.nominationStarted(name(pair), reason))
        sendCheck(pair, .nomination)
    }

    /// A valid pair got its nominated flag (RFC 8445 §7.2.5.3.4, §7.3.1.5).
    mutating func nominated(_ id: Int) {
        guard let pair = checklist[id: id], pair.isValid else { return }
        if case .done(let current) = nomination {
            // RFC 8445 §8.1.1: of several nominated pairs the one with the highest priority is used.
            guard current != id, let other = checklist[id: current], other.priority < pair.priority else { return }
        }
        nomination = .done(pair: id)
        note(.pairNominated(name(pair)))
        select(pair)
        setState(.completed)
        conclude(keeping: id)
    }

    /// Stops what is not needed any more (RFC 8445 §8.1.2).
    private mutating func conclude(keeping id: Int) {
        let kept =
            isLookingFurther ? Set(checklist.pairs.filter { $0.isPending && kindRank($0) > 0 }.map(\.id)) : []
        for dropped in checklist.conclude(keeping: kept) {
            note(
                .pairPruned(
                    base: bases[dropped.base].address, remote: remotes[dropped.remote].address, .concluded))
        }
        transactions.cancel { if case .check(let pair, _) = $0.purpose { !kept.contains(pair) } else { false } }
        // RFC 8838 §13: nothing is trickled after nomination.
        if gathering.conclude() { completeGathering(.nominated) }
        // RFC 8445 §8.3.1.
        if quietAt == nil || mayRenominate {
            quietAt = clock + .seconds(3)
            hasTidiedRelays = false
        }
    }

    /// Makes a pair the one for data.
    private mutating func select(_ pair: CheckPair) {
        let isNew = selected != pair.id
        if isNew {
            selected = pair.id
            if let relay = bases[pair.base].relay {
                relays[relay].client.bind(remotes[pair.remote].address, now: clock)
                pumpRelay(relay)
            }
            consent = ConsentMonitor(pair: pair.id, now: clock, configuration: configuration, entropy: &entropy)
        }
        if state == .checking || isNew && state == .disconnected { setState(.connected) }
        if isNew || isNominated(pair.id) {
            note(.pairSelected(name(pair), isNominated: isNominated(pair.id)))
            outbox.append(.event(.selectedPair(snapshot(pair))))
        }
    }

    /// Whether all hope is gone (RFC 8445 §8.1.2, RFC 8838 §8, RFC 8863 §4).
    mutating func evaluateFailure() {
        guard state == .checking, remoteEnded, gathering.isComplete, let pacDeadline, pacDeadline <= clock,
            !checklist.pairs.contains(where: { $0.isPending || $0.isValid })
        else { return }
        note(.failed(checklist.pairs.isEmpty ? .noPairs : .allPairsFailed))
        end(.failed)
    }
}
