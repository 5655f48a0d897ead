// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A way from this agent to its peer, as it was when it was asked for.
public struct ICECandidatePair: Hashable, Sendable {
    /// Where a pair stands (RFC 8445 §6.1.2.6).
    public enum State: String, Sendable, Hashable {
        case frozen, waiting, inProgress, succeeded, failed
    }

    /// The two ends of a pair and a number that is its own within one agent.
    public struct Name: Hashable, Sendable, CustomStringConvertible {
        /// Counts up with every pair formed.
        public let id: Int
        /// What packets are sent from: the base of the local candidate.
        public let base: SocketAddress
        /// Where packets are sent to.
        public let remote: SocketAddress

        /// `#3 192.0.2.1:5000 → 192.0.2.2:6000`.
        public var description: String { "#\(id) \(base) → \(remote)" }
    }

    /// Number and addresses.
    public let name: Name
    /// The local candidate: once the pair has succeeded, the address that the peer sees.
    public let local: ICECandidate
    /// The peer's candidate.
    public let remote: ICECandidate
    /// RFC 8445 §6.1.2.3.
    public let priority: UInt64
    /// Where the pair stands.
    public let state: State
    /// Whether the controlling agent has chosen it.
    public let isNominated: Bool
    /// The time from the last check to its answer.
    public let roundTripTime: Duration?
    /// What was asked and answered on a pair, copies of requests left out.
    public struct Counters: Hashable, Sendable {
        /// Checks sent, without those for consent.
        public var requestsSent: UInt64 = 0
        /// Checks for consent sent (RFC 7675).
        public var consentRequestsSent: UInt64 = 0
        /// Answers of success to either.
        public var responsesReceived: UInt64 = 0
        /// Checks of the peer that were answered with success …
        public var requestsReceived: UInt64 = 0
        /// … and the answers.
        public var responsesSent: UInt64 = 0
        /// The times from requests to their answers together.
        public var totalRoundTripTime: Duration = .zero

        /// Zeros.
        public init() {}
    }

    /// What packets are sent from.
    public var localAddress: SocketAddress { name.base }
    /// Where packets are sent to.
    public var remoteAddress: SocketAddress { name.remote }

    /// RFC 8445 §6.1.2.3, with the priorities of the candidates of both roles.
    static func priority(controlling: UInt32, controlled: UInt32) -> UInt64 {
        UInt64(min(controlling, controlled)) << 32 + 2 * UInt64(max(controlling, controlled))
            + (controlling > controlled ? 1 : 0)
    }
}
