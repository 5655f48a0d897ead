// SPDX-License-Identifier: Apache-2.0
public import Wire

extension NATDiscovery {
    /// What a discovery is told before it starts.
    public struct Configuration: Sendable, Hashable {
        /// Servers that are asked in turn if the first does not answer, and that tell UDP that is blocked from a server
        /// that is down.
        public var otherServers: [SocketAddress] = []
        /// The least time between two new requests: RFC 5780 §5 wants ten a second at most.
        public var pacing: Duration = .milliseconds(100)
        /// The wait for the first repetition while no round trip was measured (RFC 8489 §6.2.1).
        public var initialRTO: Duration = .milliseconds(500)
        /// Rc: how many copies of a request are sent before it has failed (RFC 8489 §6.2.1, whose 7 take 39.5 s for a
        /// server that is silent; 6 take less than half).
        public var copies = 6
        /// How many mappings are looked at to learn how ports are chosen; less than 20 do not tell about parity and
        /// pooling.
        public var allocationSockets = 24
        /// When whatever is not known yet stays so; the search for the lifetime of mappings has a time of its own.
        public var timeLimit: Duration = .seconds(120)
        /// How long the lifetime of mappings may be searched for; `nil` not to. Lifetimes up to about half of it are
        /// found.
        public var lifetimeBudget: Duration?

        /// The values above.
        public init() {}
    }

    /// What a discovery does at the moment.
    public enum Stage: String, Hashable, Sendable, CaseIterable {
        /// Asks the server for the first time.
        case connectivity
        /// Has answers come from elsewhere.
        case filtering
        /// Looks what packets that were not let in did.
        case filteredInbound = "filtered-inbound"
        /// Sends to all addresses of the server.
        case mapping
        /// Makes mappings one after the other.
        case allocation
        /// Sends to own external addresses.
        case hairpinning
        /// Lets mappings grow old.
        case lifetime
    }
}
