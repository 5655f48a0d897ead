// SPDX-License-Identifier: Apache-2.0
public import Wire

// Sending: checks, their copies, requests to servers, consent. Everything here happens because time passed.
extension ICEAgent {
    /// Does all that is due. Doing it twice at one time does nothing the second time.
    mutating func advance() {
        guard !hasEnded else { return }
        while let (transaction, isOver) = transactions.nextDue(now: clock) {
            if isOver { timedOut(transaction) } else { retransmit(transaction) }
        }
        if usesRelays { advanceRelays() }
        if !streams.isEmpty { advanceStreams() }
        guard !hasEnded else { return }
        advanceGathering()
        if case .deferred(let until) = nomination, until <= clock { evaluateNomination() }
        if let nextCheck, max(nextCheck, holdEnd) <= clock { performCheck() }
        if configuration.birthdayBudget != nil { advanceProbing() }
        advanceConsent()
        evaluateFailure()
    }

    /// When ``handleTimeout(now:)`` has something to do, if nothing comes before.
    var nextDeadline: Timestamp? {
        guard !hasEnded else { return nil }
        var earliest = Timestamp.distantFuture
        func consider(_ deadline: Timestamp?) {
            if let deadline { earliest = min(earliest, deadline) }
        }
        consider(transactions.nextDeadline)
        consider(gathering.nextDeadline)
        consider(relayDeadline)
        consider(streamDeadline)
        consider(probing.deadline)
        if let nextCheck, nextCheck < earliest, checklist.hasWork { consider(max(nextCheck, holdEnd)) }
        if case .deferred(let until) = nomination { consider(until) }
        if let consent {
            consider(consent.keepaliveDue)
            consider(consent.nextRequest)
            consider(consent.expiry)
            if state != .disconnected, consent.nextRequest != nil {
                consider(consent.lastAnswer + configuration.disconnectedTimeout)
            }
        }
        if let pacDeadline, state == .checking, pacDeadline > clock { consider(pacDeadline) }
        return earliest == .distantFuture ? nil : earliest
    }

    // MARK: Checks

    /// When checks may leave that no check of the peer's asked for.
    private var holdEnd: Timestamp {
        checklist.triggered.isEmpty ? heldUntil ?? Timestamp(nanoseconds: .min) : Timestamp(nanoseconds: .min)
    }

    /// Ta fired (RFC 8445 §6.1.4.2).
    private mutating func performCheck() {
        if !checklist.isStarted, !checklist.pairs.isEmpty {
            checklist.start()
            note(.checksStarted(pairs: checklist.pairs.count, pacing: pacing))
        }
        let (pair, isTriggered, unfrozen) = checklist.next()
        for pair in unfrozen { note(.pairUnfrozen(name(pair))) }
        guard let pair else { return }
        sendCheck(pair, isTriggered ? .triggered : .ordinary)
    }

    /// Sends a new check on a pair; `reason` nomination carries USE-CANDIDATE.
    mutating func sendCheck(_ pair: CheckPair, _ reason: ICEDecision.CheckReason) {
        guard let remoteCredentials else { return }
        let isNomination = reason == .nomination
        checklist.update(pair.id) {
            if !isNomination { $0.state = .inProgress }
            $0.counters.requestsSent += 1
        }
        let request = bindingRequest(pair, credentials: remoteCredentials, useCandidate: isNomination)
        // RFC 8445 §14.3 multiplies by the number of checks twice over, seconds for ten pairs, and allows other ways:
        // one round of all open checks is what keeps the rate.
        let rto = max(configuration.initialRTO, .milliseconds(500), pacing * checklist.activeCount)
        let copies = retransmissions(of: pair, ordinary: rto)
        start(
            request, .check(pair: pair.id, isNomination: isNomination), base: pair.base,
            to: remotes[pair.remote].address, rto: copies.rto, copies: copies.copies)
        counters.checksSent += 1
        nextCheck = clock + pacing
        if consent?.pair == pair.id { consent?.sent(now: clock) }
        note(.checkSent(name(pair), request.id, reason))
    }

    private struct Request {
        let id: STUNTransactionID
        let priority: UInt32
        let payload: [UInt8]
    }

    /// A check (RFC 8445 §7.2.4).
    private mutating func bindingRequest(
        _ pair: CheckPair, credentials: ICECredentials, useCandidate: Bool
    ) -> Request {
        let id = STUNTransactionID(using: &entropy)
        // RFC 8445 §7.1.1: as a peer-reflexive candidate would have it.
        let priority = ICECandidate.priority(
            .peerReflexive, localPreference: bases[pair.base].preference, transport: transport(of: pair.base))
        var message = STUNMessage(.request, transactionID: id)
        message.append(.username, "\(credentials.ufrag):\(localCredentials.ufrag)")
        message.append(.priority, priority)
        message.append(role == .controlling ? .iceControlling : .iceControlled, tieBreaker)
        if useCandidate { message.append(.useCandidate) }
        let payload = message.encoded(integrity: STUNIntegrity(key: Array(credentials.password.utf8)))
        return Request(id: id, priority: priority, payload: payload)
    }

