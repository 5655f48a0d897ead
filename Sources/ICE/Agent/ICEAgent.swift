// SPDX-License-Identifier: Apache-2.0
public import Wire

// addLocalAddress ─▶ gather ─▶ .localCandidate …, .gatheringComplete        RFC 8445 §5.1
// setRemote, addRemoteCandidate ─▶ pairs ─▶ checks ─▶ a valid pair           §6, §7: .stateChanged(.connected)
// controlling: USE-CANDIDATE ─▶ the nominated pair                           §8: .stateChanged(.completed)
// consent every 4 to 6 s until close or failure                              RFC 7675

/// A full ICE agent for one data stream of one component (RFC 8445), with trickle (RFC 8838), consent (RFC 7675) and
/// patience (RFC 8863), as a value without I/O.
///
/// Addresses are those of bound UDP sockets; datagrams name the socket they leave from. With TURN servers the driver may have to
/// open more of them, and streams: see ``RelayRequest``. Many agents may share a socket:
/// requests are told apart by ``STUNMessage/recipientUfrag(in:)``, responses by ``ownsTransaction(_:)``, other packets by
/// ``mayReceiveData(from:to:)``.
///
/// The first check leaves in the drain that follows the calls which made it possible, so that several candidates added
/// before it compete for it.
public struct ICEAgent: ~Copyable, Sendable, SansIO {
    /// What the agent was told.
    public let configuration: Configuration
    /// What the peer must know to check this agent.
    public let localCredentials: ICECredentials
    /// What this agent checks the peer with, once known.
    public internal(set) var remoteCredentials: ICECredentials?
    /// Who chooses the pair. Role conflicts may change it.
    public internal(set) var role: Role
    /// How far the agent has come.
    public internal(set) var state = State.new
    /// Whether local candidates may still come.
    public var isGatheringComplete: Bool { gathering.isComplete }
    /// What was dropped and sent.
    public internal(set) var counters = Counters()

    var entropy: Entropy
    var outbox = Outbox()
    /// The latest time that anyone told.
    var clock = Timestamp(nanoseconds: .min)
    var tieBreaker: UInt64
    var bases: [Base] = []
    var locals: [LocalCandidate] = []
    var foundations: [FoundationClass] = []
    var remotes: [RemoteCandidate] = []
    var learnedCount = 0
    var remoteEnded = false
    var checklist = Checklist()
    var transactions = TransactionTable()
    var gathering = Gathering()
    var earlyChecks: [EarlyCheck] = []
    /// Where authentic checks, or answers to ours, came from.
    var provenSources: Set<SocketAddress> = []
    /// Ta as both sides agreed.
    var pacing: Duration
    /// When the next check may leave; set once the peer's credentials are known.
    var nextCheck: Timestamp?
    var pacDeadline: Timestamp?
    var nomination = Nomination.none
    var selected: Int?
    var consent: ConsentMonitor?
    /// Controlled: a pair that works was checked once more for the peer's sake.
    var hasCheckedAgain = false
    /// When answers alone are given to checks of other pairs than the nominated one (RFC 8445 §8.3.1).
    var quietAt: Timestamp?
    /// The local addresses that servers are asked from; with the policy `relay` they are no bases.
    var sockets: [SocketAddress] = []
    var relays: [Relay] = []
    var lastLink = 0
    var hasTidiedRelays = false
    var relayedPackets: [RelayedPacket] = []
    var relayedHead = 0
    /// What the peer's NAT does, where that is known.
    var remoteNAT: NATBehavior?
    /// Whether both sides let a direct pair take the place of a nominated one with a relay in it.
    var mayRenominate = false
    /// The names that stand for addresses of this host in candidates.
    public internal(set) var hostNames: [HostName] = []
    /// Until when no checks are sent but those that the peer's bring about.
    var heldUntil: Timestamp?
    var probing = BirthdayProbing()
    /// Connections to and from the peer over TCP.
    var streams: [PeerStream] = []
    /// The nominated pair's connection is gone and does not come back.
    var hasFailedToReopen = false

    /// Where checks come from and are sent from: a local socket, or an address that a relay lends.
    struct Base {
        let address: SocketAddress
        /// Bits 8 to 23 of the priorities of candidates with this base.
        let preference: UInt16
        /// The candidate of the address itself.
        let host: Int
        /// The relay that lends it.
        var relay: Int?
        /// Where packets go over connections of TCP: who opens them.
        var tcp: ICECandidate.TCPType?
        /// The host has this address no more.
        var isGone = false
    }

    struct LocalCandidate {
        let candidate: ICECandidate
        let address: SocketAddress
        let base: Int
    }

