// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// What a client has of the server (RFC 8656 §6): one relayed address or one of each family, the peers that may be
/// heard, and their channels.
struct RelayAllocation: Sendable {
    /// A relayed address.
    struct Relayed: Sendable {
        let socket: RelaySocketID
        /// Where the socket is bound.
        let local: SocketAddress
        /// What clients and peers know it by.
        let external: SocketAddress
        var expires: Timestamp
    }

    /// A peer with a short name.
    struct Channel: Sendable {
        let peer: SocketAddress
        var expires: Timestamp
    }

    /// RFC 8656 §9: MUST be 300 seconds.
    static let permissionLifetime = Duration.seconds(300)
    /// RFC 8656 §12: 10 minutes.
    static let channelLifetime = Duration.seconds(600)

    let client: RelayClient
    /// Who made it: nobody else may change it.
    let username: String
    /// Whom it counts for.
    let account: String
    let userAccount: RelayAccount
    let addressAccount: RelayAccount
    /// The request that made it, by which a repetition is known.
    let transactionID: STUNTransactionID
    /// The token that was handed out with it.
    var reservationToken: UInt64?
    /// Why there is no second relayed address.
    var addressError: (family: IPAddress.Family, code: STUNErrorCode)?
    var relayedV4: Relayed?
    var relayedV6: Relayed?
    private(set) var permissions: [IPAddress: Timestamp] = [:]
    private(set) var channels: [UInt16: Channel] = [:]
    private(set) var channelNumbers: [SocketAddress: UInt16] = [:]

    init(
        client: RelayClient, username: String, account: String, userAccount: RelayAccount, addressAccount: RelayAccount,
        transactionID: STUNTransactionID
    ) {
        self.client = client
        self.username = username
        self.account = account
        self.userAccount = userAccount
        self.addressAccount = addressAccount
        self.transactionID = transactionID
    }

    subscript(family: IPAddress.Family) -> Relayed? {
        get { family == .v4 ? relayedV4 : relayedV6 }
        set { if family == .v4 { relayedV4 = newValue } else { relayedV6 = newValue } }
    }

    /// What is relayed, IPv4 first.
    var relayed: [Relayed] { [relayedV4, relayedV6].compactMap { $0 } }

    /// When the first relayed address runs out.
    var earliestExpiry: Timestamp? { relayed.map(\.expires).min() }

    /// Whether bytes may be relayed for this user and this client's address.
    @inline(__always)
    func mayRelay(_ bytes: Int, now: Timestamp) -> Bool {
        userAccount.take(bytes, now: now) && addressAccount.take(bytes, now: now)
    }

    // MARK: - Permissions

    /// Whether an address may be sent to and heard.
    @inline(__always)
    func permits(_ ip: IPAddress, now: Timestamp) -> Bool {
        guard let expires = permissions[ip] else { return false }
        return expires > now
    }

    /// Whether so many addresses can have permissions; lapsed ones make room.
    mutating func hasRoom(forPermissions ips: Set<IPAddress>, limit: Int, now: Timestamp) -> Bool {
        let added = ips.reduce(0) { $0 + (permissions[$1] == nil ? 1 : 0) }
        guard permissions.count + added > limit else { return true }
        permissions = permissions.filter { $0.value > now }
        let stillAdded = ips.reduce(0) { $0 + (permissions[$1] == nil ? 1 : 0) }
        return permissions.count + stillAdded <= limit
    }

    mutating func permit(_ ip: IPAddress, now: Timestamp) {
        permissions[ip] = now + Self.permissionLifetime
    }

    // MARK: - Channels

    /// The channel of a peer.
    @inline(__always)
    func channel(of peer: SocketAddress, now: Timestamp) -> UInt16? {
        guard let number = channelNumbers[peer], let channel = channels[number], channel.expires > now else {
            return nil
        }
        return number
    }

    /// The peer of a channel.
    @inline(__always)
    func peer(ofChannel number: UInt16, now: Timestamp) -> SocketAddress? {
        guard let channel = channels[number], channel.expires > now else { return nil }
        return channel.peer
    }

    /// Whether a channel and a peer are free, or bound to each other.
    func canBind(_ number: UInt16, to peer: SocketAddress, now: Timestamp) -> Bool {
        if let bound = self.peer(ofChannel: number, now: now), bound != peer { return false }
        if let bound = channel(of: peer, now: now), bound != number { return false }
        return true
    }

    /// Whether one more channel fits; lapsed ones make room.
    mutating func hasRoom(forChannel number: UInt16, limit: Int, now: Timestamp) -> Bool {
        guard channels[number] == nil, channels.count >= limit else { return true }
        for (other, channel) in channels where channel.expires <= now { unbind(other) }
        return channels.count < limit
    }

    mutating func bind(_ number: UInt16, to peer: SocketAddress, now: Timestamp) {
        // What lapsed in the way of it is gone for good.
        unbind(number)
        if let other = channelNumbers[peer] { unbind(other) }
        channels[number] = Channel(peer: peer, expires: now + Self.channelLifetime)
        channelNumbers[peer] = number
    }

    private mutating func unbind(_ number: UInt16) {
        guard let channel = channels.removeValue(forKey: number) else { return }
        channelNumbers[channel.peer] = nil
    }

    /// Forgets what belongs to one family (RFC 8656 §8.1: the other's stays).
    mutating func remove(_ family: IPAddress.Family) {
        self[family] = nil
        permissions = permissions.filter { $0.key.family != family }
        for (number, channel) in channels where channel.peer.ip.family == family { unbind(number) }
    }
}
