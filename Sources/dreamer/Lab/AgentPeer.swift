// SPDX-License-Identifier: Apache-2.0
import DTLS
import Glibc
import ICE
import NetIO
import Wire

/// One ICE agent over this host's sockets, which tells what becomes of it as JSON lines: the part of `dreamer nat lab`
/// that runs in a namespace. All of it happens on its loop's thread.
final class AgentPeer: @unchecked Sendable {
    private let loop: EventLoop
    private let addresses: [IPAddress]
    private let behavior: NATBehavior?
    private let role: ICEAgent.Role
    private var agent: ICEAgent
    private var sockets: [SocketAddress: UDPSocket] = [:]
    private var streams: [RelayLink: AgentStream] = [:]
    private var timer: LoopTimer?
    private var dataTimer: LoopTimer?
    private var startedAt = MonotonicClock.now
    private var candidates: [ICECandidate] = []
    private var hasConnected = false
    private var hasData = false

    /// What is sent as data; its first byte is one of DTLS (RFC 7983 §7).
    private static let data = [UInt8](repeating: 22, count: 1200)
    private static let dataInterval = Duration.milliseconds(10)
    /// A socket receives a few small packets.
    private static let bufferBytes = 65_536

    /// An agent that starts with ``start()``.
    init(configuration: ICEAgent.Configuration, addresses: [IPAddress]) throws {
        loop = try EventLoop(name: "dreamer-agent")
        self.addresses = addresses
        behavior = configuration.localNAT
        role = configuration.role
        agent = ICEAgent(configuration: configuration, entropy: SystemEntropy.make())
    }

    /// Opens the sockets and gathers.
    func start() {
        loop.execute { [self] in
            timer = loop.makeTimer { [self] in
                agent.handleTimeout(now: loop.now)
                drain()
            }
            dataTimer = loop.makeTimer { [self] in sendData() }
            startedAt = loop.now
            let bound = addresses.compactMap { open($0) }
            for address in ICEAgent.preferenceOrder(of: bound) { agent.addLocalAddress(address, now: loop.now) }
            agent.gather(now: loop.now)
            drain()
        }
    }

    /// Takes the peer's description.
    func accept(_ description: JSON) {
        loop.execute { [self] in
            let now = loop.now
            guard let ufrag = description["ufrag"]?.string, let password = description["pwd"]?.string,
                let credentials = ICECredentials(ufrag: ufrag, password: password)
            else { return tell("failed", ["reason": "the peer's description lacks ufrag or pwd"]) }
            if let text = description["nat"]?.string, let behavior = NATBehavior(text) {
                agent.setRemoteNAT(behavior)
            }
            if description["renomination"]?.bool == true { agent.allowRenomination() }
            let pacing = description["pacing"]?.integer.map { Duration.milliseconds($0) }
            try? agent.setRemote(credentials: credentials, pacing: pacing, now: now)
            for line in description["candidates"]?.array ?? [] {
                if let candidate = line.string.flatMap({ ICECandidate(sdp: $0) }) {
                    agent.addRemoteCandidate(candidate, now: now)
                }
            }
            agent.endOfRemoteCandidates(now: now)
            drain()
            tell("accepted")
        }
    }

    /// Gives back what servers lend, and ends.
    func stop() {
        loop.execute { [self] in
            agent.close()
            drain()
            for socket in sockets.values { socket.close() }
            for stream in streams.values { stream.close() }
        }
        loop.stop()
    }

    /// Opens a socket; its address, `nil` where that does not go.
    private func open(_ address: IPAddress) -> SocketAddress? {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = Self.bufferBytes
        options.sendBufferBytes = Self.bufferBytes
        options.reportsErrors = true
        do throws(NetIOError) {
            let socket = try UDPSocket(bind: SocketAddress(ip: address, port: 0), options: options)
            let local = socket.localAddress
            try socket.start(
                on: loop,
                onReceive: { [weak self] train in
                    for index in 0..<train.count {
                        self?.receive(train[index], from: train.source, to: train.destination)
                    }
                }, onBatchEnd: { [weak self] in self?.drain() },
                onError: { [weak self] error in
                    guard let self else { return }
                    agent.receiveUnreachable(error.destination, from: local, now: loop.now)
                    drain()
                })
            sockets[local] = socket
            return local
        } catch {
            Terminal.note("\(address): \(error)")
            return nil
        }
    }

    // MARK: - In

    private func receive(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        guard agent.usesRelays else { return take(bytes, from: source, to: destination) }
        switch agent.unwrap(bytes, from: source, to: destination, now: loop.now) {
        case .direct: take(bytes, from: source, to: destination)
        case .consumed: break
        case .relayed(let peer, let relayed, let range): take(bytes.extracting(range), from: peer, to: relayed)
        }
    }