    struct RemoteCandidate {
        var candidate: ICECandidate
        /// Without a zone, which means nothing to others.
        let address: SocketAddress
        var isLearned: Bool
    }

    /// A check that came before the peer's credentials were known (RFC 8445 §7.3).
    struct EarlyCheck {
        let base: Int
        let source: SocketAddress
        let ufrag: Substring
        let priority: UInt32
        var useCandidate: Bool
    }

    enum Nomination: Hashable {
        /// Nothing is chosen; `until` is when to choose from what there is.
        case none
        case deferred(until: Timestamp)
        /// A check with USE-CANDIDATE is on its way for this pair.
        case inProgress(pair: Int)
        case done(pair: Int)
    }

    /// An agent that has no addresses yet. All its randomness comes from `entropy`.
    public init(configuration: Configuration, entropy: Entropy) {
        self.configuration = configuration
        self.entropy = entropy
        role = configuration.role
        localCredentials = ICECredentials(using: &self.entropy)
        tieBreaker = self.entropy.next()
        pacing = max(configuration.checkInterval, .milliseconds(5))
        hostNames = configuration.hostNames
    }

    // MARK: Queries

    /// The pair that data goes to: the nominated one, before that the best that works.
    public var selectedPair: ICECandidatePair? {
        guard let selected, let pair = checklist[id: selected] else { return nil }
        return snapshot(pair)
    }

    /// The local candidates told so far, and those that the peer's answers showed; without those of addresses that are
    /// gone.
    public var localCandidates: [ICECandidate] {
        locals.compactMap { bases[$0.base].isGone ? nil : $0.candidate }
    }
    /// The peer's candidates, signalled and learned.
    public var remoteCandidates: [ICECandidate] { remotes.map(\.candidate) }
    /// The checklist, best pair first.
    public var candidatePairs: [ICECandidatePair] { checklist.pairs.map { snapshot($0) } }

    /// The checks of a pair, by the number in its name; zeros for one that is not on the checklist.
    public func counters(ofPair id: Int) -> ICECandidatePair.Counters {
        checklist[id: id]?.counters ?? .init()
    }

    /// Whether a response with this transaction is for this agent.
    public func ownsTransaction(_ id: STUNTransactionID) -> Bool {
        transactions.index(of: id) != nil
    }

    /// Whether a packet that is not STUN may be the peer's: its source is a candidate of the peer that could be paired
    /// with the local address. Who sent it is for DTLS to prove.
    public func mayReceiveData(from source: SocketAddress, to destination: SocketAddress) -> Bool {
        hasBase(destination) && (remoteIndex(of: source) ?? remoteIndex(of: source, over: .tcp)) != nil
    }

    /// Whether the peer has shown, with the password of a check or of an answer, that it is behind `source`. Before
    /// that a packet from there may have been sent by anybody who can forge addresses, and should cost nothing.
    public func isProven(_ source: SocketAddress, to destination: SocketAddress) -> Bool {
        hasBase(destination)
            && provenSources.contains(SocketAddress(ip: source.ip.withoutScope, port: source.port))
    }

    private func hasBase(_ address: SocketAddress) -> Bool {
        baseIndex(of: address) != nil || bases.contains { $0.tcp != nil && $0.address == address && !$0.isGone }
    }

    /// Notes that the peer is behind an address; as many are kept as candidates are.
    mutating func prove(_ source: SocketAddress, base: Int) {
        if bases[base].tcp != nil, let stream = streamIndex(base, source) {
            streams[stream].isProven = true
            hasFailedToReopen = false
        }
        let limit = configuration.maximumCandidates + configuration.maximumLearnedCandidates
        if provenSources.count < limit { provenSources.insert(source) }
    }

    // MARK: Input

    /// Takes a datagram; what is no STUN message for this agent is dropped and counted.
    public mutating func receive(
        _ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress, now: Timestamp
    ) {
        clock = max(clock, now)
        guard !hasEnded else {
            counters.ignored += 1
            return
        }
        if usesRelays {
            switch unwrap(bytes, from: source, to: destination, now: now) {
            case .direct:
                break
            case .consumed:
                return
            case .relayed(let peer, let address, let range):
                guard let base = baseIndex(of: address) else { return }
                receiveMessage(bytes.extracting(range), from: peer, base: base)
                return
            }
        }
        guard let base = baseIndex(of: destination) ?? takeIntoUse(destination, for: bytes) else {
            counters.ignored += 1
            return
        }
        receiveMessage(bytes, from: source, base: base)
    }

