// SPDX-License-Identifier: Apache-2.0
import ICE
import Relay
import Wire

/// A STUN and TURN server gets what strangers, a client with an allocation, and peers send, as steps; messages of the
/// client that can be read also as one who knows the password proves them.
enum RelayFuzz {
    private static let realm = "r"
    private static let user = LongTermCredentials(username: "u", password: "p")
    private static let server = SocketAddress(ip: .v4(0x0102_0304), port: 3478)
    private static let peer = SocketAddress(ip: .v4(0x0808_0808), port: 9)
    /// What a server may hold after any of this: its limits are below it.
    private static let limit = 8

    private struct Bench: ~Copyable {
        var core: RelayCore
        let outbox = RelayOutbox()
        var now = Timestamp(nanoseconds: 1_000_000_000)
        var sockets: [RelaySocketID] = []
        var nonce: [UInt8] = []

        init() {
            var configuration = RelayConfiguration(users: RelayUsers(realm: RelayFuzz.realm, users: [RelayFuzz.user]))
            configuration.relayedV4 = .init(.v4(0x0102_0304))
            configuration.relayedV6 = .init(.v6(high: 0x2A01_0000_0000_0000, low: 1))
            configuration.ports = 50_000...50_063
            configuration.discovery = .init(addresses: [.v4(0x0102_0304), .v4(0x0102_0305)], ports: [3478, 3479])
            configuration.limits.allocations = RelayFuzz.limit / 2
            configuration.limits.permissions = 4
            configuration.limits.channels = 4
            core = RelayCore(configuration: configuration, entropy: Entropy(seed: 1))
        }

        /// Does what the core asks for; every third socket cannot be bound.
        mutating func settle() {
            while let command = core.nextCommand() {
                switch command {
                case .open(let socket, _):
                    if socket.rawValue % 3 == 0 {
                        core.socketFailed(socket, now: now, into: outbox)
                    } else {
                        sockets.append(socket)
                        core.socketOpened(socket, now: now, into: outbox)
                    }
                case .close(let socket): sockets.removeAll { $0 == socket }
                }
            }
            var nonces: [[UInt8]] = []
            outbox.drain { train in
                precondition(train.packets.count + train.emptyPackets < 70_000, "more came out than went in")
                for index in 0..<train.packets.count {
                    if case .client = train.route, let message = try? STUNMessage(decoding: train.packets[index]),
                        let nonce = message.first(.nonce)
                    {
                        nonces.append(nonce)
                    }
                }
            }
            if let last = nonces.last { nonce = last }
        }
    }

    private static func client(_ port: UInt16, isStream: Bool = false) -> RelayClient {
        RelayClient(
            transport: isStream ? .tcp : .udp, address: SocketAddress(ip: .v4(0x0505_0505), port: port), server: server,
            connection: isStream ? 1 : 0)
    }

    static func run(_ bytes: [UInt8]) {
        var bench = Bench()
        var steps = Steps(bytes)
        while let (kind, body) = steps.next() {
            let span = body.span.bytes
            let known = client(UInt16(kind >> 4) + 1)
            switch kind & 7 {
            case 0:
                bench.core.receive(
                    span, segment: body.count, from: known, now: bench.now, into: bench.outbox)
            case 1:
                bench.core.receive(span, segment: 40, from: known, now: bench.now, into: bench.outbox)
            case 2:
                guard let message = try? STUNMessage(decoding: span) else { continue }
                let proved = prove(message, nonce: bench.nonce)
                bench.core.receive(
                    proved.span.bytes, segment: proved.count, from: known, now: bench.now, into: bench.outbox)
            case 3:
                if let socket = bench.sockets.last {
                    bench.core.receiveFromPeer(
                        span, segment: 100, at: socket, from: peer, now: bench.now, into: bench.outbox)
                }
            case 4:
                if let socket = bench.sockets.first {
                    bench.core.receivePeerError(
                        type: kind >> 4, code: body.first ?? 0, information: 1, at: socket, about: peer, now: bench.now,
                        into: bench.outbox)
                }
            case 5:
                bench.now += .seconds(Int(kind >> 4) * 60)
                bench.core.handleTimeout(now: bench.now)
            case 6:
                var reader = TURNStreamReader()
                reader.append(span)
                while let range = reader.next() {
                    precondition(!range.isEmpty && range.upperBound <= body.count, "a message without an end")
                    bench.core.receive(
                        reader.buffer.span.bytes.extracting(range), segment: range.count,
                        from: client(1, isStream: true), now: bench.now, into: bench.outbox)
                }
            default:
                bench.core.streamClosed(client(1, isStream: true))
            }
            bench.settle()
            precondition(bench.sockets.count <= limit, "sockets are left over")
        }
        let metrics = bench.core.metrics
        precondition(metrics.allocations <= limit / 2 && metrics.relayedAddresses == bench.sockets.count)
        precondition(metrics.permissions <= 4 * limit && metrics.channels <= 4 * limit)
        bench.now += .seconds(3601)
        bench.core.handleTimeout(now: bench.now)
        bench.settle()
        precondition(bench.sockets.isEmpty, "an allocation without an end")
    }

    private static func prove(_ message: STUNMessage, nonce: [UInt8]) -> [UInt8] {
        var message = message
        message.append(.username, user.username)
        message.append(.realm, realm)
        message.attributes.append(STUNAttribute(.nonce, nonce))
        return message.encoded(integrity: STUNIntegrity(key: user.key(realm: realm)))
    }

    static var seeds: [[UInt8]] {
        let id = STUNTransactionID(high: 1, low: 2)
        func request(_ method: STUNMessage.Method, _ attributes: [STUNAttribute] = []) -> [UInt8] {
            STUNMessage(.request, method, transactionID: id, attributes: attributes).encoded(fingerprint: false)
        }
        var named = STUNMessage(.request, .channelBind, transactionID: id)
        named.append(.channelNumber, UInt32(0x4000 << 16))
        named.append(xorAddress: peer, as: .xorPeerAddress)
        var sent = STUNMessage(.indication, .send, transactionID: id)
        sent.append(xorAddress: peer, as: .xorPeerAddress)
        sent.attributes.append(STUNAttribute(.data, [1, 2, 3]))
        let udp = STUNAttribute(.requestedTransport, [17, 0, 0, 0])
        let allocate = request(.allocate, [udp])
        let challenge: (UInt8, [UInt8]) = (0, request(.allocate))
        let both = STUNAttribute(.additionalAddressFamily, [2, 0, 0, 0])
        let data: [UInt8] = [0x40, 0, 0, 3, 1, 2, 3, 0]
        return [
            Steps.write([
                challenge, (2, allocate), (2, named.encoded(fingerprint: false)), (0, data), (3, [1, 2, 3]),
                (0, sent.encoded()), (0x34, [3]), (0x55, []), (2, request(.refresh)),
                (2, request(.refresh, [STUNAttribute(.lifetime, [0, 0, 0, 0])])),
            ]),
            Steps.write([challenge, (2, request(.allocate, [udp, both])), (2, allocate), (0xF5, [])]),
            Steps.write([
                challenge, (2, request(.allocate, [udp, STUNAttribute(.evenPort, [0x80])])), (1, data + data),
            ]),
            Steps.write([
                (0, request(.binding, [STUNAttribute(.changeRequest, [0, 0, 0, 6])])),
                (0, request(.binding, [STUNAttribute(.padding, [UInt8](repeating: 0, count: 64))])),
                (6, allocate + data), (7, []),
            ]),
        ]
    }
}