    private func take(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        if STUNMessage.isSTUN(bytes) {
            agent.receive(bytes, from: source, to: destination, now: loop.now)
        } else if agent.mayReceiveData(from: source, to: destination) {
            noteData(from: source)
        }
    }

    private func noteData(from source: SocketAddress) {
        guard !hasData else { return }
        hasData = true
        tell("data", ["source": .string("\(source)")])
    }

    // MARK: - Out

    private func drain() {
        while true {
            switch agent.nextOutput() {
            case .transmit(let datagram): send(datagram)
            case .event(let event): handle(event)
            case .wait(let until):
                while let packet = agent.nextRelayedPacket() { noteData(from: packet.source) }
                timer?.arm(at: until)
                return
            }
        }
    }

    private func send(_ datagram: Datagram) {
        let socket = sockets[datagram.source]
        if let hopLimit = datagram.hopLimit {
            socket?.send(datagram.payload.span.bytes, to: datagram.destination, hopLimit: hopLimit)
        } else {
            socket?.send(datagram.payload.span.bytes, to: datagram.destination)
        }
    }

    private func sendData() {
        dataTimer?.arm(at: loop.now + Self.dataInterval)
        guard let pair = agent.selectedPair else { return }
        guard let route = agent.relayRoute(from: pair.localAddress) else {
            sockets[pair.localAddress]?.send(Self.data.span.bytes, to: pair.remoteAddress)
            return
        }
        var plain = PacketBuffer()
        plain.append(Self.data.span.bytes)
        var wrapped = PacketBuffer()
        agent.wrap(plain, from: pair.localAddress, to: pair.remoteAddress, into: &wrapped)
        if let link = route.stream {
            wrapped.withUnsafeBytes { streams[link]?.send($0.bytes) }
        } else {
            sockets[route.source]?.send(wrapped, to: route.server)
        }
    }

    private func handle(_ event: ICEAgent.Event) {
        switch event {
        case .localCandidate(let candidate): candidates.append(candidate)
        case .gatheringComplete: describe()
        case .stateChanged(.failed): tell("failed", ["reason": "no pair works"])
        case .selectedPair(let pair):
            guard !hasConnected else { return }
            hasConnected = true
            tell(
                "connected",
                ["local": .string(pair.local.kind.rawValue), "remote": .string(pair.remote.kind.rawValue)])
            sendData()
        case .relay(let request): perform(request)
        case .ports(.open(let count, let address, _, _)):
            let opened = (0..<count).compactMap { _ in open(address) }
            agent.portsOpened(opened, now: loop.now)
        case .ports(.close(let unused)):
            for address in unused { sockets.removeValue(forKey: address)?.close() }
        case .decision(let decision): Terminal.note("\(role.rawValue) \(decision)")
        case .stateChanged: break
        }
    }

    private func describe() {
        var members: JSON.Object = [
            "ufrag": .string(agent.localCredentials.ufrag), "pwd": .string(agent.localCredentials.password),
            "candidates": .array(candidates.map { .string($0.description) }),
            "gathering": .integer((loop.now - startedAt).nanoseconds),
            "pacing": .integer(agent.configuration.checkInterval.nanoseconds / 1_000_000),
            "renomination": .bool(true),
        ]
        if let behavior { members["nat"] = .string("\(behavior)") }
        tell("description", members)
    }

    // MARK: - Relays over streams

    private func perform(_ request: RelayRequest) {
        switch request {
        case .open(let link, let transport, let server, _, let local):
            do {
                let stream = try AgentStream(to: server, from: local, isEncrypted: transport == .tls, on: loop) {
                    [weak self] event in self?.note(event, of: link)
                }
                streams[link] = stream
            } catch {
                agent.relayClosed(link, .unreachable, now: loop.now)
            }
        case .send(let link, let bytes): streams[link]?.send(bytes.span.bytes)
        case .close(let link): streams.removeValue(forKey: link)?.close()
        }
    }

    private func note(_ event: AgentStream.Event, of link: RelayLink) {
        switch event {
        case .open(let local): agent.relayOpened(link, local: local, now: loop.now)
        case .received(let bytes): agent.receive(bytes.span.bytes, over: link, now: loop.now)
        case .closed:
            guard streams.removeValue(forKey: link) != nil else { return }
            agent.relayClosed(link, now: loop.now)
        }
        drain()
    }

    // MARK: - Words

    private func tell(_ event: String, _ members: JSON.Object = [:]) {
        var line: JSON.Object = [
            "event": .string(event), "time": .integer(MonotonicClock.systemNanoseconds),
        ]
        for (name, value) in members { line[name] = value }
        Terminal.output(JSON.object(line).serialized())
    }
}
