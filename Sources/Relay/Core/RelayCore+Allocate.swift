// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// Allocate requests (RFC 8656 §7.2): checked, given ports, and answered once the driver has bound the sockets.
extension RelayCore {
    /// Ports that are tried before there is said to be none: others on the host may use some of the range.
    private static let maximumAttempts = 16

    /// What an Allocate request asks for.
    private struct Wish {
        var families: [IPAddress.Family] = []
        /// Whether another family than the first may be missing.
        var isDual = false
        var evenPort = (even: false, reservesNext: false)
        var token: UInt64?
        var addressError: (family: IPAddress.Family, code: STUNErrorCode)?
    }

    mutating func allocate(_ request: Request, now: Timestamp, into outbox: RelayOutbox) {
        let client = request.client
        let id = request.message.transactionID
        if let slot = slotOfClient[client], let allocation = slots[slot].allocation {
            // RFC 8656 §7.2: a repeated request is answered as before.
            guard allocation.transactionID == id, allocation.username == request.user?.name else {
                return refuse(request, .allocationMismatch, into: outbox)
            }
            return answer(request, with: allocation, now: now, into: outbox)
        }
        if let waiting = pending[client] {
            guard waiting.request.message.transactionID == id else {
                return refuse(request, .allocationMismatch, into: outbox)
            }
            return counters.drop(.pending)
        }
        do throws(STUNErrorCode) {
            let wish = try self.wish(of: request.message)
            let lifetime = try lifetime(in: request.message) ?? configuration.defaultLifetime
            try begin(request, wish, lifetime: lifetime, now: now, into: outbox)
        } catch {
            refuse(request, error, into: outbox)
        }
    }

    /// Reads what is asked for, in the order of RFC 8656 §7.2.
    private func wish(of message: STUNMessage) throws(STUNErrorCode) -> Wish {
        guard let transport = message.first(.requestedTransport), transport.count == 4 else { throw .badRequest }
        // UDP's number (RFC 768).
        guard transport[0] == 17 else { throw .unsupportedTransport }
        var wish = Wish()
        let requested = message.first(.requestedAddressFamily)
        let additional = message.first(.additionalAddressFamily)
        let even = message.first(.evenPort)
        if let token = message.first(.reservationToken) {
            guard even == nil, requested == nil, additional == nil, token.count == 8 else { throw .badRequest }
            wish.token = token.reduce(0) { $0 << 8 | UInt64($1) }
            return wish
        }
        guard requested == nil || additional == nil else { throw .badRequest }
        if let even {
            guard even.count == 1 else { throw .badRequest }
            wish.evenPort = (true, even[0] & 0x80 != 0)
            guard !wish.evenPort.reservesNext || additional == nil else { throw .badRequest }
        }
        if let additional {
            // The value for IPv4 is refused by name, any other but IPv6's makes no sense.
            guard additional.count == 4, additional[0] == 2 else { throw .badRequest }
            wish.isDual = true
            wish.families = [.v4, .v6].filter { configuration.relayed($0) != nil }
            if let missing = [IPAddress.Family.v4, .v6].first(where: { configuration.relayed($0) == nil }) {
                wish.addressError = (missing, .addressFamilyNotSupported)
            }
        } else {
            wish.families = [try family(requested) ?? .v4]
        }
        guard let first = wish.families.first, configuration.relayed(first) != nil else {
            throw .addressFamilyNotSupported
        }
        return wish
    }

    /// The family that REQUESTED-ADDRESS-FAMILY names (RFC 8656 §18.6).
    func family(_ value: [UInt8]?) throws(STUNErrorCode) -> IPAddress.Family? {
        guard let value else { return nil }
        guard value.count == 4 else { throw .badRequest }
        switch value[0] {
        case 1: return .v4
        case 2: return .v6
        default: throw .addressFamilyNotSupported
        }
    }

