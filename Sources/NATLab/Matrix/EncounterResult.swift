// SPDX-License-Identifier: Apache-2.0
public import ICE
public import Wire

/// What became of two peers that tried to meet, each behind boxes of its own.
public struct EncounterResult: Hashable, Sendable {
    /// How it ended.
    public enum Outcome: String, Hashable, Sendable {
        /// Data went from peer to peer.
        case direct
        /// Data went through a TURN server.
        case relayed
        /// No data went.
        case failed
    }

    /// How it ended, judged by the way that data took, not by the names of candidates.
    public var outcome: Outcome
    /// The kinds of the candidates that the offerer and the answerer took for their own ends, for example
    /// `srflx–prflx`; empty where it failed.
    public var pair = ""
    /// From the moment when both descriptions are known to both until both sides could send; `nil` where it failed.
    public var timeToConnect: Duration?
    /// What offerer and answerer needed to have their candidates.
    public var gathering: [Duration] = []
    /// Packets that both sides sent, until the end.
    public var packets = 0
    /// Their payload, in bytes.
    public var bytes = 0
    /// How many of the packets guessed ports, or left from many of them.
    public var probes = 0
    /// A number made of every packet that was sent or arrived anywhere, with its time and addresses; 0 where nobody
    /// made it. What a relay was sent over a stream is in it.
    public var digest: UInt64 = 0
    /// What the agents decided, where they were asked to report it.
    public var trace: [Decision] = []
    /// Why it failed, or why it was not direct: the most frequent reasons first.
    public var causes: [Cause] = []
    /// The packets in order, where they were asked for.
    public var steps: [Step] = []
    /// The places that the steps name, from the offerer to the answerer.
    public var places: [String] = []

    /// A decision of one of the two.
    public struct Decision: Hashable, Sendable {
        /// Whose: A offers, B answers.
        public let agent: String
        /// What, and when.
        public let decision: ICEDecision

        /// A decision from its parts.
        public init(agent: String, decision: ICEDecision) {
            self.agent = agent
            self.decision = decision
        }
    }

    /// Something that stopped packets.
    public struct Cause: Hashable, Sendable {
        /// For example "address-and-port-dependent filter at B dropped checks from 198.51.100.1:40312; its mapping has
        /// sent to 198.51.100.1:51022 alone".
        public var text: String
        /// How many packets it stopped.
        public var packets: Int

        /// A cause from its parts.
        public init(text: String, packets: Int) {
            self.text = text
            self.packets = packets
        }
    }

    /// One packet on its way between two places.
    public struct Step: Hashable, Sendable {
        /// When it left.
        public var time: Timestamp
        /// The places, by name.
        public var from: String
        public var to: String
        /// What it was.
        public var label: String
        /// Why it got no further, where it did not.
        public var dropped: String?

        /// A step from its parts.
        public init(time: Timestamp, from: String, to: String, label: String, dropped: String? = nil) {
            self.time = time
            self.from = from
            self.to = to
            self.label = label
            self.dropped = dropped
        }
    }

    /// A result that says how it ended.
    public init(_ outcome: Outcome) {
        self.outcome = outcome
    }
}
