// SPDX-License-Identifier: Apache-2.0
import Wire

/// What a link does to packets in one direction.
///
/// A packet waits in the queue, takes `byteCount / rate` on the wire, and arrives `delay` plus jitter after its last byte
/// left. Everything is off until it is asked for: the conditions of `LinkConditions()` are those of a perfect wire.
public struct LinkConditions: Hashable, Sendable {
    /// Bytes a second, at most 10⁹; `nil` for a link that takes no time to send.
    public var rate: Int?
    /// What every packet takes from end to end, besides queue and sending.
    public var delay: Duration
    /// The most that a packet takes longer than `delay`, equally distributed. Packets do not overtake for its sake.
    public var jitter: Duration
    /// How many bytes may wait, those of the packet on the wire that are still to be sent included; a packet that would
    /// exceed it is dropped (drop-tail). `nil` for no limit. An idle link takes any packet.
    public var queueLimit: Int?
    /// Which packets are lost on the wire. They take their time on it all the same.
    public var loss: LossModel
    /// The share of packets that arrive twice, at the same time.
    public var duplication: Double
    /// The share of packets that are held back by `reorderDelay`, so that later ones overtake them.
    public var reorder: Double
    /// How much longer a held-back packet takes.
    public var reorderDelay: Duration
    /// The longest packet that passes; `nil` for any.
    public var mtu: Int?

    /// A perfect wire but for what is named.
    public init(
        rate: Int? = nil, delay: Duration = .zero, jitter: Duration = .zero, queueLimit: Int? = nil,
        loss: LossModel = .none, duplication: Double = 0, reorder: Double = 0,
        reorderDelay: Duration = .milliseconds(5), mtu: Int? = nil
    ) {
        self.rate = rate
        self.delay = delay
        self.jitter = jitter
        self.queueLimit = queueLimit
        self.loss = loss
        self.duplication = duplication
        self.reorder = reorder
        self.reorderDelay = reorderDelay
        self.mtu = mtu
    }

    /// The bytes that a link of `rate` bytes a second holds in one round trip: what one sizes queues by.
    public static func bandwidthDelayProduct(rate: Int, roundTrip: Duration) -> Int {
        Int((Double(rate) * roundTrip.seconds).rounded())
    }
}
