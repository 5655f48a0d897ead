import Wire

// SPDX-License-Identifier: Apache-2.0
@testable import ICE

/// A TURN server that does what tests need of it: long-term credentials, allocations, permissions, channels and data,
/// with knobs for refusals. It checks what a client must do and notes what it did not.
final class TURNServerDouble {
    /// What it answers with to a request instead of doing it; `nil` to do it.
    typealias Refusal = (STUNMessage.Method, _ isAuthenticated: Bool) -> STUNErrorCode?

    /// What it wants sent.
    enum Action {
        case toClient(String, [UInt8])
        case toPeer(Datagram)
    }

    let ip: IPAddress
    let credentials: LongTermCredentials
    var realm = "example.org"
    var nonce = Array("nonce-1".utf8)
    /// PASSWORD-ALGORITHMS, where they are offered.
    var algorithms: [LongTermCredentials.PasswordAlgorithm] = []
    var hidesUsernames = false
    var lifetime = 600
    var refuses: Refusal = { _, _ in nil }
    /// Attributes added to a refusal.
    var refusalAttributes: [STUNAttribute] = []
    var isSilent = false
    var ipv6: IPAddress?
    /// Peers' addresses that it does not relay to.
    var denies: (IPAddress) -> Bool = { _ in false }
    private(set) var allocations: [String: Allocation] = [:]
    private(set) var log: [String] = []
    /// What clients did wrong.
    private(set) var faults: [String] = []
    private var nextPort: UInt16 = 50_000
    private var answered: [STUNTransactionID: [UInt8]] = [:]

    struct Allocation {
        let mapped: SocketAddress
        let relayed: [SocketAddress]
        var expiry: Timestamp
        var permissions: [IPAddress: Timestamp] = [:]
        var channels: [UInt16: (peer: SocketAddress, expiry: Timestamp)] = [:]
    }

    init(_ ip: IPAddress, credentials: LongTermCredentials = LongTermCredentials(username: "user", password: "pass")) {
        self.ip = ip
        self.credentials = credentials
    }

    /// The nonce with the features that it tells.
    var toldNonce: [UInt8] {
        var features: STUNSecurityFeatures = []
        if !algorithms.isEmpty { features.insert(.passwordAlgorithms) }
        if hidesUsernames { features.insert(.usernameAnonymity) }
        return features.isEmpty ? nonce : features.noncePrefix + nonce
    }

    func owns(_ ip: IPAddress) -> Bool { ip == self.ip || ip == ipv6 }

    /// Has requests that come again answered anew.
    func forgetAnswers() { answered.removeAll() }

    /// Takes a whole message of a client.
    func receive(_ bytes: [UInt8], from client: String, mapped: SocketAddress, now: Timestamp) -> [Action] {
        guard !isSilent else { return [] }
        expire(now)
        if let channel = bytes.withSpan({ ChannelData.isChannelData($0) ? ChannelData.read($0) : nil }) {
            guard let (peer, _) = allocations[client]?.channels[channel.channel] else {
                faults.append("ChannelData on an unbound channel")
                return []
            }
            return relay(Array(bytes[channel.data]), to: peer, of: client)
        }
        guard let message = try? decode(bytes) else {
            faults.append("a broken message")
            return []
        }
        if message.messageClass == .indication { return indication(message, client) }
        guard message.messageClass == .request else { return [] }
        if message.method == .binding {
            var response = STUNMessage(.success, .binding, transactionID: message.transactionID)
            response.append(xorAddress: mapped)
            return [.toClient(client, response.encoded())]
        }
        // RFC 8656 §5: the same request gets the same answer.
        let response = answered[message.transactionID] ?? answer(message, bytes, client, mapped, now)
        answered[message.transactionID] = response
        return [.toClient(client, response)]
    }

