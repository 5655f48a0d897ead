// SPDX-License-Identifier: Apache-2.0
internal import Wire

// What a check of the peer leads to (RFC 8445 §7.3):
//   broken or without FINGERPRINT: nothing · unauthenticated: 400 or 401 · not understood: 420 · same role: 487 or a switch
//   otherwise success, then a candidate if the source is new, a triggered check, and the nominated flag
extension ICEAgent {
    /// What a message may hold that must be understood and is: where there is no use for it, it is ignored (RFC 8489
    /// §6.3).
    static let understood: Set<STUNAttribute.Kind> = [
        .mappedAddress, .username, .messageIntegrity, .errorCode, .unknownAttributes, .realm, .nonce,
        .messageIntegritySHA256, .passwordAlgorithm, .userhash, .xorMappedAddress, .priority, .useCandidate,
    ]

    mutating func handleRequest(
        _ request: STUNMessage, _ bytes: RawSpan, from source: SocketAddress, base: Int
    ) {
        // RFC 8445 §7.3 makes FINGERPRINT a must.
        guard request.fingerprint == .valid else {
            counters.badFingerprints += 1
            return
        }
        // RFC 8489 §9.1.3: errors of these kinds carry no proof.
        guard let algorithm = request.integrityAlgorithm, let username = request.username else {
            refuse(request, .badRequest, from: source, base: base, integrity: nil)
            return
        }
        let fragments = username.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let key = Array(localCredentials.password.utf8)
        guard fragments.count == 2, fragments[0] == localCredentials.ufrag,
            request.isAuthentic(bytes, key: key, algorithm: algorithm)
        else {
            refuse(request, .unauthenticated, from: source, base: base, integrity: nil)
            return
        }
        let integrity = STUNIntegrity(key: key, algorithm: algorithm)
        let unknown = request.unknownRequired(known: Self.understood)
        guard unknown.isEmpty else {
            refuse(request, .unknownAttribute, unknown: unknown, from: source, base: base, integrity: integrity)
            return
        }
        guard remoteIndex(of: source, over: transport(of: base)) != nil || request.priority != nil else {
            refuse(request, .badRequest, from: source, base: base, integrity: integrity)
            return
        }
        guard settleRole(request) else {
            refuse(request, .roleConflict, from: source, base: base, integrity: integrity)
            return
        }
        answer(request, from: source, base: base, integrity: integrity)
        guard let remoteCredentials else {
            note(.checkAnswered(from: source, at: bases[base].address, .early))
            prove(source, base: base)
            remember(request, ufrag: fragments[1], from: source, base: base)
            return
        }
        let useCandidate = request.hasUseCandidate && role == .controlled
        note(.checkAnswered(from: source, at: bases[base].address, .success(useCandidate: useCandidate)))
        // Another fragment is another fork of the offer: answered, but not for this session to follow up.
        guard fragments[1] == remoteCredentials.ufrag else { return }
        prove(source, base: base)
        if !streams.isEmpty, resume(base: base, from: source) { return }
        peerChecked(base: base, from: source, priority: request.priority, useCandidate: useCandidate)
        if let remote = remoteIndex(of: source, over: transport(of: base)),
            let index = checklist.index(base: base, remote: remote) {
            checklist.update(checklist.pairs[index].id) {
                $0.counters.requestsReceived += 1
                $0.counters.responsesSent += 1
            }
        }
    }

    /// Follows up on a check of the peer that was answered with success (RFC 8445 §7.3.1.3 to §7.3.1.5).
    mutating func peerChecked(base: Int, from source: SocketAddress, priority: UInt32?, useCandidate: Bool) {
        // Once a pair is nominated, only a nominating peer moves this agent (RFC 8445 §8.1.1, aggressive nomination),
        // and that for three seconds (§8.3.1).
        if case .done = nomination {
            guard useCandidate || isLookingFurther else { return }
            if let quietAt, clock >= quietAt, !isSelected(base: base, source), !isLookingFurther { return }
        }
        // The peer has opened its NAT.
        heldUntil = nil
        guard let remote = learnRemote(source, base: base, priority: priority ?? 0),
            let id = formPair(base: base, remote: remote), let pair = checklist[id: id]
        else { return }
        if pair.state == .succeeded {
            if useCandidate { nominated(id) } else { checkAgain(pair) }
            return
        }
        if useCandidate { checklist.update(id) { $0.nominateOnSuccess = true } }
        transactions.cancel { $0.purpose == .check(pair: id, isNomination: false) }
        checklist.trigger(id)
    }

