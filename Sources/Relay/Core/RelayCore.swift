// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

//             clients                                                    peers
//   requests, indications, ChannelData                                 datagrams
//                │                                                         │
//                ▼                                                         ▼
//   receive(_:segment:from:now:into:)                 receiveFromPeer(_:segment:at:from:now:into:)
//                │                                                         │
//                └──────────▶ RelayOutbox: trains for clients and peers ◀──┘
//                             RelayCommand: sockets to open and to close

/// A STUN and TURN server (RFC 8489, RFC 8656, RFC 5780) as a value without I/O.
///
/// It is fed datagrams or the messages of streams with their 5-tuple, datagrams from peers with the relayed socket that
/// they came to, and the time. What it wants sent it puts into the outbox that comes with each call; after the call the
/// driver also asks for ``nextCommand()`` until there is none, and arms a timer for ``nextDeadline``. Relaying data
/// allocates no memory. Whoever proves nothing leaves nothing behind.
public struct RelayCore: ~Copyable, Sendable {
    /// A request for an allocation that waits for its sockets.
    struct Pending: Sendable {
        /// A socket that was asked for.
        struct Wanted: Sendable {
            let family: IPAddress.Family
            /// The address asked for last; `nil` once no attempt is left.
            var local: SocketAddress?
            var socket: RelaySocketID
            var isOpen = false
            var attempts = 1
        }

        let request: Request
        let account: String
        let userAccount: RelayAccount
        let addressAccount: RelayAccount
        let lifetime: Duration
        /// Whether ports must be even, and whether the next one is to be kept.
        let evenPort: (even: Bool, reservesNext: Bool)
        /// A port that was kept: no other will do.
        let isReserved: Bool
        var wanted: [Wanted]
        var addressError: (family: IPAddress.Family, code: STUNErrorCode)?
    }

    /// An allocation's place.
    struct Slot: Sendable {
        var allocation: RelayAllocation?
    }

    /// How the server behaves.
    public let configuration: RelayConfiguration
    let ledger: RelayLedger
    let nonces: RelayNonce
    /// The numbers that channels may have.
    let channelNumbers: ClosedRange<UInt16>
    /// What ChannelData may begin with.
    let channelBytes: ClosedRange<UInt8>
    var entropy: Entropy

    var slots: [Slot] = []
    var freeSlots: [Int] = []
    var slotOfClient: [RelayClient: Int] = [:]
    var slotOfSocket: [RelaySocketID: Int] = [:]
    var pending: [RelayClient: Pending] = [:]
    var clientOfPendingSocket: [RelaySocketID: RelayClient] = [:]
    var deadlines = RelayDeadlines()
    var lastSocket: UInt64 = 0
    var counters = RelayMetrics()

    private var commands: [RelayCommand] = []
    private var nextIndex = 0

    /// A server, alone or one of several that share a ledger.
    public init(configuration: RelayConfiguration, ledger: RelayLedger, entropy: Entropy) {
        self.configuration = configuration
        self.ledger = ledger
        self.entropy = entropy
        var features: STUNSecurityFeatures = .passwordAlgorithms
        if configuration.users.takesUserhash { features.insert(.usernameAnonymity) }
        channelNumbers = configuration.acceptsOlderChannels ? 0x4000...0x7FFF : ChannelData.numbers
        channelBytes = UInt8(channelNumbers.lowerBound >> 8)...UInt8(channelNumbers.upperBound >> 8)
        nonces = RelayNonce(key: ledger.nonceKey, features: features, lifetime: configuration.nonceLifetime)
    }

    /// A server that is alone.
    public init(configuration: RelayConfiguration, entropy: Entropy) {
        var entropy = entropy
        let ledger = RelayLedger(configuration: configuration, entropy: entropy.split())
        self.init(configuration: configuration, ledger: ledger, entropy: entropy)
    }

    // MARK: - Input

    /// Takes what came from a client: datagrams of `segment` bytes each, the last perhaps shorter, or one message of a
    /// stream.
    public mutating func receive(
        _ bytes: RawSpan, segment: Int, from client: RelayClient, now: Timestamp, into outbox: RelayOutbox
    ) {
        let segment = segment > 0 ? segment : max(bytes.byteCount, 1)
        var lane = Lane()
        var offset = 0
        while offset < bytes.byteCount {
            let packet = bytes.extracting(offset..<min(offset + segment, bytes.byteCount))
            offset += segment
            // RFC 7983 §7: the first byte tells.
            switch packet.byte(at: 0) ?? 255 {
            case channelBytes:
                relayChannelData(packet, from: client, now: now, lane: &lane, into: outbox)
            case 0...3:
                lane = Lane()
                receiveSTUN(packet, from: client, now: now, into: outbox)
            default:
                counters.drop(.malformed)
            }
        }
    }

