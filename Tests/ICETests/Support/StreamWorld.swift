// SPDX-License-Identifier: Apache-2.0
import ICE
import Wire

/// Hosts with agents, and between them datagrams and connections on virtual time.
final class StreamWorld {
    /// A host with an agent.
    final class Host {
        var agent: ICEAgent
        let address: SocketAddress
        let listener: SocketAddress
        var deadline: Timestamp?
        var decisions: [ICEDecision.Action] = []
        /// What the agent had its driver open and close.
        var opened: [RelayLink] = []
        var closed: [RelayLink] = []

        init(_ agent: consuming ICEAgent, _ address: SocketAddress, _ listener: SocketAddress) {
            self.agent = agent
            self.address = address
            self.listener = listener
        }

        var state: ICEAgent.State { agent.state }
        var pair: ICECandidatePair? { agent.selectedPair }
        var pairs: [ICECandidatePair] { agent.candidatePairs }
        var candidates: [ICECandidate] { agent.localCandidates }
        var needsRestart: Bool { agent.needsRestart }
        var link: RelayLink? { pair.flatMap { agent.stream(from: $0.localAddress, to: $0.remoteAddress) } }

        func received() -> [ICEAgent.RelayedPacket] {
            var all: [ICEAgent.RelayedPacket] = []
            while let packet = agent.nextRelayedPacket() { all.append(packet) }
            return all
        }
    }

    private(set) var now = Timestamp.zero
    var hosts: [Host] = []
    /// Whether datagrams arrive.
    var blocksUDP = false
    /// How many bytes of a stream come at once.
    var longestRead = 700
    let latency = Duration.milliseconds(5)
    /// The two ends of each connection.
    private(set) var ends: [RelayLink: (host: Host, other: RelayLink)] = [:]
    private var queue: [(time: Timestamp, action: () -> Void)] = []
    private var entropy: Entropy
    private var nextPort: UInt16 = 40_000

    init(seed: UInt64) { entropy = Entropy(seed: seed) }

    func add(_ ip: String, _ configure: (inout ICEAgent.Configuration) -> Void = { _ in }) -> Host {
        var configuration = ICEAgent.Configuration()
        configuration.reportsDecisions = true
        configuration.tcpCandidates = .both
        configure(&configuration)
        let host = Host(
            ICEAgent(configuration: configuration, entropy: entropy.split()), address("\(ip):5000"),
            address("\(ip):6000"))
        host.agent.addLocalAddress(host.address, now: now)
        host.agent.addLocalListener(host.listener, now: now)
        host.agent.gather(now: now)
        drain(host)
        hosts.append(host)
        return host
    }

    /// Gives each side what it may know of the other.
    func connect(_ first: Host, _ second: Host, telling isTold: (ICECandidate) -> Bool = { _ in true }) {
        second.agent.setRole(.controlled)
        for (one, other) in [(first, second), (second, first)] {
            try? one.agent.setRemote(credentials: other.agent.localCredentials, now: now)
            for candidate in other.candidates where isTold(candidate) {
                // As signalling has it.
                if let read = ICECandidate(sdp: candidate.description) { one.agent.addRemoteCandidate(read, now: now) }
            }
            one.agent.endOfRemoteCandidates(now: now)
        }
        run(for: .zero)
    }

    func run(for duration: Duration) {
        let limit = now + duration
        while true {
            for host in hosts { drain(host) }
            let deadline = hosts.compactMap(\.deadline).min() ?? .distantFuture
            let next = min(queue.first?.time ?? .distantFuture, deadline)
            guard next <= limit else { break }
            precondition(deadline > now, "an agent waits for a time that has passed")
            now = max(now, next)
            while let first = queue.first, first.time <= now {
                queue.removeFirst()
                first.action()
            }
            for host in hosts where host.deadline.map({ $0 <= now }) ?? false { host.agent.handleTimeout(now: now) }
        }
        now = limit
    }

    /// Sends a packet over a host's connection.
    func send(_ packet: [UInt8], from host: Host) {
        guard let link = host.link else { return }
        transmit(FrameReader.frame(packet), over: link)
    }

    /// The network ends a connection.
    func cut(_ link: RelayLink) {
        guard let (other, name) = ends.removeValue(forKey: link) else { return }
        let host = ends.removeValue(forKey: name)?.host
        host?.agent.relayClosed(link, now: now)
        other.agent.relayClosed(name, now: now)
    }

    private func after(_ delay: Duration, _ action: @escaping () -> Void) {
        let time = now + delay
        let index = queue.lastIndex { $0.time <= time }.map { $0 + 1 } ?? 0
        queue.insert((time, action), at: index)
    }

    private func drain(_ host: Host) {
        while true {
            switch host.agent.nextOutput() {
            case .transmit(let datagram):
                guard !blocksUDP, let other = hosts.first(where: { $0.address == datagram.destination })
                else { continue }
                after(latency) { [self] in
                    datagram.payload.withSpan {
                        other.agent.receive($0, from: datagram.source, to: datagram.destination, now: now)
                    }
                }
            case .event(.relay(let request)): serve(request, of: host)
            case .event(.decision(let decision)): host.decisions.append(decision.action)
            case .event: break
            case .wait(let deadline):
                host.deadline = deadline
                return
            }
        }
    }

    private func serve(_ request: RelayRequest, of host: Host) {
        switch request {
        case .open(let link, _, let target, _, let from):
            host.opened.append(link)
            nextPort += 1
            let local = SocketAddress(ip: from ?? host.address.ip, port: nextPort)
            after(latency) { [self] in
                guard let other = hosts.first(where: { $0.listener == target }),
                    let name = other.agent.streamAccepted(from: local, to: target, now: now)
                else { return host.agent.relayClosed(link, .unreachable, now: now) }
                ends[link] = (other, name)
                ends[name] = (host, link)
                after(latency) { host.agent.relayOpened(link, local: local, now: self.now) }
            }
        case .send(let link, let bytes):
            transmit(bytes, over: link)
        case .close(let link):
            host.closed.append(link)
            after(latency) { [self] in
                guard let (other, name) = ends.removeValue(forKey: link) else { return }
                ends[name] = nil
                other.agent.relayClosed(name, now: now)
            }
        }
    }

    private func transmit(_ bytes: [UInt8], over link: RelayLink) {
        after(latency) { [self] in
            var rest = bytes[...]
            while !rest.isEmpty {
                let piece = Array(rest.prefix(longestRead))
                rest = rest.dropFirst(longestRead)
                guard let (other, name) = ends[link] else { return }
                piece.withSpan { other.agent.receive($0, over: name, now: now) }
            }
        }
    }
}
