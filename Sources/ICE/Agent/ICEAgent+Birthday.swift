// SPDX-License-Identifier: Apache-2.0
public import Wire

//   ports unknown, a mapping for each destination            one mapping, a filter that looks at ports
//   384 sockets ── a check each ──▶ NAT: 384 ports  ◀── checks to random ports, 5 ms apart ── one socket
//                                    │ a hit passes the NAT, since this address was sent to from there
//   the socket becomes a base ◀──────┘ answer and triggered check ──▶ a pair, as after any other check
//
// Each packet is a check (RFC 8445 §7.2.4), so that a hit needs no protocol of its own; it is sent once and forgotten.
extension ICEAgent {
    /// Tells which sockets are open after ``PortRequest/open(count:at:toward:packets:)``.
    public mutating func portsOpened(_ sockets: [SocketAddress], now: Timestamp) {
        clock = max(clock, now)
        guard probing.phase == .opening, !hasEnded else {
            outbox.append(.event(.ports(.close(sockets))))
            return
        }
        probing.sockets = sockets
        probing.phase = .running
        probing.nextPacket = clock
        let probes = probing.opensPorts ? 0 : configuration.birthdayBudget?.probes ?? 0
        note(.probingStarted(probing.target, ports: sockets.count, probes: probes))
    }

    /// Tells that nothing may be sent after ``PortRequest/open(count:at:toward:packets:)``.
    public mutating func portsRefused(now: Timestamp) {
        clock = max(clock, now)
        guard probing.phase == .opening, !hasEnded else { return }
        probing.phase = .over
        note(.probingRefused(probing.target))
        if role == .controlling { evaluateNomination() }
    }

    /// Whether packets leave, or are waited for.
    var isProbing: Bool { probing.phase == .opening || probing.phase == .running }

    /// How long that may still take.
    var probingTimeLeft: Duration { isProbing && probing.end > clock ? probing.end - clock : .zero }

    /// Begins, goes on or stops.
    mutating func advanceProbing() {
        guard let budget = configuration.birthdayBudget else { return }
        if probing.phase == .idle { startProbing(budget) }
        guard isProbing else { return }
        if hasDirectPair || isConcluded && !isLookingFurther || probing.end <= clock {
            stopProbing()
            // Nomination may have waited for it.
            if role == .controlling { evaluateNomination() }
            return
        }
        guard probing.phase == .running, probing.nextPacket <= clock else { return }
        sendProbe(budget)
    }

    mutating func stopProbing() {
        guard isProbing else { return }
        let hasLeave = probing.phase == .running
        probing.phase = .over
        note(.probingEnded(packets: probing.sent, reached: hasDirectPair))
        // Who has not answered yet is told when the answer comes.
        guard hasLeave else { return }
        outbox.append(.event(.ports(.close(probing.sockets.filter { !probing.usedSockets.contains($0) }))))
        probing.sockets = Array(probing.usedSockets)
        probing.triedPorts = []
    }

    private var hasDirectPair: Bool {
        checklist.pairs.contains {
            $0.isValid && bases[$0.base].relay == nil && remotes[$0.remote].candidate.kind != .relayed
        }
    }

    /// Begins if both NATs are of the kinds that need it and both sides have an address that is seen outside.
    private mutating func startProbing(_ budget: BirthdayBudget) {
        guard remoteCredentials != nil, configuration.transportPolicy == .all, let own = configuration.localNAT,
            let remoteNAT
        else { return }
        let opens = own.isUnpredictable && remoteNAT.admitsKnownPortsOnly
        guard opens || remoteNAT.isUnpredictable && own.admitsKnownPortsOnly else { return }
        func isWorse(_ first: ICECandidate, _ second: ICECandidate) -> Bool { first.priority < second.priority }
        // What others see: a reflexive address, or the host's own behind a firewall.
        func isOutside(_ candidate: ICECandidate, _ ip: IPAddress) -> Bool {
            candidate.kind != .relayed && candidate.transport == .udp && ip.family == .v4 && ip.isPublic
        }
        let targets = remotes.filter { !$0.isLearned && isOutside($0.candidate, $0.address.ip) }
        let sources = locals.filter { isOutside($0.candidate, $0.address.ip) }
        guard let target = targets.max(by: { isWorse($0.candidate, $1.candidate) }),
            let local = sources.max(by: { isWorse($0.candidate, $1.candidate) })
        else { return }
        probing.target = target.address
        probing.base = local.base
        probing.opensPorts = opens
        probing.end = clock + min(max(budget.duration, .zero), .seconds(60))
        probing.phase = .opening
        let count = opens ? min(max(budget.ports, 1), 4096) : 0
        outbox.append(
            .event(
                .ports(
                    .open(
                        count: count, at: bases[local.base].address.ip, toward: target.address.ip,
                        packets: opens ? count : min(max(budget.probes, 0), Self.portsToGuess.count)))))
    }

