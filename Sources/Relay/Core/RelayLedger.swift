// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Synchronization
public import Wire

/// What the cores of one server share: ports, quotas, reservations, and what addresses may ask that prove nothing. One
/// core after the other uses it, so that clients cannot multiply what they get by the number of cores.
public final class RelayLedger: Sendable {
    /// A port that waits for the client that has its token (RFC 8656 §7.2).
    private struct Reservation: Sendable {
        let address: SocketAddress
        let expires: Timestamp
    }

    private struct State: Sendable {
        var users: [String: RelayAccount] = [:]
        var addresses: [IPAddress: RelayAccount] = [:]
        var streams: [IPAddress: Int] = [:]
        var streamCount = 0
        var allocationCount = 0
        var ports: [IPAddress: RelayPorts] = [:]
        var reservations: [UInt64: Reservation] = [:]
        /// Tokens in the order in which they expire.
        var tokens: [UInt64] = []
        var ownAddresses: Set<IPAddress>
        var entropy: Entropy
        var unproven: [TokenBucket?]
        let salt: UInt64
    }

    /// How long a port is reserved: at least 30 seconds (RFC 8656 §7.2), and a second for who counts from the answer.
    private static let reservationTime = Duration.seconds(31)
    /// Buckets for addresses that prove nothing. They are found by a keyed hash and shared where two hashes agree: a
    /// flood from forged addresses takes no memory.
    private static let unprovenBuckets = 8192

    let limits: RelayLimits
    /// What nonces are made with.
    let nonceKey: [UInt8]
    private let state: Mutex<State>

    /// A ledger for the cores of one server.
    public init(configuration: RelayConfiguration, entropy: Entropy) {
        var entropy = entropy
        limits = configuration.limits
        nonceKey = entropy.bytes(20)
        let salt = entropy.next()
        var ports: [IPAddress: RelayPorts] = [:]
        for relayed in [configuration.relayedV4, configuration.relayedV6] {
            if let relayed { ports[relayed.local] = RelayPorts(configuration.ports) }
        }
        state = Mutex(
            State(
                ports: ports, ownAddresses: Set(configuration.ownAddresses), entropy: entropy,
                unproven: Array(repeating: nil, count: Self.unprovenBuckets), salt: salt))
    }

    /// Whether an address is the server's host: one of its own, or one that means this host everywhere.
    func isOwn(_ ip: IPAddress) -> Bool {
        ip.isUnspecified || ip.isLoopback || state.withLock { $0.ownAddresses.contains(ip) }
    }

    /// The host has other addresses now.
    func setOwnAddresses(_ addresses: Set<IPAddress>) {
        state.withLock { $0.ownAddresses = addresses }
    }

    /// The address that quotas count for: an IPv6 host chooses the last 64 bits of its address itself.
    static func quotaAddress(_ ip: IPAddress) -> IPAddress {
        ip.family == .v4 ? ip : .v6(high: ip.high, low: 0)
    }

    // MARK: - Quotas

    /// Takes a place for an allocation; the error is the answer for a client that gets none.
    func admit(
        account: String, address: IPAddress, now: Timestamp
    ) throws(STUNErrorCode) -> (user: RelayAccount, address: RelayAccount) {
        let address = Self.quotaAddress(address)
        return try state.withLock { (state) throws(STUNErrorCode) in
            guard state.allocationCount < limits.allocations else { throw .insufficientCapacity }
            let user = state.users[account] ?? RelayAccount(bytesPerSecond: limits.bytesPerSecondPerUser, now: now)
            let host =
                state.addresses[address] ?? RelayAccount(bytesPerSecond: limits.bytesPerSecondPerAddress, now: now)
            guard user.allocations.load(ordering: .relaxed) < limits.allocationsPerUser,
                host.allocations.load(ordering: .relaxed) < limits.allocationsPerAddress
            else { throw .allocationQuotaReached }
            user.allocations.wrappingAdd(1, ordering: .relaxed)
            host.allocations.wrappingAdd(1, ordering: .relaxed)
            state.users[account] = user
            state.addresses[address] = host
            state.allocationCount += 1
            return (user, host)
        }
    }

    /// Gives the place of an allocation back.
    func release(account: String, address: IPAddress) {
        let address = Self.quotaAddress(address)
        state.withLock { state in
            state.allocationCount -= 1
            if let user = state.users[account],
                user.allocations.wrappingSubtract(1, ordering: .relaxed).newValue == 0
            {
                state.users[account] = nil
            }
            if let host = state.addresses[address],
                host.allocations.wrappingSubtract(1, ordering: .relaxed).newValue == 0
            {
                state.addresses[address] = nil
            }
        }
    }

    /// Takes a place for a stream; whether there is one.
    func admitStream(from address: IPAddress) -> Bool {
        let address = Self.quotaAddress(address)
        return state.withLock { state in
            let count = state.streams[address] ?? 0
            guard state.streamCount < limits.streams, count < limits.streamsPerAddress else { return false }
            state.streams[address] = count + 1
            state.streamCount += 1
            return true
        }
    }