    /// The lifetime that a request gets; `nil` where it names none, zero where it asks for the end (RFC 8656 §7.2,
    /// §8.2).
    func lifetime(in message: STUNMessage) throws(STUNErrorCode) -> Duration? {
        guard let value = message.first(.lifetime) else { return nil }
        guard value.count == 4 else { throw .badRequest }
        let wanted = Duration.seconds(value.reduce(0) { $0 << 8 | Int64($1) })
        if wanted == .zero, message.method == .refresh { return .zero }
        return max(configuration.defaultLifetime, min(wanted, configuration.maximumLifetime))
    }

    /// Takes places and ports, and asks for sockets.
    private mutating func begin(
        _ request: Request, _ wish: Wish, lifetime: Duration, now: Timestamp, into outbox: RelayOutbox
    ) throws(STUNErrorCode) {
        guard let user = request.user else { throw .unauthenticated }
        var reserved: SocketAddress?
        if let token = wish.token {
            reserved = ledger.redeem(token, now: now)
            guard reserved != nil else { throw .insufficientCapacity }
        }
        let accounts: (user: RelayAccount, address: RelayAccount)
        do throws(STUNErrorCode) {
            accounts = try ledger.admit(account: user.account, address: request.client.address.ip, now: now)
        } catch {
            if let reserved { ledger.givePort(reserved) }
            throw error
        }
        var pending = Pending(
            request: request, account: user.account, userAccount: accounts.user, addressAccount: accounts.address,
            lifetime: lifetime, evenPort: wish.evenPort, isReserved: reserved != nil, wanted: [],
            addressError: wish.addressError)
        let places: [(IPAddress.Family, SocketAddress?)] =
            reserved.map { [($0.ip.family, $0)] }
            ?? wish.families.map { ($0, takePort($0, wish.evenPort, now: now)) }
        for (family, local) in places {
            pending.wanted.append(.init(family: family, local: local, socket: nextSocket()))
        }
        self.pending[request.client] = pending
        for wanted in pending.wanted {
            guard let local = wanted.local else { continue }
            clientOfPendingSocket[wanted.socket] = request.client
            command(.open(wanted.socket, local))
        }
        finishIfSettled(request.client, now: now, into: outbox)
    }

    private func takePort(
        _ family: IPAddress.Family, _ even: (even: Bool, reservesNext: Bool), now: Timestamp
    ) -> SocketAddress? {
        guard let ip = configuration.relayed(family)?.local else { return nil }
        let port =
            even.reservesNext
            ? ledger.takePortPair(at: ip, now: now) : ledger.takePort(at: ip, evenOnly: even.even, now: now)
        return port.map { SocketAddress(ip: ip, port: $0) }
    }

    /// Gives back what ``takePort(_:_:now:)`` took.
    private func givePort(_ address: SocketAddress, _ even: (even: Bool, reservesNext: Bool)) {
        ledger.givePort(address)
        if even.reservesNext { ledger.givePort(SocketAddress(ip: address.ip, port: address.port + 1)) }
    }

    /// The driver has bound a socket, or could not.
    mutating func settle(_ socket: RelaySocketID, isOpen: Bool, now: Timestamp, into outbox: RelayOutbox) {
        guard let client = clientOfPendingSocket.removeValue(forKey: socket), var waiting = pending[client],
            let index = waiting.wanted.firstIndex(where: { $0.socket == socket })
        else {
            // Nobody waits for it any more.
            if isOpen { command(.close(socket)) }
            return
        }
        if isOpen {
            waiting.wanted[index].isOpen = true
        } else {
            var wanted = waiting.wanted[index]
            let failed = wanted.local
            wanted.attempts += 1
            let mayRetry = wanted.attempts <= Self.maximumAttempts && !waiting.isReserved
            wanted.local = mayRetry ? takePort(wanted.family, waiting.evenPort, now: now) : nil
            // Given back after the next one was drawn, so that it is not that one.
            if let failed { givePort(failed, waiting.evenPort) }
            if let local = wanted.local {
                wanted.socket = nextSocket()
                clientOfPendingSocket[wanted.socket] = client
                command(.open(wanted.socket, local))
            }
            waiting.wanted[index] = wanted
        }
        pending[client] = waiting
        finishIfSettled(client, now: now, into: outbox)
    }

