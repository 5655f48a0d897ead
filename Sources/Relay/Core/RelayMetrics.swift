// SPDX-License-Identifier: Apache-2.0

/// What a relay has done, and holds now.
public struct RelayMetrics: Hashable, Sendable {
    /// Packets and their payload.
    public struct Traffic: Hashable, Sendable {
        /// Packets.
        public var packets = 0
        /// Bytes of payload.
        public var bytes = 0

        mutating func count(_ byteCount: Int) {
            packets += 1
            bytes += byteCount
        }
    }

    /// Why something was dropped without an answer.
    public enum Drop: Int, Hashable, Sendable, CaseIterable {
        /// No message of this protocol, or a malformed one.
        case malformed
        /// A message that no server gets: a response, an unknown method, an indication that means nothing here.
        case unexpected
        /// Data without an allocation.
        case noAllocation
        /// Data on a channel that is not bound.
        case noChannel
        /// Data to or from a peer without a permission.
        case noPermission
        /// Data to a peer that is not allowed.
        case deniedPeer
        /// Data beyond a user's or an address's bandwidth.
        case bandwidth
        /// Requests of an address that proves nothing and asks too often.
        case rate
        /// Data that does not fit a message.
        case tooLarge
        /// A repeated request whose answer is under way.
        case pending
    }

    /// Allocations held now.
    public var allocations = 0
    /// Relayed addresses held now.
    public var relayedAddresses = 0
    /// Channels bound now, lapsed ones included until their place is needed.
    public var channels = 0
    /// Permissions held now, lapsed ones included until their place is needed.
    public var permissions = 0
    /// Allocations made since the start.
    public var allocationsMade = 0
    /// Allocations whose time ran out.
    public var allocationsExpired = 0
    /// Requests taken, by method.
    public var requests: [UInt16: Int] = [:]
    /// Requests answered with success, by method.
    public var successes: [UInt16: Int] = [:]
    /// Error responses, by code.
    public var errors: [Int: Int] = [:]
    /// What was dropped.
    public var drops: [Drop: Int] = [:]
    /// Data from clients to peers.
    public var toPeers = Traffic()
    /// Data from peers to clients.
    public var toClients = Traffic()
    /// ICMP errors told to clients.
    public var icmpErrors = 0
    /// Streams open now.
    public var streams = 0
    /// Bytes for streams that were dropped because their clients do not read.
    public var streamOverflow = 0
    /// Bytes of requests that proved nothing …
    public var unprovenRequestBytes = 0
    /// … and of what they were answered with.
    public var unprovenAnswerBytes = 0

    /// Nothing yet.
    public init() {}

    /// How much was dropped for a reason.
    public func dropped(_ reason: Drop) -> Int { drops[reason] ?? 0 }

    mutating func drop(_ reason: Drop) { drops[reason, default: 0] += 1 }

    /// What two servers did together.
    public static func + (lhs: RelayMetrics, rhs: RelayMetrics) -> RelayMetrics {
        var sum = lhs
        sum.allocations += rhs.allocations
        sum.relayedAddresses += rhs.relayedAddresses
        sum.channels += rhs.channels
        sum.permissions += rhs.permissions
        sum.allocationsMade += rhs.allocationsMade
        sum.allocationsExpired += rhs.allocationsExpired
        sum.requests.merge(rhs.requests, uniquingKeysWith: +)
        sum.successes.merge(rhs.successes, uniquingKeysWith: +)
        sum.errors.merge(rhs.errors, uniquingKeysWith: +)
        sum.drops.merge(rhs.drops, uniquingKeysWith: +)
        sum.toPeers.packets += rhs.toPeers.packets
        sum.toPeers.bytes += rhs.toPeers.bytes
        sum.toClients.packets += rhs.toClients.packets
        sum.toClients.bytes += rhs.toClients.bytes
        sum.icmpErrors += rhs.icmpErrors
        sum.streams += rhs.streams
        sum.streamOverflow += rhs.streamOverflow
        sum.unprovenRequestBytes += rhs.unprovenRequestBytes
        sum.unprovenAnswerBytes += rhs.unprovenAnswerBytes
        return sum
    }
}
