// SPDX-License-Identifier: Apache-2.0

/// Which packets a link loses.
public enum LossModel: Hashable, Sendable {
    /// None.
    case none
    /// Each with the same probability, whatever happened to others.
    case random(Double)
    /// Several in a row (Gilbert–Elliott).
    case bursts(BurstLoss)

    /// The share of packets that are lost in the long run.
    public var average: Double {
        switch self {
        case .none: 0
        case .random(let share): share
        case .bursts(let bursts): bursts.average
        }
    }
}

/// The loss model of Gilbert and Elliott: a link is in a good or a bad state, may change it before every packet, and loses
/// packets with a probability that depends on it.
public struct BurstLoss: Hashable, Sendable {
    /// The probability that a good link turns bad before a packet.
    public var entry: Double
    /// The probability that a bad link turns good before a packet.
    public var exit: Double
    /// The share of packets lost in the good state.
    public var lossWhenGood: Double
    /// The share of packets lost in the bad state.
    public var lossWhenBad: Double

    /// A model from its four probabilities; by default the good state loses nothing and the bad one everything (Gilbert).
    public init(entry: Double, exit: Double, lossWhenGood: Double = 0, lossWhenBad: Double = 1) {
        self.entry = entry
        self.exit = exit
        self.lossWhenGood = lossWhenGood
        self.lossWhenBad = lossWhenBad
    }

    /// A model that loses `average` of all packets (below 1), in runs of `meanLength` packets (1 or more).
    public init(average: Double, meanLength: Double) {
        let exit = 1 / meanLength
        self.init(entry: min(1, average * exit / (1 - average)), exit: exit)
    }

    /// The share of packets that are lost in the long run.
    public var average: Double {
        guard entry + exit > 0 else { return lossWhenGood }
        let bad = entry / (entry + exit)
        return bad * lossWhenBad + (1 - bad) * lossWhenGood
    }
}
