// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// One side of an encounter: an ICE agent on a host of a virtual network, and the data that it sends once it may.
final class LabAgent {
    let host: VirtualNetwork.HostID
    /// What stands for it in results: A or B.
    let name: String
    private(set) var agent: ICEAgent
    /// When the agent wants to be called; `nil` for never.
    private(set) var deadline: Timestamp?
    /// The descriptions' candidates so far, and when there were no more.
    private(set) var candidates: [ICECandidate] = []
    private(set) var gatheredAt: Timestamp?
    /// When a pair worked first.
    private(set) var connectedAt: Timestamp?
    /// Where the peer's data came from, and when it came first.
    private(set) var dataSource: SocketAddress?
    private(set) var dataArrivedAt: Timestamp?
    /// When data goes out next; it is repeated, as a first packet may find the other's filter closed.
    private var nextData = Timestamp.distantFuture
    private(set) var packets = 0
    private(set) var bytes = 0

    /// The payload of data. Its first byte is one of DTLS (RFC 7983 §7).
    static let data = [UInt8](repeating: 22, count: 100)
    private static let dataInterval = Duration.milliseconds(200)

    init(
        _ name: String, on host: VirtualNetwork.HostID, in network: borrowing VirtualNetwork,
        configuration: ICEAgent.Configuration, entropy: Entropy, now: Timestamp
    ) {
        self.name = name
        self.host = host
        agent = ICEAgent(configuration: configuration, entropy: entropy)
        // RFC 6335 §6: ports that nobody is registered for.
        let addresses = network.addresses(of: host).map { SocketAddress(ip: $0, port: 49_152) }
        for address in ICEAgent.preferenceOrder(of: addresses) { agent.addLocalAddress(address, now: now) }
        agent.gather(now: now)
    }

    var state: ICEAgent.State { agent.state }
    var credentials: ICECredentials { agent.localCredentials }
    /// Whether the encounter is over for this side, well or not.
    var isSettled: Bool { dataArrivedAt != nil || state == .failed }

    /// When this side is to be called.
    var nextDeadline: Timestamp? { [deadline, nextData == .distantFuture ? nil : nextData].compactMap { $0 }.min() }

    /// The kind of the selected pair's candidate of this side.
    var kind: String { agent.selectedPair.map { $0.local.kind.rawValue } ?? "" }

    /// Takes the peer's description.
    func accept(_ peer: LabAgent, now: Timestamp) {
        // Credentials are fresh, and set once.
        try? agent.setRemote(credentials: peer.credentials, now: now)
        for candidate in peer.candidates { agent.addRemoteCandidate(candidate, now: now) }
        agent.endOfRemoteCandidates(now: now)
    }

    func receive(_ datagram: Datagram, now: Timestamp) {
        let bytes = datagram.payload.span.bytes
        if STUNMessage.isSTUN(bytes) {
            agent.receive(bytes, from: datagram.source, to: datagram.destination, now: now)
        } else if dataArrivedAt == nil, datagram.payload == Self.data {
            dataArrivedAt = now
            dataSource = datagram.source
        }
    }

    /// Lets the agent and the data go on, and sends what they want sent.
    func proceed(_ network: inout VirtualNetwork, now: Timestamp) {
        if let deadline, deadline <= now { agent.handleTimeout(now: now) }
        drain: while true {
            switch agent.nextOutput() {
            case .transmit(let datagram): send(datagram, &network, now)
            case .event(let event): note(event, now)
            case .wait(let until):
                deadline = until
                break drain
            }
        }
        guard nextData <= now, let pair = agent.selectedPair else { return }
        nextData = now + Self.dataInterval
        send(
            Datagram(source: pair.localAddress, destination: pair.remoteAddress, payload: Self.data), &network, now)
    }

    /// Nothing more needs to be sent.
    func stopSending() { nextData = .distantFuture }

    private func send(_ datagram: Datagram, _ network: inout VirtualNetwork, _ now: Timestamp) {
        packets += 1
        bytes += datagram.payload.count
        network.send(datagram, from: host, now: now)
    }

    private func note(_ event: ICEAgent.Event, _ now: Timestamp) {
        switch event {
        case .localCandidate(let candidate): candidates.append(candidate)
        case .gatheringComplete: gatheredAt = now
        case .stateChanged(let state):
            if state == .connected || state == .completed, connectedAt == nil {
                connectedAt = now
                nextData = now
            }
        case .selectedPair, .decision, .relay: break
        }
    }
}