    /// Gives back what a request holds whose client is gone. Sockets that are still to come are closed when they do.
    mutating func abandon(_ waiting: Pending) {
        for wanted in waiting.wanted {
            guard let local = wanted.local else { continue }
            clientOfPendingSocket[wanted.socket] = nil
            if wanted.isOpen { command(.close(wanted.socket)) }
            givePort(local, waiting.evenPort)
        }
        ledger.release(account: waiting.account, address: waiting.request.client.address.ip)
    }

    /// Makes the allocation, or refuses it, once nothing is waited for.
    private mutating func finishIfSettled(_ client: RelayClient, now: Timestamp, into outbox: RelayOutbox) {
        guard let waiting = pending[client], waiting.wanted.allSatisfy({ $0.isOpen || $0.local == nil }) else { return }
        pending[client] = nil
        guard waiting.wanted.contains(where: \.isOpen) else {
            ledger.release(account: waiting.account, address: client.address.ip)
            return refuse(waiting.request, .insufficientCapacity, into: outbox)
        }
        var allocation = RelayAllocation(
            client: client, username: waiting.request.user?.name ?? "", account: waiting.account,
            userAccount: waiting.userAccount, addressAccount: waiting.addressAccount,
            transactionID: waiting.request.message.transactionID)
        allocation.addressError = waiting.addressError
        for wanted in waiting.wanted {
            guard wanted.isOpen, let local = wanted.local else {
                allocation.addressError = (wanted.family, .insufficientCapacity)
                continue
            }
            let external = configuration.relayed(wanted.family)?.external ?? local.ip
            allocation[wanted.family] = RelayAllocation.Relayed(
                socket: wanted.socket, local: local, external: SocketAddress(ip: external, port: local.port),
                expires: now + waiting.lifetime)
            if waiting.evenPort.reservesNext {
                let next = SocketAddress(ip: local.ip, port: local.port + 1)
                allocation.reservationToken = ledger.reserve(next, now: now)
            }
        }
        insert(allocation)
        answer(waiting.request, with: allocation, now: now, into: outbox)
    }

    /// The success response (RFC 8656 §7.2).
    private mutating func answer(
        _ request: Request, with allocation: RelayAllocation, now: Timestamp, into outbox: RelayOutbox
    ) {
        var answer = success(request)
        for relayed in allocation.relayed { answer.append(xorAddress: relayed.external, as: .xorRelayedAddress) }
        answer.append(.lifetime, Self.seconds(until: allocation.earliestExpiry ?? now, from: now))
        if let token = allocation.reservationToken { answer.append(.reservationToken, token) }
        answer.append(xorAddress: request.client.address)
        if let (family, code) = allocation.addressError {
            // RFC 8656 §18.12.
            let number = [UInt8(truncatingIfNeeded: code.code / 100), UInt8(truncatingIfNeeded: code.code % 100)]
            answer.attributes.append(
                STUNAttribute(.addressErrorCode, [family == .v4 ? 1 : 2, 0] + number + Array(code.reason.utf8)))
        }
        send(answer, to: request, into: outbox)
    }

    /// Whole seconds, the last one begun counting.
    static func seconds(until end: Timestamp, from now: Timestamp) -> UInt32 {
        UInt32(clamping: ((end - now).nanoseconds + 999_999_999) / 1_000_000_000)
    }
}

extension RelayConfiguration {
    /// Where addresses of a family are relayed.
    func relayed(_ family: IPAddress.Family) -> RelayedAddress? {
        family == .v4 ? relayedV4 : relayedV6
    }
}