    private mutating func start(
        _ request: Request, _ purpose: Transaction.Purpose, base: Int, to destination: SocketAddress, rto: Duration,
        copies: Int
    ) {
        let transaction = Transaction(
            id: request.id, purpose: purpose, base: base, destination: destination, payload: request.payload,
            priority: request.priority, role: role, sentAt: clock, rto: rto, copies: copies)
        transactions.append(transaction)
        transmit(request.payload, from: base, to: destination)
    }

    private mutating func retransmit(_ transaction: Transaction) {
        transmit(transaction.payload, from: transaction.base, to: transaction.destination)
        counters.retransmissions += 1
        if let id = transaction.purpose.pair, let pair = checklist[id: id] {
            note(.checkRetransmitted(name(pair), transaction.id, attempt: transaction.sent))
        }
    }

    private mutating func timedOut(_ transaction: Transaction) {
        guard !transaction.isCancelled else { return }
        switch transaction.purpose {
        case .check(let pair, let isNomination): checkFailed(pair, silence(of: pair), isNomination: isNomination)
        case .gather(let request): gatheringFailed(request, .timeout)
        case .consent: break
        }
    }

    // MARK: Gathering

    private mutating func advanceGathering() {
        switch gathering.takeRequest(now: clock, pacing: pacing) {
        case .reflexive(let index): askServer(index, isRefresh: false)
        case .relay(let index): startRelay(index)
        case nil: break
        }
        while let index = gathering.takeRefresh(now: clock) { askServer(index, isRefresh: true) }
        if let end = gathering.finish(now: clock) { completeGathering(end) }
    }

    /// Reports that no more candidates will come.
    mutating func completeGathering(_ end: ICEDecision.GatheringEnd) {
        // Answers that come later would show candidates that may not be told any more (RFC 8838 §13).
        let open = gathering.requests.indices.filter { gathering.requests[$0].state == .asked }
        transactions.removeAll { open.map(Transaction.Purpose.gather).contains($0.purpose) }
        for index in open { gatheringFailed(index, .timeout) }
        stopPendingRelays()
        note(.gatheringCompleted(end))
        outbox.append(.event(.gatheringComplete))
    }

    private mutating func askServer(_ index: Int, isRefresh: Bool) {
        let (base, server) = (gathering.requests[index].base, gathering.requests[index].server)
        let id = STUNTransactionID(using: &entropy)
        let payload = STUNMessage(.request, transactionID: id).encoded()
        // RFC 8445 §14.3.
        let rto = max(configuration.initialRTO, .milliseconds(500), pacing * gathering.requests.count)
        start(
            Request(id: id, priority: 0, payload: payload), .gather(request: index), base: base, to: server, rto: rto,
            copies: Transaction.maximumCopies)
        if !isRefresh { note(.serverAsked(server, from: bases[base].address)) }
    }

    mutating func gatheringFailed(_ index: Int, _ reason: ICEDecision.FailureReason) {
        guard gathering.requests.indices.contains(index) else { return }
        let request = gathering.requests[index]
        gathering.failed(index)
        note(.serverFailed(request.server, from: bases[request.base].address, reason))
    }

    // MARK: Consent and keepalives

    /// Tells that data left on the selected pair, which makes a keepalive needless. Optional.
    public mutating func noteDataSent(now: Timestamp) {
        clock = max(clock, now)
        consent?.sent(now: clock)
    }

    private mutating func advanceConsent() {
        guard var monitor = consent else { return }
        guard let pair = checklist[id: monitor.pair] else {
            // It had failed, and gave way to another.
            note(.failed(.consentLost))
            end(.failed)
            return
        }
        if let expiry = monitor.expiry, expiry <= clock {
            loseConsent(pair, silence(of: pair.id))
            return
        }
        if let due = monitor.nextRequest, due <= clock {
            askConsent(pair)
            monitor.sent(now: clock)
            monitor.schedule(now: clock, configuration: configuration, entropy: &entropy)
        }
        if monitor.keepaliveDue <= clock {
            // RFC 8445 §11: FINGERPRINT and nothing else.
            let indication = STUNMessage(.indication, transactionID: STUNTransactionID(using: &entropy))
            transmit(indication.encoded(), from: pair.base, to: remotes[pair.remote].address)
            monitor.sent(now: clock)
            note(.keepaliveSent(name(pair)))
        }
        consent = monitor
        if monitor.expiry != nil, monitor.lastAnswer + configuration.disconnectedTimeout <= clock {
            setState(.disconnected)
        }
    }

    /// Asks for consent on a pair.
    mutating func askConsent(_ pair: CheckPair) {
        guard let remoteCredentials else { return }
        let request = bindingRequest(pair, credentials: remoteCredentials, useCandidate: false)
        // RFC 7675 §5.1: one copy, a new transaction each. An answer counts until consent would have ended.
        start(
            request, .consent(pair: pair.id), base: pair.base, to: remotes[pair.remote].address,
            rto: configuration.consentTimeout / Transaction.finalWait, copies: 1)
        checklist.update(pair.id) { $0.counters.consentRequestsSent += 1 }
        note(.consentAsked(name(pair), request.id))
    }

    /// The peer does not want packets any more, or is gone; with these credentials nothing is sent again (RFC 7675
    /// §5.1).
    mutating func loseConsent(_ pair: CheckPair, _ reason: ICEDecision.FailureReason) {
        note(.consentLost(name(pair), reason))
        note(.failed(.consentLost))
        end(.failed)
    }
}
