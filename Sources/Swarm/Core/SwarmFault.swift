// SPDX-License-Identifier: Apache-2.0

/// Why a connection is closed.
public struct SwarmCloseReason: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kinds of reason.
    public enum Code: Hashable, Sendable {
        /// A lie or a message against the format: the node is banned.
        case fault
        /// Another breach of the protocol.
        case breach
        /// No hello, or no bulk channel, within 10 s.
        case helloTimeout
        /// Nothing was received for 60 s.
        case silence
        /// Requests stayed without a frame.
        case unanswered
        /// There is a better connection to the same node.
        case duplicate
        /// The node was banned before.
        case banned
        /// As many peers as allowed are connected.
        case tooManyPeers
        /// Both nodes have everything.
        case nothingToExchange
        /// The versions of the two nodes do not overlap, or a lane that this node does not use.
        case unsupported
        /// The node leaves.
        case left
        /// The transport closed.
        case disconnected
    }

    /// The kind.
    public let code: Code
    /// What happened, for people.
    public let message: String

    /// A reason from its parts.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// What happened.
    public var description: String { message }
}