    mutating func receiveMessage(_ bytes: RawSpan, from source: SocketAddress, base: Int) {
        guard !hasEnded else { return }
        guard let message = try? STUNMessage(decoding: bytes) else {
            counters.malformed += 1
            return
        }
        guard message.fingerprint != .invalid else {
            counters.badFingerprints += 1
            return
        }
        guard message.method == .binding else {
            counters.ignored += 1
            return
        }
        let source = SocketAddress(ip: source.ip.withoutScope, port: source.port)
        switch message.messageClass {
        case .request: handleRequest(message, bytes, from: source, base: base)
        case .indication: counters.indications += 1
        case .success, .error: handleResponse(message, bytes, from: source, base: base)
        }
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        clock = max(clock, now)
        advance()
    }

    /// The next thing to do. Ask until the answer is ``Output/wait(until:)``.
    public mutating func nextOutput() -> Output<Event> {
        if let output = outbox.next() { return output }
        advance()
        return outbox.next() ?? .wait(until: nextDeadline)
    }

    /// Ends the agent: nothing is sent or answered from now on. Harmless when repeated.
    public mutating func close() {
        guard state != .closed else { return }
        end(.closed)
    }

    // MARK: Shared by the parts

    var hasEnded: Bool { state == .failed || state == .closed }

    mutating func end(_ final: State) {
        releaseAllRelays()
        closeAllStreams()
        stopProbing()
        transactions.removeAll()
        earlyChecks.removeAll()
        consent = nil
        nextCheck = nil
        pacDeadline = nil
        quietAt = nil
        gathering.stop()
        setState(final)
    }

    mutating func setState(_ new: State) {
        guard new != state else { return }
        state = new
        outbox.append(.event(.stateChanged(new)))
    }

    /// Reports a decision if anyone listens.
    mutating func note(_ action: ICEDecision.Action) {
        guard configuration.reportsDecisions else { return }
        outbox.append(.event(.decision(ICEDecision(time: clock, action: action))))
    }

    mutating func transmit(_ payload: [UInt8], from base: Int, to destination: SocketAddress) {
        guard !bases[base].isGone else { return }
        if bases[base].tcp != nil { return transmitStream(payload, from: base, to: destination) }
        if let relay = bases[base].relay {
            relays[relay].client.send(payload, to: destination, now: clock)
            pumpRelay(relay)
            return
        }
        outbox.append(
            .transmit(Datagram(source: bases[base].address, destination: scoped(destination, base), payload: payload)))
    }

    /// A destination with the zone that its base is in, where one is needed (RFC 4007 §6).
    func scoped(_ destination: SocketAddress, _ base: Int) -> SocketAddress {
        guard destination.ip.family == .v6, destination.ip.isLinkLocal else { return destination }
        let ip = IPAddress.v6(
            high: destination.ip.high, low: destination.ip.low, scopeID: bases[base].address.ip.scopeID)
        return SocketAddress(ip: ip, port: destination.port)
    }

    /// The base for datagrams to an address.
    func baseIndex(of address: SocketAddress) -> Int? {
        bases.firstIndex { $0.address == address && !$0.isGone && $0.tcp == nil }
            ?? bases.firstIndex {
                $0.address.port == address.port && $0.address.ip.withoutScope == address.ip.withoutScope && !$0.isGone
                    && $0.tcp == nil
            }
    }

    func remoteIndex(of address: SocketAddress, over transport: ICECandidate.Transport = .udp) -> Int? {
        let plain = SocketAddress(ip: address.ip.withoutScope, port: address.port)
        return remotes.firstIndex { $0.address == plain && $0.candidate.transport == transport }
    }

    func name(_ pair: CheckPair) -> ICECandidatePair.Name {
        ICECandidatePair.Name(
            id: pair.id, base: bases[pair.base].address, remote: scoped(remotes[pair.remote].address, pair.base))
    }

    func snapshot(_ pair: CheckPair) -> ICECandidatePair {
        ICECandidatePair(
            name: name(pair), local: locals[pair.validLocal ?? bases[pair.base].host].candidate,
            remote: remotes[pair.remote].candidate, priority: pair.priority, state: pair.state,
            isNominated: nomination == .done(pair: pair.id), roundTripTime: pair.roundTripTime)
    }
}

/// What waits to be drained, in order.
struct Outbox: Sendable {
    private var entries: [Output<ICEAgent.Event>] = []
    private var head = 0

    mutating func append(_ output: Output<ICEAgent.Event>) {
        entries.append(output)
    }

    mutating func next() -> Output<ICEAgent.Event>? {
        guard head < entries.count else { return nil }
        defer {
            head += 1
            if head == entries.count {
                entries.removeAll(keepingCapacity: true)
                head = 0
            }
        }
        return entries[head]
    }
}
