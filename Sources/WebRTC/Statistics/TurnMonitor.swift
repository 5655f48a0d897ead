// SPDX-License-Identifier: Apache-2.0

/// Watches how much goes through TURN servers for each peer. Whoever runs such a server pays for every byte twice, on
/// the way in and on the way out, so there is a budget: a warning comes before it, and at it the connection ends.
///
/// It counts for each peer over all its connections, so that nobody gets a new budget by coming back.
public struct TurnMonitor<Peer: Hashable & Sendable>: Sendable {
    /// How many bytes may be relayed for a peer, both directions together.
    public let budget: UInt64
    /// The part of the budget at which a warning comes.
    private static var warningShare: Double { 0.8 }
    private var bytes: [Peer: UInt64] = [:]

    /// A monitor with a budget for each peer, 500 MiB unless told otherwise.
    public init(budget: UInt64 = 500 << 20) {
        self.budget = budget
    }

    /// Adds what was relayed for a peer, both directions together. Answers the sum at the moment when a good part of
    /// the budget is gone, and `nil` before and after.
    public mutating func add(_ count: UInt64, for peer: Peer) -> UInt64? {
        let before = relayedBytes(peer)
        let sum = before.addingReportingOverflow(count)
        let after = sum.overflow ? UInt64.max : sum.partialValue
        bytes[peer] = after
        let warning = Double(budget) * Self.warningShare
        return Double(before) < warning && Double(after) >= warning ? after : nil
    }

    /// What may still be relayed for a peer.
    public func allowance(_ peer: Peer) -> UInt64 { budget - min(budget, relayedBytes(peer)) }

    /// What was relayed for a peer so far.
    public func relayedBytes(_ peer: Peer) -> UInt64 { bytes[peer] ?? 0 }

    /// What was relayed for all peers.
    public var relayedBytes: UInt64 { bytes.values.reduce(0) { $0 &+ $1 } }
}
