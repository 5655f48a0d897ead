// SPDX-License-Identifier: Apache-2.0
internal import Wire

extension ICEAgent {
    mutating func handleResponse(
        _ response: STUNMessage, _ bytes: RawSpan, from source: SocketAddress, base: Int
    ) {
        guard let index = transactions.index(of: response.transactionID) else {
            counters.unexpectedResponses += 1
            return
        }
        let transaction = transactions.entries[index]
        if case .gather(let request) = transaction.purpose {
            _ = transactions.remove(at: index)
            serverAnswered(response, request: request)
            return
        }
        guard isAcceptable(response, bytes, from: source) else { return }
        _ = transactions.remove(at: index)
        // RFC 8445 §7.2.5.2.1.
        guard source == transaction.destination, base == transaction.base else {
            checkFailed(transaction, .asymmetric(from: source, at: bases[base].address))
            return
        }
        guard response.unknownRequired(known: Self.understood).isEmpty else {
            checkFailed(transaction, .malformed)
            return
        }
        prove(source, base: base)
        switch response.messageClass {
        case .success:
            guard let mapped = response.xorMappedAddress else {
                checkFailed(transaction, .malformed)
                return
            }
            checkSucceeded(transaction, mapped: mapped)
        case .error:
            refused(transaction, response.errorCode)
        case .request, .indication:
            break
        }
    }

    /// Whether a response to a check proves that it is the peer's. What does not is as if it had never come, and copies
    /// of the request go on (RFC 8489 §9.1.4).
    private mutating func isAcceptable(
        _ response: STUNMessage, _ bytes: RawSpan, from source: SocketAddress
    ) -> Bool {
        guard let remoteCredentials,
            response.isAuthentic(bytes, key: Array(remoteCredentials.password.utf8), algorithm: .sha1)
        else {
            counters.unauthenticatedResponses += 1
            note(
                .responseIgnored(
                    response.transactionID, from: source, .unauthenticated(code: response.errorCode?.code)))
            return false
        }
        guard response.fingerprint == .valid else {
            counters.badFingerprints += 1
            note(.responseIgnored(response.transactionID, from: source, .noFingerprint))
            return false
        }
        return true
    }

    // MARK: Success (RFC 8445 §7.2.5.3)

    private mutating func checkSucceeded(_ transaction: Transaction, mapped: SocketAddress) {
        guard let id = transaction.purpose.pair, let pair = checklist[id: id] else { return }
        let roundTrip = clock - transaction.sentAt
        checklist.update(id) {
            $0.counters.responsesReceived += 1
            $0.counters.totalRoundTripTime += roundTrip
            $0.unreachable = nil
        }
        if consent?.pair == id {
            consent?.answered(now: clock)
            if state == .disconnected { setState(isNominated(id) ? .completed : .connected) }
        }
        if case .consent = transaction.purpose {
            checklist.update(id) { $0.roundTripTime = roundTrip }
            note(.consentGiven(name(pair), roundTripTime: roundTrip))
            return
        }
        note(.checkSucceeded(name(pair), mapped: mapped, roundTripTime: roundTrip))
        let local = learnLocal(mapped, base: transaction.base, priority: transaction.priority)
        let wasValid = pair.isValid
        checklist.update(id) { pair in
            pair.state = .succeeded
            pair.validLocal = local
            // Copies blur which of them was answered: only an answer to a single one tells the time.
            if transaction.sent == 1 { pair.roundTripTime = roundTrip }
        }
        checklist.untrigger(id)
        transactions.cancel { $0.purpose == .check(pair: id, isNomination: false) }
        if !wasValid {
            reprioritise()
            for pair in checklist.unfreeze(foundation: pair.foundation) { note(.pairUnfrozen(name(pair))) }
        }
        if case .check(_, true) = transaction.purpose, role == .controlling {
            nominated(id)
        } else if role == .controlled, pair.nominateOnSuccess {
            nominated(id)
        } else {
            evaluateSelection()
        }
    }

    // MARK: Failure (RFC 8445 §7.2.5.1 and §7.2.5.2)

    private mutating func refused(_ transaction: Transaction, _ error: STUNErrorCode?) {
        guard let id = transaction.purpose.pair, let pair = checklist[id: id] else { return }
        guard let error else {
            checkFailed(transaction, .malformed)
            return
        }
        if error.code == STUNErrorCode.roleConflict.code {
            // Several checks may have crossed the peer's: only the first to come back counts.
            if transaction.role == role {
                tieBreaker = entropy.next()
                switchRole(to: role == .controlling ? .controlled : .controlling, because: .refusedByPeer)
            }
            if case .check = transaction.purpose { checklist.trigger(id) }
            return
        }
        if case .consent = transaction.purpose, error.code != STUNErrorCode.forbidden.code { return }
        if error.code == STUNErrorCode.forbidden.code, consent?.pair == id {
            // RFC 7675 §5.2.
            loseConsent(pair, .refused(code: error.code))
            return
        }
        checkFailed(transaction, .refused(code: error.code))
    }

    private mutating func checkFailed(_ transaction: Transaction, _ reason: ICEDecision.FailureReason) {
        // A cancelled check has a successor that decides.
        guard case .check(let pair, let isNomination) = transaction.purpose, !transaction.isCancelled else { return }
        checkFailed(pair, reason, isNomination: isNomination)
    }

    /// A check came to nothing. If it was to nominate, the pair is worth nothing either (RFC 8445 §7.2.5.3.4).
    mutating func checkFailed(_ id: Int, _ reason: ICEDecision.FailureReason, isNomination: Bool) {
        guard let pair = checklist[id: id] else { return }
        note(.checkFailed(name(pair), reason))
        guard isNomination || pair.state == .inProgress else { return }
        checklist.update(id) { pair in
            pair.state = .failed
            pair.validLocal = nil
            pair.nominateOnSuccess = false
        }
        checklist.untrigger(id)
        if nomination == .inProgress(pair: id) { nomination = .none }
        evaluateSelection()
    }

    // MARK: Servers

    /// Whether what a server saw of an address can be an address.
    static func isReflexive(_ mapped: SocketAddress, of base: SocketAddress) -> Bool {
        mapped.ip.family == base.ip.family && !mapped.ip.isUnspecified && !mapped.ip.isMulticast && mapped.port != 0
    }

    private mutating func serverAnswered(_ response: STUNMessage, request index: Int) {
        guard gathering.requests.indices.contains(index) else { return }
        let request = gathering.requests[index]
        guard response.messageClass == .success else {
            gatheringFailed(index, response.errorCode.map { .refused(code: $0.code) } ?? .malformed)
            return
        }
        // RFC 8445 §5.1.1.2: servers from before RFC 5389 answer with MAPPED-ADDRESS.
        guard response.unknownRequired(known: Self.understood).isEmpty,
            let mapped = response.xorMappedAddress ?? response.mappedAddress,
            Self.isReflexive(mapped, of: bases[request.base].address)
        else {
            gatheringFailed(index, .malformed)
            return
        }
        let isFirst = gathering.answered(index, now: clock)
        guard isFirst else { return }
        note(.serverAnswered(request.server, from: bases[request.base].address, mapped: mapped))
        learnReflexive(mapped, base: request.base, server: request.server)
    }
}