    /// Sends one more check on a pair that works here, where the peer, which is to nominate, begins to check it only
    /// now. There are agents that look for a pair to nominate when a check comes in and otherwise every 200 ms; ours
    /// came when theirs had not succeeded yet. RFC 8445 §7.3.1.4 asks for nothing here and leaves room for it: whoever
    /// has consent may ask again (RFC 7675 §5.1). Its failure means nothing.
    private mutating func checkAgain(_ pair: CheckPair) {
        guard role == .controlled, !hasCheckedAgain, consent?.pair == pair.id else { return }
        hasCheckedAgain = true
        askConsent(pair)
    }

    private func isSelected(base: Int, _ source: SocketAddress) -> Bool {
        guard let selected, let pair = checklist[id: selected] else { return false }
        return pair.base == base && remotes[pair.remote].address == source
    }

    /// RFC 8445 §7.3.1.1: settles who has which role; `false` if the peer has to give way.
    private mutating func settleRole(_ request: STUNMessage) -> Bool {
        switch role {
        case .controlling:
            guard let theirs = request.iceControlling else { return true }
            if tieBreaker >= theirs { return false }
            switchRole(to: .controlled, because: .tieBreaker)
        case .controlled:
            guard let theirs = request.iceControlled else { return true }
            if tieBreaker < theirs { return false }
            switchRole(to: .controlling, because: .tieBreaker)
        }
        return true
    }

    /// Takes a role, with what follows for pairs and nomination.
    mutating func switchRole(to new: Role, because reason: ICEDecision.RoleReason) {
        guard new != role else { return }
        role = new
        note(.roleSwitched(new, reason))
        reprioritise()
        if case .done = nomination { return }
        // What was nominated under the old role and is not settled is void.
        transactions.cancel { if case .check(_, true) = $0.purpose { true } else { false } }
        nomination = .none
        for pair in checklist.pairs where pair.nominateOnSuccess {
            checklist.update(pair.id) { $0.nominateOnSuccess = false }
        }
        evaluateSelection()
    }

    /// Sets the role before checks begin. Later it is for the peers to settle, and this has no effect.
    public mutating func setRole(_ new: Role) {
        guard remoteCredentials == nil else { return }
        role = new
    }

    private mutating func remember(_ request: STUNMessage, ufrag: Substring, from source: SocketAddress, base: Int) {
        let useCandidate = request.hasUseCandidate && role == .controlled
        if let known = earlyChecks.firstIndex(where: { $0.base == base && $0.source == source && $0.ufrag == ufrag }) {
            earlyChecks[known].useCandidate = earlyChecks[known].useCandidate || useCandidate
        } else if earlyChecks.count < configuration.maximumEarlyChecks {
            earlyChecks.append(
                EarlyCheck(
                    base: base, source: source, ufrag: ufrag, priority: request.priority ?? 0,
                    useCandidate: useCandidate))
        } else {
            counters.overLimit += 1
        }
    }

    private mutating func answer(
        _ request: STUNMessage, from source: SocketAddress, base: Int, integrity: STUNIntegrity
    ) {
        var response = STUNMessage(.success, transactionID: request.transactionID)
        response.append(xorAddress: source)
        transmit(response.encoded(integrity: integrity), from: base, to: source)
        counters.requestsAnswered += 1
    }

    private mutating func refuse(
        _ request: STUNMessage, _ error: STUNErrorCode, unknown: [STUNAttribute.Kind] = [], from source: SocketAddress,
        base: Int, integrity: STUNIntegrity?
    ) {
        var response = STUNMessage(.error, transactionID: request.transactionID)
        response.append(error)
        if !unknown.isEmpty { response.append(unknown: unknown) }
        transmit(response.encoded(integrity: integrity), from: base, to: source)
        counters.requestsRefused += 1
        note(.checkAnswered(from: source, at: bases[base].address, .refused(code: error.code)))
    }
}
