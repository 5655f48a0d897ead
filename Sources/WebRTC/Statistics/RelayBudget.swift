// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A ``TurnMonitor`` that the connections of a program share. A peer is told by the digest of its certificate, so that
/// nobody gets a new budget by coming back.
public final class RelayBudget: Sendable {
    /// What a peer's count means.
    public enum News: Hashable, Sendable {
        /// A good part of the budget is gone; told once for each peer.
        case warning(bytes: UInt64)
        /// The budget is gone, but for less than a packet: the connection has ended.
        case spent(bytes: UInt64)
    }

    /// Is told news with the digest of the peer's certificate.
    public typealias Observer = @Sendable (_ news: News, _ peer: [UInt8]) -> Void

    private let monitor: Mutex<TurnMonitor<[UInt8]>>
    private let observer: Observer?

    /// How many bytes may be relayed for a peer, both directions together.
    public let limit: UInt64

    /// A budget for each peer, 500 MiB unless told otherwise. The observer hears of warnings and ends, on the thread
    /// that moves the packets.
    public init(limit: UInt64 = 500 << 20, observer: Observer? = nil) {
        self.limit = limit
        self.observer = observer
        monitor = Mutex(TurnMonitor(budget: limit))
    }

    /// What was relayed for all peers so far.
    public var relayedBytes: UInt64 { monitor.withLock { $0.relayedBytes } }

    /// How much a new connection to a peer may relay.
    func allowance(for peer: [UInt8]) -> UInt64 { monitor.withLock { $0.allowance(peer) } }

    /// Whether nothing more can be relayed for a peer: less is left than the longest packet takes.
    func isSpent(for peer: [UInt8]) -> Bool { allowance(for: peer) < 1500 }

    /// Adds what a connection has relayed.
    func add(_ bytes: UInt64, for peer: [UInt8]) {
        if let used = monitor.withLock({ $0.add(bytes, for: peer) }) { observer?(.warning(bytes: used), peer) }
    }

    /// Notes that a connection has ended because the next packet would have been too much.
    func spent(by peer: [UInt8]) {
        observer?(.spent(bytes: monitor.withLock { $0.relayedBytes(peer) }), peer)
    }
}