    /// Takes a packet for a relayed address.
    func receive(_ datagram: Datagram, now: Timestamp) -> [Action] {
        expire(now)
        let owner = allocations.first { $0.value.relayed.contains(datagram.destination) }
        guard let (client, allocation) = owner, allocation.permissions[datagram.source.ip] != nil else { return [] }
        if let number = allocation.channels.first(where: { $0.value.peer == datagram.source })?.key {
            return [.toClient(client, Self.channelData(number, datagram.payload))]
        }
        return [.toClient(client, Self.dataIndication(datagram.source, datagram.payload))]
    }

    static func channelData(_ number: UInt16, _ payload: [UInt8], pads: Bool = true) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4)
        bytes.withUnsafeMutableBytes { ChannelData.writeHeader(channel: number, count: payload.count, into: $0) }
        bytes += payload
        if pads { while bytes.count % 4 != 0 { bytes.append(0) } }
        return bytes
    }

    static func dataIndication(
        _ peer: SocketAddress, _ payload: [UInt8]?, _ change: (inout STUNMessage) -> Void = { _ in }
    ) -> [UInt8] {
        var message = STUNMessage(.indication, .data, transactionID: STUNTransactionID(high: 7, low: 8))
        message.append(xorAddress: peer, as: .xorPeerAddress)
        if let payload { message.attributes.append(STUNAttribute(.data, payload)) }
        change(&message)
        return message.encoded(fingerprint: false)
    }

    private func expire(_ now: Timestamp) {
        for (client, allocation) in allocations {
            if allocation.expiry <= now { allocations[client] = nil }
            allocations[client]?.permissions = allocation.permissions.filter { $0.value > now }
            allocations[client]?.channels = allocation.channels.filter { $0.value.expiry > now }
        }
    }

    private func indication(_ message: STUNMessage, _ client: String) -> [Action] {
        if message.method == .binding { return [] }
        guard message.method == .send, let peer = message.xorAddresses(.xorPeerAddress).first,
            let data = message.first(.data)
        else {
            faults.append("an indication that is no Send")
            return []
        }
        guard allocations[client]?.permissions[peer.ip] != nil else {
            faults.append("Send without a permission for \(peer.ip)")
            return []
        }
        return relay(data, to: peer, of: client)
    }

    private func relay(_ payload: [UInt8], to peer: SocketAddress, of client: String) -> [Action] {
        guard let allocation = allocations[client], allocation.permissions[peer.ip] != nil,
            let relayed = allocation.relayed.first(where: { $0.ip.family == peer.ip.family })
        else { return [] }
        return [.toPeer(Datagram(source: relayed, destination: peer, payload: payload))]
    }

    // MARK: - Requests

    private func answer(
        _ request: STUNMessage, _ bytes: [UInt8], _ client: String, _ mapped: SocketAddress, _ now: Timestamp
    ) -> [UInt8] {
        log.append("\(now) \(client) \(request.method.rawValue)")
        guard let algorithm = request.integrityAlgorithm else {
            if let error = refuses(request.method, false) { return refusal(request, error, nil) }
            return refusal(request, .unauthenticated, nil)
        }
        guard request.first(.nonce) == toldNonce else { return refusal(request, .staleNonce, nil) }
        let offersMore = !algorithms.isEmpty
        let chosen = request.first(.passwordAlgorithm).flatMap {
            LongTermCredentials.PasswordAlgorithm(rawValue: UInt16($0[0]) << 8 | UInt16($0[1]))
        }
        if offersMore, algorithm != .sha256 || chosen == nil || request.first(.passwordAlgorithms) != offered {
            faults.append("password algorithms not repeated and used")
        }
        let isNamed =
            hidesUsernames
            ? request.first(.userhash) == LongTermCredentials.userhash(username: credentials.username, realm: realm)
                && request.first(.username) == nil
            : request.username == credentials.username
        let key = credentials.key(realm: realm, algorithm: chosen ?? .md5)
        guard isNamed, isAuthentic(request, bytes, key, algorithm) else {
            return refusal(request, .unauthenticated, nil)
        }
        let integrity = STUNIntegrity(key: key, algorithm: algorithm)
        if let error = refuses(request.method, true) { return refusal(request, error, integrity) }
        return perform(request, client, mapped, now, integrity)
    }

    private var offered: [UInt8] { algorithms.flatMap { [0, UInt8($0.rawValue), 0, 0] } }

    private func refusal(_ request: STUNMessage, _ error: STUNErrorCode, _ integrity: STUNIntegrity?) -> [UInt8] {
        var response = STUNMessage(.error, request.method, transactionID: request.transactionID)
        response.append(error)
        if error.code == 401 || error.code == 438 {
            response.append(.realm, realm)
            response.attributes.append(STUNAttribute(.nonce, toldNonce))
            if !algorithms.isEmpty { response.attributes.append(STUNAttribute(.passwordAlgorithms, offered)) }
        }
        response.attributes += refusalAttributes
        return response.encoded(integrity: integrity)
    }

    private func perform(
        _ request: STUNMessage, _ client: String, _ mapped: SocketAddress, _ now: Timestamp, _ integrity: STUNIntegrity
    ) -> [UInt8] {
        var response = STUNMessage(.success, request.method, transactionID: request.transactionID)
        func refuse(_ error: STUNErrorCode) -> [UInt8] { refusal(request, error, integrity) }
        guard request.method == .allocate || allocations[client] != nil else { return refuse(.allocationMismatch) }
        let peers = request.xorAddresses(.xorPeerAddress)
        switch request.method {
        case .allocate:
            guard request.first(.requestedTransport) == [17, 0, 0, 0] else { return refuse(.badRequest) }
            guard allocations[client] == nil else { return refuse(.allocationMismatch) }
            var relayed: [SocketAddress] = []
            let wantsSix = request.first(.requestedAddressFamily) == [2, 0, 0, 0]
            if !wantsSix { relayed.append(SocketAddress(ip: ip, port: takePort())) }
            if wantsSix || request.first(.additionalAddressFamily) == [2, 0, 0, 0], let ipv6 {
                relayed.append(SocketAddress(ip: ipv6, port: takePort()))
            }
            guard !relayed.isEmpty else { return refuse(.addressFamilyNotSupported) }
            allocations[client] = Allocation(mapped: mapped, relayed: relayed, expiry: now + .seconds(lifetime))
            for address in relayed { response.append(xorAddress: address, as: .xorRelayedAddress) }
            response.append(xorAddress: mapped)
            response.append(.lifetime, UInt32(lifetime))
        case .refresh:
            if request.first(.lifetime) == [0, 0, 0, 0] {
                allocations[client] = nil
                response.append(.lifetime, UInt32(0))
            } else {
                allocations[client]?.expiry = now + .seconds(lifetime)
                response.append(.lifetime, UInt32(lifetime))
            }
        case .createPermission:
            guard !peers.isEmpty else { return refuse(.badRequest) }
            guard !peers.contains(where: { denies($0.ip) }) else { return refuse(.forbidden) }
            for peer in peers { allocations[client]?.permissions[peer.ip] = now + .seconds(300) }
        case .channelBind:
            guard let peer = peers.first, let value = request.first(.channelNumber), value.count == 4 else {
                return refuse(.badRequest)
            }
            let number = UInt16(value[0]) << 8 | UInt16(value[1])
            let others = allocations[client]?.channels ?? [:]
            guard ChannelData.numbers.contains(number), others[number].map({ $0.peer == peer }) ?? true,
                !others.contains(where: { $0.value.peer == peer && $0.key != number })
            else { return refuse(.badRequest) }
            guard !denies(peer.ip) else { return refuse(.forbidden) }
            allocations[client]?.channels[number] = (peer, now + .seconds(600))
            allocations[client]?.permissions[peer.ip] = now + .seconds(300)
        default:
            return refuse(.badRequest)
        }
        return response.encoded(integrity: integrity)
    }

    private func takePort() -> UInt16 {
        nextPort += 1
        return nextPort
    }
}
