// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import ICE
internal import Wire

extension RelayCore {
    /// A request while it is worked on.
    struct Request: Sendable {
        let client: RelayClient
        let message: STUNMessage
        /// Bytes that it came in.
        let byteCount: Int
        /// Who sent it; `nil` while that is not proved.
        var user: RelayUsers.User?
        /// What the answer is signed with.
        var integrity: STUNIntegrity?
    }

    /// Takes a STUN message of a client.
    mutating func receiveSTUN(_ bytes: RawSpan, from client: RelayClient, now: Timestamp, into outbox: RelayOutbox) {
        if DataIndication.isSend(bytes) { return relaySend(bytes, from: client, now: now, into: outbox) }
        guard let message = try? STUNMessage(decoding: bytes) else {
            if answerClassic(bytes, from: client, now: now, into: outbox) { return }
            return counters.drop(.malformed)
        }
        guard message.fingerprint != .invalid else { return counters.drop(.malformed) }
        // RFC 8489 §6.3: what does not make sense for a server is discarded; indications are never answered.
        guard message.messageClass == .request else { return counters.drop(.unexpected) }
        let method = message.method
        guard method == .binding || Self.allocationMethods.contains(method) else { return counters.drop(.unexpected) }
        // Whoever it says it is may be somebody else while that is not proved, so that each answer until then counts.
        // Strangers pay before anything is looked at. Where there is an allocation the proof is looked at first: a
        // flood in its client's name must not keep that client from refreshing it.
        let (ip, isStranger) = (client.address.ip, method == .binding || slotOfClient[client] == nil)
        guard !isStranger || ledger.takeUnproven(ip, now: now) else { return counters.drop(.rate) }
        counters.requests[method.rawValue, default: 0] += 1
        var request = Request(client: client, message: message, byteCount: bytes.byteCount)
        if method == .binding { return answerBinding(request, now: now, into: outbox) }
        guard !configuration.users.isEmpty else { return refuse(request, .forbidden, into: outbox) }
        if let failure = prove(&request, bytes, now: now) {
            // Who knows the password needs a new nonce each hour, and gets it from an allowance that a flood without it
            // leaves alone.
            guard isStranger || ledger.takeUnproven(ip, knowsKey: failure == .staleNonce, now: now) else {
                return counters.drop(.rate)
            }
            if failure == .badRequest { return refuse(request, failure, into: outbox) }
            return challenge(request, failure, now: now, into: outbox)
        }
        if isStranger { ledger.giveUnproven(ip, now: now) }
        // RFC 8489 §6.3.1: after the check of who asks.
        let unknown = message.unknownRequired(known: Self.knownAttributes)
        guard unknown.isEmpty else { return refuse(request, unknown: unknown, into: outbox) }
        if method == .allocate { return allocate(request, now: now, into: outbox) }
        guard let slot = slotOfClient[client] else { return refuse(request, .allocationMismatch, into: outbox) }
        // RFC 8656 §5.
        guard slots[slot].allocation?.username == request.user?.name else {
            return refuse(request, .wrongCredentials, into: outbox)
        }
        switch method {
        case .refresh: refresh(request, slot, now: now, into: outbox)
        case .createPermission: createPermission(request, slot, now: now, into: outbox)
        default: bindChannel(request, slot, now: now, into: outbox)
        }
    }

    /// Whether bytes are a request that a server has to do with, whatever the answer.
    static func isRequest(_ bytes: RawSpan) -> Bool {
        // RFC 8489 §5: a request of these methods begins so; data, which comes more often, does not.
        guard bytes.byte(at: 0) == 0, (bytes.byte(at: 1) ?? 0xFF) & 0x10 == 0,
            let message = try? STUNMessage(decoding: bytes), message.messageClass == .request,
            message.fingerprint != .invalid
        else { return false }
        return message.method == .binding || allocationMethods.contains(message.method)
    }

