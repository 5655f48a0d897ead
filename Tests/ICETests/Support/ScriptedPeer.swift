// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// One agent, and a peer that does exactly what a test says.
final class ScriptedPeer {
    var agent: ICEAgent
    var now = Timestamp.zero
    let local = address("192.0.2.1:5000")
    let remote = address("192.0.2.2:6000")
    /// Those of the peer.
    let credentials: ICECredentials
    var tieBreaker: UInt64 = 1 << 63
    var sent: [(time: Timestamp, datagram: Datagram)] = []
    private(set) var events: [ICEAgent.Event] = []
    private(set) var deadline: Timestamp?
    private var entropy: Entropy

    init(
        role: ICEAgent.Role = .controlling, seed: UInt64 = 9,
        _ configure: (inout ICEAgent.Configuration) -> Void = { _ in }
    ) {
        entropy = Entropy(seed: seed)
        var configuration = ICEAgent.Configuration()
        configuration.role = role
        configuration.reportsDecisions = true
        configure(&configuration)
        agent = ICEAgent(configuration: configuration, entropy: entropy.split())
        credentials = ICECredentials(using: &entropy)
        agent.addLocalAddress(local, now: now)
        drain()
    }

    var state: ICEAgent.State { agent.state }
    var role: ICEAgent.Role { agent.role }
    var pair: ICECandidatePair? { agent.selectedPair }
    var pairs: [ICECandidatePair] { agent.candidatePairs }
    var counters: ICEAgent.Counters { agent.counters }
    var remoteCandidates: [ICECandidate] { agent.remoteCandidates }
    var localCandidates: [ICECandidate] { agent.localCandidates }
    var actions: [ICEDecision.Action] {
        events.compactMap { if case .decision(let decision) = $0 { decision.action } else { nil } }
    }

    /// A candidate of the peer.
    func candidate(
        _ text: String, kind: ICECandidate.Kind = .host, priority: UInt32 = 2_130_706_431, foundation: String = "1"
    ) -> ICECandidate {
        ICECandidate(foundation: foundation, priority: priority, address: address(text), kind: kind)
    }

    /// Makes the peer known, with one candidate, and ends both sides' candidates.
    func start(candidates: [ICECandidate]? = nil, lite: Bool = false, ended: Bool = true) {
        agent.gather(now: now)
        try? agent.setRemote(credentials: credentials, lite: lite, now: now)
        for candidate in candidates ?? [candidate("192.0.2.2:6000")] { agent.addRemoteCandidate(candidate, now: now) }
        if ended { agent.endOfRemoteCandidates(now: now) }
        drain()
    }

    /// Connects and nominates.
    func complete() {
        start()
        answerAll()
        if role == .controlled { receive(check { $0.append(.useCandidate) }) }
        answerAll()
        precondition(state == .completed)
    }

    func drain() {
        while true {
            switch agent.nextOutput() {
            case .transmit(let datagram): sent.append((now, datagram))
            case .event(let event): events.append(event)
            case .wait(let until):
                deadline = until
                return
            }
        }
    }

    /// Lets time pass, serving every deadline.
    func advance(_ duration: Duration) {
        let end = now + duration
        while let next = deadline, next <= end {
            precondition(next > now, "the agent waits for a time that has passed")
            now = next
            agent.handleTimeout(now: now)
            drain()
        }
        now = end
        agent.handleTimeout(now: now)
        drain()
    }

    /// The requests sent since the last time this was asked.
    func takeRequests() -> [STUNMessage] { takeMessages().filter { $0.messageClass == .request } }

    func takeMessages() -> [STUNMessage] {
        defer { sent.removeAll() }
        return sent.compactMap { try? decode($0.datagram.payload) }
    }

    func receive(_ bytes: [UInt8], from source: SocketAddress? = nil, to destination: SocketAddress? = nil) {
        bytes.withSpan { agent.receive($0, from: source ?? remote, to: destination ?? local, now: now) }
        drain()
    }

    /// A check of the peer, authenticated unless told otherwise.
    func check(
        ufrag: String? = nil, password: String? = nil, own: String? = nil, role claimed: ICEAgent.Role? = nil,
        fingerprint: Bool = true, integrity: Bool = true, algorithm: STUNIntegrity.Algorithm = .sha1,
        _ change: (inout STUNMessage) -> Void = { _ in }
    ) -> [UInt8] {
        var message = STUNMessage(.request, transactionID: STUNTransactionID(using: &entropy))
        message.append(.username, "\(ufrag ?? agent.localCredentials.ufrag):\(own ?? credentials.ufrag)")
        message.append(.priority, UInt32(0x6E7F_FFFF))
        let theirs = claimed ?? (role == .controlling ? .controlled : .controlling)
        message.append(theirs == .controlling ? .iceControlling : .iceControlled, tieBreaker)
        change(&message)
        let key = Array((password ?? agent.localCredentials.password).utf8)
        return message.encoded(
            integrity: integrity ? STUNIntegrity(key: key, algorithm: algorithm) : nil, fingerprint: fingerprint)
    }

    /// The peer's answer to a request of the agent.
    func response(
        to request: STUNMessage, mapped: SocketAddress? = nil, error: STUNErrorCode? = nil, password: String? = nil,
        fingerprint: Bool = true, integrity: Bool = true, algorithm: STUNIntegrity.Algorithm = .sha1,
        _ change: (inout STUNMessage) -> Void = { _ in }
    ) -> [UInt8] {
        var message = STUNMessage(error == nil ? .success : .error, transactionID: request.transactionID)
        if let error { message.append(error) } else { message.append(xorAddress: mapped ?? local) }
        change(&message)
        let key = Array((password ?? credentials.password).utf8)
        return message.encoded(
            integrity: integrity ? STUNIntegrity(key: key, algorithm: algorithm) : nil, fingerprint: fingerprint)
    }

    /// Answers all requests, and those that follow at once.
    func answerAll() {
        while true {
            let open = sent.compactMap { entry in
                (try? decode(entry.datagram.payload)).map { ($0, entry.datagram.destination) }
            }.filter { $0.0.messageClass == .request }
            sent.removeAll()
            guard !open.isEmpty else { return }
            for (request, destination) in open { receive(response(to: request), from: destination) }
        }
    }
}
