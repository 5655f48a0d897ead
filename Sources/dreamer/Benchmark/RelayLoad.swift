// SPDX-License-Identifier: Apache-2.0
import Glibc
import ICE
import NetIO
import Synchronization
import Wire

/// Clients of a TURN server, each with an allocation, a channel and a peer, that send as fast as the server relays: a
/// few hundred packets of each client are under way at a time, and the next follow when some have come out.
final class RelayLoad: Sendable {
    /// Which way data goes.
    enum Direction: String, Sendable, CaseIterable {
        case toPeers = "to-peers"
        case toClients = "to-clients"
    }

    /// What is done.
    struct Plan: Sendable {
        var server: SocketAddress
        var credentials: LongTermCredentials
        /// Where clients and peers are; the server's address where none is said.
        var local: IPAddress?
        var clients = 8
        var payload = 1200
        /// Packets of a client under way.
        var window = 256
        /// Whether runs of packets are sent with one call.
        var segmentation = true
        var direction = Direction.toPeers
        var duration = Duration.seconds(5)
    }

    /// What came out.
    struct Outcome: Sendable {
        var packets: Int
        var bytes: Int
        var seconds: Double
    }

    private let plan: Plan
    private let loop: EventLoop
    private let lanes: [Lane]

    /// One client, its peer and what is under way between them.
    private final class Lane: Sendable {
        let client: UDPSocket
        let peer: UDPSocket
        let relayed: SocketAddress
        let received = Atomic<Int>(0)
        let bytes = Atomic<Int>(0)

        init(client: UDPSocket, peer: UDPSocket, relayed: SocketAddress) {
            self.client = client
            self.peer = peer
            self.relayed = relayed
        }
    }

    private static let channel: UInt16 = 0x4000

    /// Makes the allocations.
    init(_ plan: Plan) async throws {
        self.plan = plan
        let loop = try EventLoop(name: "load-sink")
        self.loop = loop
        var lanes: [Lane] = []
        for _ in 0..<plan.clients { lanes.append(try await Self.anyLane(plan, loop)) }
        self.lanes = lanes
    }

    /// Sends for a while.
    func run() -> Outcome {
        // A thread of its own for what is sent, so that the loop's is free for what comes.
        let begin = MonotonicClock.now
        let before = totals
        var sent = [Int](repeating: 0, count: lanes.count)
        var last = lanes.map { $0.received.load(ordering: .relaxed) }
        let base = last
        var progress = lanes.map { _ in begin }
        var buffer = PacketBuffer()
        let train = 32
        fill(&buffer, train)
        while true {
            let now = MonotonicClock.now
            guard now - begin < plan.duration else { break }
            var isIdle = true
            for (index, lane) in lanes.enumerated() {
                let received = lane.received.load(ordering: .relaxed) - base[index]
                if received != last[index] {
                    last[index] = received
                    progress[index] = now
                } else if now - progress[index] > .milliseconds(20) {
                    // What is missing was lost.
                    sent[index] = received
                    progress[index] = now
                }
                guard sent[index] - received + train <= plan.window else { continue }
                isIdle = false
                sent[index] += train
                switch plan.direction {
                case .toPeers: lane.client.send(buffer, to: plan.server)
                case .toClients: lane.peer.send(buffer, to: lane.relayed)
                }
            }
            if isIdle { sched_yield() }
        }
        let after = totals
        return Outcome(
            packets: after.packets - before.packets, bytes: after.bytes - before.bytes,
            seconds: (MonotonicClock.now - begin).seconds)
    }

    func stop() {
        for lane in lanes {
            lane.client.close()
            lane.peer.close()
        }
        loop.stop()
    }

    private var totals: (packets: Int, bytes: Int) {
        (
            lanes.reduce(0) { $0 + $1.received.load(ordering: .relaxed) },
            lanes.reduce(0) { $0 + $1.bytes.load(ordering: .relaxed) }
        )
    }

    private func fill(_ buffer: inout PacketBuffer, _ count: Int) {
        for _ in 0..<count {
            let header = plan.direction == .toPeers ? ChannelData.headerLength : 0
            buffer.append(maximumLength: header + plan.payload) { room in
                for index in 0..<header + plan.payload { room[index] = 0x55 }
                if header > 0 { ChannelData.writeHeader(channel: Self.channel, count: plan.payload, into: room) }
                return header + plan.payload
            }
        }
    }