    private static let allocationMethods: Set<STUNMessage.Method> = [
        .allocate, .refresh, .createPermission, .channelBind,
    ]

    /// What requests about allocations may hold that must be understood. DONT-FRAGMENT is, since sockets can be told
    /// so.
    private static let knownAttributes: Set<STUNAttribute.Kind> = [
        .username, .userhash, .realm, .nonce, .passwordAlgorithm, .messageIntegrity, .messageIntegritySHA256,
        .channelNumber, .lifetime, .xorPeerAddress, .data, .requestedAddressFamily, .evenPort, .requestedTransport,
        .dontFragment, .reservationToken,
    ]

    // MARK: - Who asks (RFC 8489 §9.2.4)

    /// The ways to make a key, the better one first, as PASSWORD-ALGORITHMS lists them (RFC 8489 §14.11): number, no
    /// parameters.
    static let passwordAlgorithms: [UInt8] = [0, 2, 0, 0, 0, 1, 0, 0]

    /// Checks who sent a request; what it is to be refused with where that is not proved.
    private func prove(_ request: inout Request, _ bytes: RawSpan, now: Timestamp) -> STUNErrorCode? {
        let message = request.message
        guard let integrity = message.integrityAlgorithm else { return .unauthenticated }
        guard let nonce = message.first(.nonce), message.first(.realm) != nil,
            message.first(.username) != nil || message.first(.userhash) != nil,
            let algorithm = passwordAlgorithm(of: message, nonce: nonce)
        else { return .badRequest }
        guard let user = user(of: message, now: now),
            let key = key(of: user, algorithm, proving: message, bytes, integrity)
        else { return .unauthenticated }
        guard nonces.isValid(nonce, for: request.client, now: now) else { return .staleNonce }
        request.user = user
        // RFC 8489 §9.2.4: the older proof answers who knows the older way alone.
        let isOld = message.first(.passwordAlgorithm) == nil && message.first(.passwordAlgorithms) == nil
        request.integrity = STUNIntegrity(key: key, algorithm: isOld ? .sha1 : .sha256)
        return nil
    }

    /// The way that a request's key was made; `nil` where what it says of that was tampered with.
    private func passwordAlgorithm(
        of message: STUNMessage, nonce: [UInt8]
    ) -> LongTermCredentials.PasswordAlgorithm? {
        guard STUNSecurityFeatures(nonce: nonce)?.contains(.passwordAlgorithms) ?? false else { return .md5 }
        let (list, chosen) = (message.first(.passwordAlgorithms), message.first(.passwordAlgorithm))
        if list == nil, chosen == nil { return .md5 }
        guard list == Self.passwordAlgorithms, let chosen, chosen.count == 4, chosen[2] == 0, chosen[3] == 0 else {
            return nil
        }
        return LongTermCredentials.PasswordAlgorithm(rawValue: UInt16(chosen[0]) << 8 | UInt16(chosen[1]))
    }

    private func user(of message: STUNMessage, now: Timestamp) -> RelayUsers.User? {
        let unixTime = configuration.unixTimeAtZero + now.nanoseconds / 1_000_000_000
        if message.first(.username) != nil {
            return message.username.flatMap { configuration.users.user(named: $0, unixTime: unixTime) }
        }
        return message.first(.userhash).flatMap { configuration.users.user(hashed: $0) }
    }

    /// The key that a message proves to know.
    private func key(
        of user: RelayUsers.User, _ algorithm: LongTermCredentials.PasswordAlgorithm, proving message: STUNMessage,
        _ bytes: RawSpan, _ integrity: STUNIntegrity.Algorithm
    ) -> [UInt8]? {
        let key = user.keys[algorithm]
        if message.isAuthentic(bytes, key: key, algorithm: integrity) { return key }
        for keys in configuration.users.alternatives(named: user.name, algorithm: algorithm)
        where message.isAuthentic(bytes, key: keys[algorithm], algorithm: integrity) {
            return keys[algorithm]
        }
        return nil
    }

