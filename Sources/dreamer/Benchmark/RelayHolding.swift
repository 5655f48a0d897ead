// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Wire

/// Thousands of clients of a TURN server, each on a socket of its own with an allocation and a channel to one peer,
/// which sends back what it gets. All of them are driven by one thread, on which everything here but the calls from
/// outside happens.
final class RelayHolding: @unchecked Sendable {
    /// A client to be.
    struct Member: Sendable {
        var credentials: LongTermCredentials
        /// Where its socket is.
        var address: IPAddress
    }

    /// What all of some clients do, several at a time.
    enum Step: Sendable {
        case allocate
        case bind
        case refresh
        /// A packet to the peer and back.
        case echo
    }

    /// What a step came to.
    struct Outcome: Sendable {
        var done = 0
        /// How many were refused, by code.
        var refused: [Int: Int] = [:]
        /// How many got no answer.
        var silent = 0
        var seconds = 0.0
    }

    private final class Client {
        let member: Member
        let socket: UDPSocket
        var realm = ""
        var nonce: [UInt8] = []
        var key: [UInt8] = []
        /// The request that waits for an answer.
        var transaction: STUNTransactionID?
        var packet: [UInt8] = []
        /// How often it was sent, and how often it was asked for anew.
        var (sent, challenged) = (0, 0)
        var resendAt = Timestamp.zero

        init(_ member: Member) throws(NetIOError) {
            self.member = member
            var options = UDPSocket.Options()
            options.receiveBufferBytes = 1 << 16
            options.sendBufferBytes = 1 << 16
            socket = try UDPSocket(bind: SocketAddress(ip: member.address, port: 0), options: options)
        }
    }

    /// A step on its way.
    private struct Work {
        let step: Step
        var next: Int
        let end: Int
        var active: Set<Int> = []
        var outcome = Outcome()
        let begin: Timestamp
        let finished: CheckedContinuation<Outcome, Never>
    }

    private static let channel: UInt16 = 0x4000
    /// How many wait for an answer at a time.
    private static let window = 64
    private static let resendTime = Duration.milliseconds(500)
    private static let attempts = 10

    private let server: SocketAddress
    private let loop: EventLoop
    private let peer: UDPSocket
    private var clients: [Client] = []
    private var work: Work?
    private var timer: LoopTimer?
    private var entropy = SystemEntropy.make()

    /// The peer is at the server's address.
    init(_ server: SocketAddress) throws {
        self.server = server
        loop = try EventLoop(name: "holding")
        peer = try UDPSocket(bind: SocketAddress(ip: server.ip, port: 0))
        let peer = peer
        try peer.start(
            on: loop,
            onReceive: { train in
                for index in 0..<train.count { peer.send(train[index], to: train.source) }
            })
        timer = loop.makeTimer { [weak self] in self?.resend() }
    }

    /// Has each of some more clients make an allocation.
    func allocate(_ members: [Member]) async throws -> Outcome {
        let begin = clients.count
        for member in members {
            let (client, index) = (try Client(member), clients.count)
            clients.append(client)
            try client.socket.start(
                on: loop,
                onReceive: { [weak self] train in
                    for packet in 0..<train.count { self?.receive(train[packet], index) }
                })
        }
        return await perform(.allocate, begin..<clients.count)
    }

    /// Has clients do something. One step follows the other.
    func perform(_ step: Step, _ range: Range<Int>) async -> Outcome {
        await withCheckedContinuation { continuation in
            loop.execute { [self] in
                work = Work(
                    step: step, next: range.lowerBound, end: range.upperBound, begin: loop.now, finished: continuation)
                timer?.arm(at: loop.now + Self.resendTime)
                proceed()
            }
        }
    }

    func stop() {
        loop.stop()
        for client in clients { client.socket.close() }
        peer.close()
    }

    // MARK: - On the loop

    private func proceed() {
        while let now = work, now.active.count < Self.window, now.next < now.end {
            work?.next += 1
            work?.active.insert(now.next)
            clients[now.next].challenged = 0
            start(now.next, now.step)
        }
        guard let done = work, done.active.isEmpty else { return }
        work = nil
        timer?.cancel()
        var outcome = done.outcome
        outcome.seconds = (loop.now - done.begin).seconds
        done.finished.resume(returning: outcome)
    }

    private func start(_ index: Int, _ step: Step) {
        let client = clients[index]
        client.sent = 0
        client.packet = packet(index, step)
        send(client)
    }

    private func send(_ client: Client) {
        client.sent += 1
        client.resendAt = loop.now + Self.resendTime
        let packet = client.packet
        client.socket.send(packet.span.bytes, to: server)
    }

    private func packet(_ index: Int, _ step: Step) -> [UInt8] {
        let client = clients[index]
        client.transaction = nil
        let number = UInt32(truncatingIfNeeded: index)
        let method: STUNMessage.Method
        switch step {
        case .allocate: method = .allocate
        case .bind: method = .channelBind
        case .refresh: method = .refresh
        case .echo:
            let data = (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * $0)) }
            return [UInt8(Self.channel >> 8), UInt8(Self.channel & 0xFF), 0, 4] + data
        }
        var message = STUNMessage(.request, method, transactionID: STUNTransactionID(using: &entropy))
        client.transaction = message.transactionID
        switch step {
        case .allocate: message.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0]))
        case .bind:
            message.append(.channelNumber, UInt32(Self.channel) << 16)
            message.append(xorAddress: peer.localAddress, as: .xorPeerAddress)
        case .refresh, .echo: break
        }
        guard !client.nonce.isEmpty else { return message.encoded() }
        message.append(.username, client.member.credentials.username)
        message.append(.realm, client.realm)
        message.attributes.append(STUNAttribute(.nonce, client.nonce))
        return message.encoded(integrity: STUNIntegrity(key: client.key))
    }

    private func receive(_ bytes: RawSpan, _ index: Int) {
        guard let step = work?.step, work?.active.contains(index) == true else { return }
        let client = clients[index]
        if case .echo = step {
            // ChannelData with what was sent.
            guard bytes.byteCount == client.packet.count, [UInt8](copying: bytes) == client.packet else { return }
            return finish(index) { $0.done += 1 }
        }
        guard let answer = try? STUNMessage(decoding: bytes), answer.transactionID == client.transaction else { return }
        guard let code = answer.errorCode?.code else { return finish(index) { $0.done += 1 } }
        guard code == 401 || code == 438, client.challenged < 2, let nonce = answer.first(.nonce) else {
            return finish(index) { $0.refused[code, default: 0] += 1 }
        }
        client.challenged += 1
        client.nonce = nonce
        if let realm = answer.first(.realm) { client.realm = String(decoding: realm, as: UTF8.self) }
        client.key = client.member.credentials.key(realm: client.realm)
        start(index, step)
    }

    private func finish(_ index: Int, _ note: (inout Outcome) -> Void) {
        guard var now = work, now.active.remove(index) != nil else { return }
        note(&now.outcome)
        work = now
        proceed()
    }

    /// Sends again what may have been lost.
    private func resend() {
        guard let active = work?.active else { return }
        for index in active where clients[index].resendAt <= loop.now {
            if clients[index].sent < Self.attempts {
                send(clients[index])
            } else {
                finish(index) { $0.silent += 1 }
            }
        }
        if work != nil { timer?.arm(at: loop.now + Self.resendTime / 5) }
    }
}