    /// Gives the place of a stream back.
    func releaseStream(from address: IPAddress) {
        let address = Self.quotaAddress(address)
        state.withLock { state in
            guard let count = state.streams[address] else { return }
            state.streams[address] = count > 1 ? count - 1 : nil
            state.streamCount -= 1
        }
    }

    // MARK: - Requests that prove nothing

    /// Takes one request's worth from an address; whether it had as much. There is another allowance for requests that
    /// somebody signed who knows the key, be it long ago.
    func takeUnproven(_ address: IPAddress, knowsKey: Bool = false, now: Timestamp) -> Bool {
        withUnproven(address, knowsKey, now) { $0.take(1, now: now) }
    }

    /// Gives it back, because the request proved who it comes from.
    func giveUnproven(_ address: IPAddress, now: Timestamp) {
        withUnproven(address, false, now) { $0.give(1) }
    }

    private func withUnproven<Result: Sendable>(
        _ address: IPAddress, _ knowsKey: Bool, _ now: Timestamp, _ body: (inout TokenBucket) -> Result
    ) -> Result {
        let address = Self.quotaAddress(address)
        return state.withLock { state in
            // A multiplication mixes upward, the shift brings what it mixed down: enough where nobody knows the salt.
            var hash = (address.low ^ (knowsKey ? ~state.salt : state.salt)) &* 0x9E37_79B9_7F4A_7C15
            hash = (hash ^ hash >> 29 ^ address.high ^ state.salt) &* 0xBF58_476D_1CE4_E5B9
            let index = Int((hash ^ hash >> 32) % UInt64(Self.unprovenBuckets))
            var bucket =
                state.unproven[index]
                ?? TokenBucket(rate: Double(limits.unprovenPerSecond), burst: Double(limits.unprovenBurst), now: now)
            defer { state.unproven[index] = bucket }
            return body(&bucket)
        }
    }

    // MARK: - Ports

    /// A free port of a relayed address.
    func takePort(at ip: IPAddress, evenOnly: Bool, now: Timestamp) -> UInt16? {
        state.withLock { state in
            Self.expireReservations(&state, now)
            return state.ports[ip]?.take(evenOnly: evenOnly, entropy: &state.entropy)
        }
    }

    /// An even free port, the one after it free as well and now taken.
    func takePortPair(at ip: IPAddress, now: Timestamp) -> UInt16? {
        state.withLock { state in
            Self.expireReservations(&state, now)
            return state.ports[ip]?.takePair(entropy: &state.entropy)
        }
    }

    /// Gives a port back.
    func givePort(_ address: SocketAddress) {
        state.withLock { $0.ports[address.ip]?.give(address.port) }
    }

    /// Notes that an allocation relays at an end, until its port is given back.
    func openPort(_ address: SocketAddress) {
        state.withLock { $0.ports[address.ip]?.open(address.port) }
    }

    /// Whether an allocation, of whichever core, relays at an end.
    func isOpen(_ address: SocketAddress) -> Bool {
        state.withLock { $0.ports[address.ip]?.isOpen(address.port) ?? false }
    }

    /// How many ports of a relayed address are free.
    func freePorts(at ip: IPAddress) -> Int {
        state.withLock { $0.ports[ip]?.freeCount ?? 0 }
    }

    // MARK: - Reservations

    /// Keeps a port that was taken for whoever has the token.
    func reserve(_ address: SocketAddress, now: Timestamp) -> UInt64 {
        state.withLock { state in
            let token = state.entropy.next()
            state.reservations[token] = Reservation(address: address, expires: now + Self.reservationTime)
            state.tokens.append(token)
            return token
        }
    }

    /// The port of a token, which is used up by that; `nil` for one that is unknown or too old.
    func redeem(_ token: UInt64, now: Timestamp) -> SocketAddress? {
        state.withLock { state in
            Self.expireReservations(&state, now)
            guard let reservation = state.reservations.removeValue(forKey: token) else { return nil }
            state.tokens.removeAll { $0 == token }
            return reservation.address
        }
    }

    /// Gives a reserved port back whose token was not used: the allocation that it came with is gone, and whoever makes
    /// one after the other must not hold more ports than its quota.
    func cancelReservation(_ token: UInt64) {
        state.withLock { state in
            guard let reservation = state.reservations.removeValue(forKey: token) else { return }
            state.tokens.removeAll { $0 == token }
            state.ports[reservation.address.ip]?.give(reservation.address.port)
        }
    }

    private static func expireReservations(_ state: inout State, _ now: Timestamp) {
        var expired = 0
        for token in state.tokens {
            guard let reservation = state.reservations[token], reservation.expires <= now else { break }
            state.reservations[token] = nil
            state.ports[reservation.address.ip]?.give(reservation.address.port)
            expired += 1
        }
        if expired > 0 { state.tokens.removeFirst(expired) }
    }
}
