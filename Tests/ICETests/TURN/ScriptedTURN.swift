import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

/// One TURN client and a server that does what a test says, on virtual time.
final class ScriptedTURN {
    var client: TURNClient
    let server = TURNServerDouble(.v4(0xC633_6401))
    var now = Timestamp.zero
    let mapped = address("203.0.113.9:40000")
    let peer = address("192.0.2.2:6000")
    /// Whether the server gets what is sent; else it stays in ``sent``.
    var isConnected = true
    /// Whether a way to the server is given at once.
    var opens = true
    private(set) var events: [TURNClient.Event] = []
    private(set) var sent: [(time: Timestamp, bytes: [UInt8])] = []
    /// Peers' data that the client handed out.
    private(set) var received: [(peer: SocketAddress, payload: [UInt8])] = []
    /// What went to peers.
    private(set) var relayed: [Datagram] = []
    private(set) var deadline: Timestamp?
    /// The local address, which a fresh one changes.
    private(set) var local = 1
    /// Changes what the server sends.
    var rewrites: ([UInt8]) -> [[UInt8]] = { [$0] }

    init(
        transport: TURNServer.Transport = .udp, families: TURNServer.Families = .v4, password: String = "pass",
        seed: UInt64 = 5
    ) {
        client = TURNClient(
            server: TURNServer(
                address: address("198.51.100.1:3478"), transport: transport,
                credentials: LongTermCredentials(username: "user", password: password), name: "turn.example.org",
                families: families),
            entropy: Entropy(seed: seed))
    }

    /// The client, allocated.
    static func allocated(
        transport: TURNServer.Transport = .udp, families: TURNServer.Families = .v4
    ) -> ScriptedTURN {
        let script = ScriptedTURN(transport: transport, families: families)
        script.start()
        precondition(script.client.state == .allocated, "\(script.events)")
        return script
    }

    func start() {
        client.start(now: now)
        drain()
    }

    var messages: [(time: Timestamp, message: STUNMessage)] {
        sent.compactMap { entry in (try? decode(entry.bytes)).map { (entry.time, $0) } }
    }

    /// The times of the requests of a method.
    func times(of method: STUNMessage.Method) -> [Timestamp] {
        messages.filter { $0.message.method == method && $0.message.messageClass == .request }.map(\.time)
    }

    func forgetSent() { sent.removeAll() }

    var ends: [TURNFailure?] { events.compactMap { if case .ended(let reason) = $0 { .some(reason) } else { nil } } }

    func drain() {
        var replies: [[UInt8]] = []
        draining: while true {
            switch client.nextOutput() {
            case .transmit(let bytes):
                sent.append((now, bytes))
                guard isConnected else { continue }
                replies += act(server.receive(bytes, from: "client \(local)", mapped: mapped, now: now))
            case .event(let event):
                events.append(event)
                if case .connect(_, _, let isFresh) = event, opens {
                    if isFresh { local += 1 }
                    client.connected(now: now)
                }
            case .wait(let until):
                deadline = until
                break draining
            }
        }
        for reply in replies { receive(reply) }
        if !replies.isEmpty { drain() }
    }

    private func act(_ actions: [TURNServerDouble.Action]) -> [[UInt8]] {
        actions.flatMap { action -> [[UInt8]] in
            switch action {
            case .toClient(_, let bytes): return rewrites(bytes)
            case .toPeer(let datagram):
                relayed.append(datagram)
                return []
            }
        }
    }

    @discardableResult
    func receive(_ bytes: [UInt8]) -> TURNClient.Received {
        let result = bytes.withSpan { client.receive($0, now: now) }
        if case .data(let peer, let range) = result { received.append((peer, Array(bytes[range]))) }
        return result
    }

    /// A packet of a peer comes to the relayed address.
    func arrive(_ payload: [UInt8], from peer: SocketAddress) {
        guard let relayed = client.relayed.first(where: { $0.ip.family == peer.ip.family }) else { return }
        let datagram = Datagram(source: peer, destination: relayed, payload: payload)
        for reply in act(server.receive(datagram, now: now)) { receive(reply) }
        drain()
    }

    func permit(_ peer: SocketAddress) {
        client.permit(peer, now: now)
        drain()
    }

    func bind(_ peer: SocketAddress) {
        client.bind(peer, now: now)
        drain()
    }

    func send(_ payload: [UInt8], to peer: SocketAddress) {
        client.send(payload, to: peer, now: now)
        drain()
    }

    func release() {
        client.release(now: now)
        drain()
    }

    func handleTimeout() {
        client.handleTimeout(now: now)
        drain()
    }

    /// Lets time pass, serving every deadline.
    func advance(_ duration: Duration) {
        let end = now + duration
        while let next = deadline, next <= end {
            precondition(next > now, "the client waits for a time that has passed")
            now = next
            handleTimeout()
        }
        now = end
        handleTimeout()
    }
}
