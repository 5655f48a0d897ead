// SPDX-License-Identifier: Apache-2.0

/// Watches how much goes through TURN servers for each peer. Whoever runs such a server pays for every byte twice, on the way
/// in and on the way out, so there is a budget: a warning comes before it, and at it the connection should end.
///
/// It counts for each peer over all its connections, so that nobody gets a new budget by coming back.
public struct TurnMonitor<Peer: Hashable & Sendable>: Sendable {
    /// What a new count means.
    public enum Verdict: Hashable, Sendable {
        /// A good part of the budget is gone; told once for each peer.
        case warning(bytes: UInt64)
        /// The budget is gone: end the connection.
        case exceeded(bytes: UInt64)
    }

    private struct Usage {
        /// What connections that are over relayed.
        var before: UInt64 = 0
        /// What the present connection relayed.
        var now: UInt64 = 0
        var isWarned = false
        var total: UInt64 { before &+ now }
    }

    /// How many bytes may be relayed for a peer, both directions together.
    public let budget: UInt64
    /// The part of the budget at which a warning comes.
    private static var warningShare: Double { 0.8 }
    private var usages: [Peer: Usage] = [:]

    /// A monitor with a budget for each peer, 500 MiB unless told otherwise.
    public init(budget: UInt64 = 500 << 20) {
        self.budget = budget
    }

    /// Notes what a peer's present connection has relayed so far, both directions together. Answers what that means, if it is
    /// news; at the budget it is news every time.
    public mutating func note(_ peer: Peer, relayedBytes: UInt64) -> Verdict? {
        guard relayedBytes > 0 || usages[peer] != nil else { return nil }
        var usage = usages[peer] ?? Usage()
        defer { usages[peer] = usage }
        // A count that falls belongs to another connection than before.
        if relayedBytes < usage.now { usage.before &+= usage.now }
        usage.now = relayedBytes
        if usage.total >= budget { return .exceeded(bytes: usage.total) }
        guard !usage.isWarned, Double(usage.total) >= Self.warningShare * Double(budget) else { return nil }
        usage.isWarned = true
        return .warning(bytes: usage.total)
    }

    /// Notes that a peer's connection is over: its next one counts from zero, on top of what was.
    public mutating func ended(_ peer: Peer) {
        guard var usage = usages[peer] else { return }
        usage.before = usage.total
        usage.now = 0
        usages[peer] = usage
    }

    /// Whether a new connection to a peer may be relayed at all.
    public func hasBudget(_ peer: Peer) -> Bool { relayedBytes(peer) < budget }

    /// What was relayed for a peer so far.
    public func relayedBytes(_ peer: Peer) -> UInt64 { usages[peer]?.total ?? 0 }

    /// What was relayed for all peers.
    public var relayedBytes: UInt64 { usages.values.reduce(0) { $0 &+ $1.total } }
}
