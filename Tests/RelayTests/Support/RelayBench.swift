// SPDX-License-Identifier: Apache-2.0
import Hashing
import ICE
import Wire

@testable import Relay

/// A core with a driver that is a table: sockets are bound when they are asked for, time passes when it is told to.
final class RelayBench {
    /// A packet that the core sent.
    struct Sent: Hashable {
        let route: RelayExit
        let destination: SocketAddress
        let dontFragment: Bool
        let bytes: [UInt8]
    }

    var core: RelayCore
    private let outbox = RelayOutbox()
    private(set) var now: Timestamp
    private(set) var sockets: [SocketAddress: RelaySocketID] = [:]
    private(set) var addresses: [RelaySocketID: SocketAddress] = [:]
    /// What the driver cannot bind.
    var refuses: (SocketAddress) -> Bool = { _ in false }
    /// Whether questions for sockets wait for ``answerSockets()``.
    var holdsSockets = false
    private var held: [(RelaySocketID, SocketAddress)] = []

    static let relayedV4 = IPAddress.v4(0x0102_0304)
    static let relayedV6 = IPAddress.v6(high: 0x2A01_0203_0000_0000, low: 1)
    static let server = SocketAddress(ip: relayedV4, port: 3478)
    static let alice = LongTermCredentials(username: "alice", password: "wonderland")
    static let bob = LongTermCredentials(username: "bob", password: "builder")
    static let realm = "relay.example"

    static func configuration() -> RelayConfiguration {
        var configuration = RelayConfiguration(users: RelayUsers(realm: realm, users: [alice, bob]))
        configuration.relayedV4 = .init(relayedV4)
        configuration.relayedV6 = .init(relayedV6)
        configuration.unixTimeAtZero = 1_700_000_000
        return configuration
    }

    init(_ configuration: RelayConfiguration = RelayBench.configuration(), seed: UInt64 = 1) {
        core = RelayCore(configuration: configuration, entropy: Entropy(seed: seed))
        now = Timestamp(nanoseconds: 1_000_000_000_000)
    }

    static func client(_ number: Int = 0, _ transport: RelayClient.Transport = .udp, v6: Bool = false) -> RelayClient {
        let ip: IPAddress =
            v6 ? .v6(high: 0x2A02_0001_0000_0000, low: UInt64(number)) : .v4(0x0505_0505 + UInt32(number / 50_000))
        let server = v6 ? SocketAddress(ip: relayedV6, port: 3478) : server
        return RelayClient(
            transport: transport, address: SocketAddress(ip: ip, port: UInt16(10_000 + number % 50_000)),
            server: server, connection: transport == .udp ? 0 : UInt32(number + 1))
    }

    // MARK: - What comes in

    @discardableResult
    func send(_ bytes: [UInt8], from client: RelayClient, segment: Int? = nil) -> [Sent] {
        core.receive(bytes.span.bytes, segment: segment ?? bytes.count, from: client, now: now, into: outbox)
        return settle()
    }

    @discardableResult
    func sendFromPeer(
        _ bytes: [UInt8], from peer: SocketAddress, to relayed: SocketAddress, segment: Int? = nil
    ) -> [Sent] {
        guard let socket = sockets[relayed] else { return [] }
        core.receiveFromPeer(
            bytes.span.bytes, segment: segment ?? bytes.count, at: socket, from: peer, now: now, into: outbox)
        return settle()
    }

    func reportError(
        type: UInt8, code: UInt8, information: UInt32 = 0, about peer: SocketAddress, at relayed: SocketAddress
    ) -> [Sent] {
        guard let socket = sockets[relayed] else { return [] }
        core.receivePeerError(
            type: type, code: code, information: information, at: socket, about: peer, now: now, into: outbox)
        return settle()
    }

    /// Lets time pass, stopping at each deadline.
    func pass(_ duration: Duration) {
        let end = now + duration
        while let deadline = core.nextDeadline, deadline <= end {
            now = max(now, deadline)
            core.handleTimeout(now: now)
            _ = settle()
        }
        now = end
    }

    /// Answers the questions for sockets that were held.
    func answerSockets() -> [Sent] {
        let waiting = held
        held = []
        holdsSockets = false
        for (socket, address) in waiting { open(socket, address) }
        return settle()
    }

    private func settle() -> [Sent] {
        while let command = core.nextCommand() {
            switch command {
            case .open(let socket, let address):
                if holdsSockets { held.append((socket, address)) } else { open(socket, address) }
            case .close(let socket):
                if let address = addresses.removeValue(forKey: socket) { sockets[address] = nil }
            }
        }
        var sent: [Sent] = []
        outbox.drain { train in
            func note(_ bytes: [UInt8]) {
                sent.append(
                    Sent(
                        route: train.route, destination: train.destination, dontFragment: train.dontFragment,
                        bytes: bytes))
            }
            for index in 0..<train.packets.count { note([UInt8](copying: train.packets[index])) }
            for _ in 0..<train.emptyPackets { note([]) }
        }
        return sent
    }

    private func open(_ socket: RelaySocketID, _ address: SocketAddress) {
        guard sockets[address] == nil, !refuses(address) else {
            return core.socketFailed(socket, now: now, into: outbox)
        }
        sockets[address] = socket
        addresses[socket] = address
        core.socketOpened(socket, now: now, into: outbox)
    }
}

