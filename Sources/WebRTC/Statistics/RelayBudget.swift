// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A ``TurnMonitor`` that the connections of a program share. A peer is told by the digest of its certificate, so that nobody
/// gets a new budget by coming back.
public final class RelayBudget: Sendable {
    /// What a peer's count means, and the digest of the peer's certificate.
    public typealias Observer = @Sendable (_ verdict: TurnMonitor<[UInt8]>.Verdict, _ peer: [UInt8]) -> Void

    private let monitor: Mutex<TurnMonitor<[UInt8]>>
    private let observer: Observer?

    /// How many bytes may be relayed for a peer, both directions together.
    public let limit: UInt64

    /// A budget for each peer, 500 MiB unless told otherwise. The observer hears of warnings and ends, on the thread that moves
    /// the packets.
    public init(limit: UInt64 = 500 << 20, observer: Observer? = nil) {
        self.limit = limit
        self.observer = observer
        monitor = Mutex(TurnMonitor(budget: limit))
    }

    /// What was relayed for all peers so far.
    public var relayedBytes: UInt64 { monitor.withLock { $0.relayedBytes } }

    /// Notes what a connection has relayed so far. `false` where it is to end.
    func note(_ bytes: UInt64, for peer: [UInt8]) -> Bool {
        guard let verdict = monitor.withLock({ $0.note(peer, relayedBytes: bytes) }) else { return true }
        observer?(verdict, peer)
        if case .exceeded = verdict { return false }
        return true
    }

    /// Notes that a connection to a peer is over.
    func ended(_ peer: [UInt8]) { monitor.withLock { $0.ended(peer) } }
}