    /// A stream is gone, and with it what its client had (its 5-tuple will not come back).
    public mutating func streamClosed(_ client: RelayClient) {
        if let slot = slotOfClient[client] { removeAllocation(slot) }
        if let waiting = pending.removeValue(forKey: client) { abandon(waiting) }
    }

    /// A socket that was asked for is bound.
    public mutating func socketOpened(_ socket: RelaySocketID, now: Timestamp, into outbox: RelayOutbox) {
        settle(socket, isOpen: true, now: now, into: outbox)
    }

    /// A socket that was asked for could not be bound.
    public mutating func socketFailed(_ socket: RelaySocketID, now: Timestamp, into outbox: RelayOutbox) {
        settle(socket, isOpen: false, now: now, into: outbox)
    }

    /// Tells that time has passed. Early and repeated calls are harmless.
    public mutating func handleTimeout(now: Timestamp) {
        while let slot = deadlines.popDue(now) {
            guard let relayed = slots[slot].allocation?.relayed else { continue }
            for one in relayed where one.expires <= now { removeRelayed(one.local.ip.family, of: slot) }
            if slots[slot].allocation?.relayed.isEmpty ?? false {
                counters.allocationsExpired += 1
                removeAllocation(slot)
            } else {
                schedule(slot)
            }
        }
    }

    // MARK: - Output

    /// The next thing that only the driver can do.
    public mutating func nextCommand() -> RelayCommand? {
        if nextIndex < commands.count {
            nextIndex += 1
            return commands[nextIndex - 1]
        }
        commands.removeAll(keepingCapacity: true)
        nextIndex = 0
        return nil
    }

    /// When ``handleTimeout(now:)`` has something to do.
    public var nextDeadline: Timestamp? { deadlines.earliest }

    /// What the server has done and holds.
    public var metrics: RelayMetrics {
        var metrics = counters
        metrics.allocations = slotOfClient.count
        metrics.relayedAddresses = slotOfSocket.count
        for slot in slots {
            metrics.channels += slot.allocation?.channels.count ?? 0
            metrics.permissions += slot.allocation?.permissions.count ?? 0
        }
        return metrics
    }

    /// Whether a client has an allocation, or is about to get one.
    public func hasAllocation(_ client: RelayClient) -> Bool {
        slotOfClient[client] != nil || pending[client] != nil
    }

    // MARK: - Allocations

    mutating func command(_ command: RelayCommand) {
        commands.append(command)
    }

    mutating func nextSocket() -> RelaySocketID {
        lastSocket += 1
        return RelaySocketID(rawValue: lastSocket)
    }

    mutating func insert(_ allocation: RelayAllocation) {
        let slot = freeSlots.popLast() ?? slots.count
        if slot == slots.count { slots.append(Slot()) }
        slots[slot].allocation = allocation
        slotOfClient[allocation.client] = slot
        for relayed in allocation.relayed {
            slotOfSocket[relayed.socket] = slot
            ledger.openPort(relayed.local)
        }
        counters.allocationsMade += 1
        schedule(slot)
    }

    /// Has a slot looked at when the first of its addresses runs out.
    mutating func schedule(_ slot: Int) {
        deadlines.set(slot, slots[slot].allocation?.earliestExpiry)
    }

    mutating func removeRelayed(_ family: IPAddress.Family, of slot: Int) {
        guard let relayed = slots[slot].allocation?[family] else { return }
        slots[slot].allocation?.remove(family)
        slotOfSocket[relayed.socket] = nil
        ledger.givePort(relayed.local)
        command(.close(relayed.socket))
    }

    mutating func removeAllocation(_ slot: Int) {
        removeRelayed(.v4, of: slot)
        removeRelayed(.v6, of: slot)
        guard let allocation = slots[slot].allocation else { return }
        slots[slot].allocation = nil
        deadlines.set(slot, nil)
        slotOfClient[allocation.client] = nil
        if let token = allocation.reservationToken { ledger.cancelReservation(token) }
        freeSlots.append(slot)
        ledger.release(account: allocation.account, address: allocation.client.address.ip)
    }
}