    // MARK: - Answers

    /// A success response to a request, without attributes yet.
    func success(_ request: Request) -> STUNMessage {
        STUNMessage(.success, request.message.method, transactionID: request.message.transactionID)
    }

    /// Refuses a request.
    mutating func refuse(_ request: Request, _ code: STUNErrorCode, into outbox: RelayOutbox) {
        var answer = STUNMessage(.error, request.message.method, transactionID: request.message.transactionID)
        answer.append(code)
        send(answer, to: request, into: outbox)
    }

    /// Refuses a request for attributes that must be understood and are not.
    mutating func refuse(_ request: Request, unknown: [STUNAttribute.Kind], into outbox: RelayOutbox) {
        var answer = STUNMessage(.error, request.message.method, transactionID: request.message.transactionID)
        answer.append(.unknownAttribute)
        answer.append(unknown: unknown)
        send(answer, to: request, into: outbox)
    }

    /// Refuses a request, and says what a better one needs.
    private mutating func challenge(
        _ request: Request, _ code: STUNErrorCode, now: Timestamp, into outbox: RelayOutbox
    ) {
        var answer = STUNMessage(.error, request.message.method, transactionID: request.message.transactionID)
        answer.append(code)
        answer.append(.realm, configuration.users.realm)
        answer.attributes.append(STUNAttribute(.nonce, nonces.make(for: request.client, now: now)))
        answer.attributes.append(STUNAttribute(.passwordAlgorithms, Self.passwordAlgorithms))
        send(answer, to: request, into: outbox)
    }

    /// Bytes that IP and UDP add to a message.
    private static func overhead(_ ip: IPAddress) -> Int { ip.family == .v4 ? 28 : 48 }

    /// How many times as large as a request that proves nothing its answer may be on the wire: what somebody who writes
    /// another's address into his packets gains by that.
    static let amplification = 3

    /// Sends an answer, from another of the server's ends or to another of the client's ports where that is wanted. To
    /// who has proved nothing goes no more than ``amplification`` allows: what can be left out is left out.
    mutating func send(
        _ answer: STUNMessage, to request: Request, from server: SocketAddress? = nil, port: UInt16? = nil,
        into outbox: RelayOutbox
    ) {
        var answer = answer
        var fingerprint = true
        let overhead = Self.overhead(request.client.address.ip)
        let budget = Self.amplification * (request.byteCount + overhead) - overhead
        if !configuration.software.isEmpty { answer.append(.software, configuration.software) }
        var bytes = answer.encoded(integrity: request.integrity, fingerprint: fingerprint)
        if request.user == nil, !request.client.isStream {
            let reductions: [(inout STUNMessage) -> Void] = [
                { $0.attributes.removeAll { $0.kind == .software } },
                { _ in fingerprint = false },
                { message in
                    guard let code = message.errorCode?.code,
                        let index = message.attributes.firstIndex(where: { $0.kind == .errorCode })
                    else { return }
                    message.attributes[index] = STUNAttribute(
                        .errorCode,
                        [0, 0, UInt8(truncatingIfNeeded: code / 100), UInt8(truncatingIfNeeded: code % 100)])
                },
            ]
            for reduce in reductions where bytes.count > budget {
                reduce(&answer)
                bytes = answer.encoded(integrity: request.integrity, fingerprint: fingerprint)
            }
            counters.unprovenRequestBytes += request.byteCount + overhead
            counters.unprovenAnswerBytes += bytes.count + overhead
        }
        if let code = answer.errorCode {
            counters.errors[code.code, default: 0] += 1
        } else {
            counters.successes[answer.method.rawValue, default: 0] += 1
        }
        var client = request.client
        if let server { client.server = server }
        var destination = client.address
        if let port { destination.port = port }
        bytes.withUnsafeBytes { outbox.train(.client(client), to: destination).append($0.bytes) }
    }
}