    // MARK: - Setting up

    /// A lane, on a port whose last user's allocation is not still there (RFC 8656 §7.4: three attempts).
    private static func anyLane(_ plan: Plan, _ loop: EventLoop) async throws -> Lane {
        for _ in 0..<2 {
            if let lane = try? await lane(plan, loop) { return lane }
        }
        return try await lane(plan, loop)
    }

    private static func lane(_ plan: Plan, _ loop: EventLoop) async throws -> Lane {
        var options = UDPSocket.Options()
        options.segmentation = plan.segmentation
        let place = SocketAddress(ip: plan.local ?? plan.server.ip, port: 0)
        let client = try UDPSocket(bind: place, options: options)
        let peer = try UDPSocket(bind: place, options: options)
        let (answers, answered) = AsyncStream<[UInt8]>.makeStream()
        let lane = Mutex<Lane?>(nil)
        let header = ChannelData.headerLength
        try client.start(
            on: loop,
            onReceive: { train in
                for index in 0..<train.count where STUNMessage.isSTUN(train[index]) {
                    answered.yield([UInt8](copying: train[index]))
                }
                guard plan.direction == .toClients, let lane = lane.withLock({ $0 }) else { return }
                lane.received.wrappingAdd(train.count, ordering: .relaxed)
                lane.bytes.wrappingAdd(train.byteCount - header * train.count, ordering: .relaxed)
            })
        try peer.start(
            on: loop,
            onReceive: { train in
                guard plan.direction == .toPeers, let lane = lane.withLock({ $0 }) else { return }
                lane.received.wrappingAdd(train.count, ordering: .relaxed)
                lane.bytes.wrappingAdd(train.byteCount, ordering: .relaxed)
            })
        var entropy = SystemEntropy.make()
        var realm = ""
        var nonce: [UInt8] = []
        var waiting = answers.makeAsyncIterator()
        func ask(_ method: STUNMessage.Method, _ fill: (inout STUNMessage) -> Void) async throws -> STUNMessage {
            var refusal = "nothing is answered"
            for _ in 0..<3 {
                var message = STUNMessage(.request, method, transactionID: STUNTransactionID(using: &entropy))
                fill(&message)
                var integrity: STUNIntegrity?
                if !nonce.isEmpty {
                    message.append(.username, plan.credentials.username)
                    message.append(.realm, realm)
                    message.attributes.append(STUNAttribute(.nonce, nonce))
                    integrity = STUNIntegrity(key: plan.credentials.key(realm: realm))
                }
                client.send(message.encoded(integrity: integrity).span.bytes, to: plan.server)
                while let bytes = await waiting.next() {
                    guard let answer = try? STUNMessage(decoding: bytes.span.bytes),
                        answer.transactionID == message.transactionID
                    else { continue }
                    if answer.messageClass == .success { return answer }
                    if let code = answer.errorCode { refusal = code.description }
                    if let fresh = answer.first(.nonce) { nonce = fresh }
                    if let text = answer.first(.realm) { realm = String(decoding: text, as: UTF8.self) }
                    break
                }
            }
            throw CommandFailure("\(plan.server) refuses what the benchmark asks for: \(refusal)")
        }
        let allocated = try await ask(.allocate) { message in
            message.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0]))
        }
        guard let relayed = Self.relayed(of: allocated) else {
            throw CommandFailure("\(plan.server) relays at no IPv4 address")
        }
        _ = try await ask(.channelBind) { message in
            message.append(.channelNumber, UInt32(channel) << 16)
            message.append(xorAddress: peer.localAddress, as: .xorPeerAddress)
        }
        let made = Lane(client: client, peer: peer, relayed: relayed)
        lane.withLock { $0 = made }
        return made
    }

    /// XOR-RELAYED-ADDRESS of a response, IPv4.
    private static func relayed(of message: STUNMessage) -> SocketAddress? {
        var copy = STUNMessage(.success, transactionID: message.transactionID)
        guard let value = message.first(.xorRelayedAddress) else { return nil }
        copy.attributes = [STUNAttribute(.xorMappedAddress, value)]
        return copy.xorMappedAddress
    }
}