    private mutating func sendProbe(_ budget: BirthdayBudget) {
        guard let remoteCredentials else { return }
        var datagram = Datagram(source: bases[probing.base].address, destination: probing.target, payload: [])
        if probing.opensPorts {
            guard probing.sent < probing.sockets.count else {
                // Only the peer's packets can help now.
                probing.nextPacket = probing.end
                return
            }
            datagram.source = probing.sockets[probing.sent]
            // What is to make a mapping need not arrive, and must not where the peer's NAT would take it for a port's
            // owner.
            datagram.hopLimit = configuration.openingHopLimit
        } else {
            guard probing.sent < min(budget.probes, Self.portsToGuess.count), let port = guessPort() else {
                probing.nextPacket = probing.end
                return
            }
            datagram.destination.port = port
        }
        var message = STUNMessage(.request, transactionID: STUNTransactionID(using: &entropy))
        message.append(.username, "\(remoteCredentials.ufrag):\(localCredentials.ufrag)")
        let preference = bases[probing.base].preference
        message.append(.priority, ICECandidate.priority(.peerReflexive, localPreference: preference))
        message.append(role == .controlling ? .iceControlling : .iceControlled, tieBreaker)
        datagram.payload = message.encoded(integrity: STUNIntegrity(key: Array(remoteCredentials.password.utf8)))
        outbox.append(.transmit(datagram))
        probing.sent += 1
        counters.probesSent += 1
        probing.nextPacket = clock + max(budget.interval, .milliseconds(5))
    }

    /// RFC 6335 §6: the system ports are those of servers, and no NAT gives them away (RFC 4787 §4.2.1).
    private static let portsToGuess = UInt16(1024)...UInt16.max

    /// A port that was not tried; `nil` where chance finds none, which at a few thousand of 64,512 it does.
    private mutating func guessPort() -> UInt16? {
        for _ in 0..<64 {
            let offset = entropy.next() % UInt64(Self.portsToGuess.count)
            let port = Self.portsToGuess.lowerBound + UInt16(offset)
            if probing.triedPorts.insert(port).inserted { return port }
        }
        return nil
    }

    /// Makes a base of a socket that was opened for probing and through which the peer came: a check with a right
    /// proof.
    mutating func takeIntoUse(_ socket: SocketAddress, for bytes: RawSpan) -> Int? {
        guard isProbing, probing.usedSockets.count < BirthdayProbing.maximumUsedSockets,
            probing.sockets.contains(socket), let message = try? STUNMessage(decoding: bytes),
            message.messageClass == .request, let algorithm = message.integrityAlgorithm,
            message.isAuthentic(bytes, key: Array(localCredentials.password.utf8), algorithm: algorithm)
        else { return nil }
        probing.usedSockets.insert(socket)
        let preference = UInt16(clamping: 65535 - 16 * bases.count)
        // Nobody is told of it: the peer has found it, and nobody else could.
        let candidate = ICECandidate(
            foundation: foundation(.host, base: socket.ip, server: nil),
            priority: ICECandidate.priority(.host, localPreference: preference), address: socket, kind: .host)
        bases.append(Base(address: socket, preference: preference, host: locals.count))
        locals.append(LocalCandidate(candidate: candidate, address: socket, base: bases.count - 1))
        note(.localCandidateFound(candidate))
        return bases.count - 1
    }
}

extension NATBehavior {
    /// Whether nobody can tell the address that a further destination will see.
    fileprivate var isUnpredictable: Bool { mapping != .endpointIndependent && allocation == .random }

    /// Whether all destinations see one address, and only those get in that were sent to, port and all.
    fileprivate var admitsKnownPortsOnly: Bool {
        mapping == .endpointIndependent && filtering == .addressAndPortDependent
    }
}