/// A client of a core, as careful or as careless as a test wants it.
final class RelayCaller {
    let bench: RelayBench
    var client: RelayClient
    var credentials: LongTermCredentials
    var algorithm: LongTermCredentials.PasswordAlgorithm? = .sha256
    var integrity = STUNIntegrity.Algorithm.sha256
    private(set) var nonce: [UInt8]?
    private var entropy: Entropy

    init(
        _ bench: RelayBench, _ client: RelayClient = RelayBench.client(),
        _ credentials: LongTermCredentials = RelayBench.alice
    ) {
        self.bench = bench
        self.client = client
        self.credentials = credentials
        entropy = Entropy(seed: UInt64(client.address.port))
    }

    func newID() -> STUNTransactionID { STUNTransactionID(using: &entropy) }

    /// A message that proves who sends it.
    func signed(_ message: STUNMessage, nonce: [UInt8]? = nil) -> [UInt8] {
        var message = message
        message.append(.username, credentials.username)
        message.append(.realm, RelayBench.realm)
        message.attributes.append(STUNAttribute(.nonce, nonce ?? self.nonce ?? []))
        if let algorithm {
            message.attributes.append(STUNAttribute(.passwordAlgorithms, [0, 2, 0, 0, 0, 1, 0, 0]))
            message.attributes.append(STUNAttribute(.passwordAlgorithm, [0, UInt8(algorithm.rawValue), 0, 0]))
        }
        return message.encoded(integrity: signature, fingerprint: false)
    }

    /// What this caller signs with.
    var signature: STUNIntegrity {
        STUNIntegrity(
            key: credentials.key(realm: RelayBench.realm, algorithm: algorithm ?? .md5), algorithm: integrity)
    }

    /// Asks for a nonce, once.
    func meet() {
        guard nonce == nil else { return }
        let request = STUNMessage(.request, .allocate, transactionID: newID())
        nonce = answer(to: request.encoded(fingerprint: false))?.first(.nonce)
    }

    /// Sends a request with credentials, fetching a nonce where there is none.
    @discardableResult
    func ask(_ method: STUNMessage.Method, _ fill: (inout STUNMessage) -> Void = { _ in }) -> STUNMessage? {
        meet()
        var message = STUNMessage(.request, method, transactionID: newID())
        fill(&message)
        return answer(to: signed(message))
    }

    /// What a packet is answered with.
    func answer(to bytes: [UInt8]) -> STUNMessage? {
        bench.send(bytes, from: client).first.flatMap { try? STUNMessage(decoding: $0.bytes.span.bytes) }
    }

    /// An allocation, and its first relayed address.
    @discardableResult
    func allocate(_ fill: (inout STUNMessage) -> Void = { _ in }) -> SocketAddress? {
        let answer = ask(.allocate) { message in
            message.attributes.append(STUNAttribute(.requestedTransport, [17, 0, 0, 0]))
            fill(&message)
        }
        return answer?.relayed.first
    }

    @discardableResult
    func permit(_ peers: SocketAddress...) -> STUNMessage? {
        ask(.createPermission) { message in
            for peer in peers { message.append(xorAddress: peer, as: .xorPeerAddress) }
        }
    }

    @discardableResult
    func bind(_ channel: UInt16, to peer: SocketAddress) -> STUNMessage? {
        ask(.channelBind) { message in
            message.append(.channelNumber, UInt32(channel) << 16)
            message.append(xorAddress: peer, as: .xorPeerAddress)
        }
    }

    /// Sends data as an indication.
    @discardableResult
    func indicate(_ data: [UInt8]?, to peer: SocketAddress?, dontFragment: Bool = false) -> [RelayBench.Sent] {
        var message = STUNMessage(.indication, .send, transactionID: newID())
        if let peer { message.append(xorAddress: peer, as: .xorPeerAddress) }
        if dontFragment { message.append(.dontFragment) }
        if let data { message.attributes.append(STUNAttribute(.data, data)) }
        return bench.send(message.encoded(fingerprint: false), from: client)
    }
}

/// ChannelData, unpadded.
func channelData(_ channel: UInt16, _ data: [UInt8], claimed: Int? = nil) -> [UInt8] {
    let count = claimed ?? data.count
    return [UInt8(channel >> 8), UInt8(channel & 255), UInt8(count >> 8), UInt8(count & 255)] + data
}

extension STUNMessage {
    /// The addresses of all attributes of a kind.
    func addresses(_ kind: STUNAttribute.Kind) -> [SocketAddress] {
        attributes.filter { $0.kind == kind }.compactMap { attribute in
            attribute.value.withUnsafeBytes { PeerAddress.read($0.bytes, transactionID) }
        }
    }

    /// The relayed addresses of a response.
    var relayed: [SocketAddress] { addresses(.xorRelayedAddress) }
    /// The LIFETIME of a response.
    var lifetime: UInt32? { first(.lifetime)?.reduce(0) { $0 << 8 | UInt32($1) } }
    /// The code of an error response.
    var code: Int? { errorCode?.code }
}

/// Peers on the Internet.
let peerA = SocketAddress(ip: .v4(0x0808_0801), port: 5000)
let peerB = SocketAddress(ip: .v4(0x0808_0802), port: 6000)
let peerV6 = SocketAddress(ip: .v6(high: 0x2A03_0001_0000_0000, low: 9), port: 7000)
