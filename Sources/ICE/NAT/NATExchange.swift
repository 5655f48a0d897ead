// SPDX-License-Identifier: Apache-2.0
public import Wire

/// One request of a discovery and what came of it: the evidence that a report rests on.
public struct NATExchange: Hashable, Sendable {
    /// What a request was for.
    public enum Purpose: String, Hashable, Sendable, CaseIterable {
        /// Whether the server answers at all (RFC 5780 §4.2).
        case connectivity
        /// Whether an answer from elsewhere is let in (RFC 5780 §4.4).
        case filtering
        /// That the path and the server work, right beside a test that nobody answered.
        case control
        /// Whether a packet that was not let in took the port that it was for.
        case leak
        /// Whether a packet that was not let in ended the mapping that it was for.
        case ending
        /// Which address a destination sees (RFC 5780 §4.3).
        case mapping
        /// How ports are chosen.
        case allocation
        /// Whether a packet to an own external address comes back in (RFC 5780 §3.4).
        case hairpin
        /// Whether the server answers to another port.
        case responsePort = "response-port"
        /// Whether a mapping is still there (RFC 5780 §4.6).
        case lifetime
    }

    /// The flags of CHANGE-REQUEST (RFC 5780 §7.2).
    public struct Changes: OptionSet, Hashable, Sendable {
        /// The value of the attribute.
        public let rawValue: UInt32
        /// Flags from the attribute's value.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// The answer is to come from the server's other address.
        public static let address = Changes(rawValue: 4)
        /// The answer is to come from the server's other port.
        public static let port = Changes(rawValue: 2)
    }

    /// How a request ended.
    public enum Outcome: Hashable, Sendable {
        /// It has not.
        case pending
        /// An answer came, or, for ``Purpose/hairpin``, the request itself.
        case answered(Answer)
        /// An error response came, with this code.
        case refused(Int)
        /// Nothing came.
        case silent
        /// It did not matter any more.
        case dropped
    }

    /// What came.
    public struct Answer: Hashable, Sendable {
        /// When.
        public var time: Timestamp
        /// At which socket.
        public var socket: Int
        /// From where.
        public var source: SocketAddress
        /// Where the server saw the request come from; for ``Purpose/hairpin`` the same as ``source``.
        public var mapped: SocketAddress
        /// MAPPED-ADDRESS, which a NAT that meddles with payload may have changed.
        public var plainMapped: SocketAddress?
        /// OTHER-ADDRESS.
        public var otherAddress: SocketAddress?
        /// RESPONSE-ORIGIN.
        public var responseOrigin: SocketAddress?
    }

    /// What the request was for.
    public let purpose: Purpose
    /// The socket, counted from 0 in the order in which the discovery asked for them.
    public let socket: Int
    /// Where the socket is bound.
    public let source: SocketAddress
    /// Where the request went.
    public let destination: SocketAddress
    /// From where it wants its answer.
    public let changes: Changes
    /// To which port it wants its answer; `nil` for its own.
    public let responsePort: UInt16?
    /// When its first copy left; `nil` before.
    public internal(set) var sentAt: Timestamp?
    /// When its last copy left.
    public internal(set) var lastSentAt: Timestamp?
    /// How many copies left.
    public internal(set) var copies = 0
    /// What came of it.
    public internal(set) var outcome = Outcome.pending

    /// The answer, if there was one.
    public var answer: Answer? { if case .answered(let answer) = outcome { answer } else { nil } }
    /// Whether nothing more is to come.
    public var isOver: Bool { outcome != .pending }
}

extension NATExchange: CustomStringConvertible {
    /// The exchange on one line.
    public var description: String {
        var text =
            "\(sentAt.map(\.description) ?? "-") \(purpose.rawValue): socket \(socket) \(source) → \(destination)"
        if changes == [.address, .port] { text += ", change address and port" }
        if changes == .address { text += ", change address" }
        if changes == .port { text += ", change port" }
        if let responsePort { text += ", answer to port \(responsePort)" }
        if copies > 1 { text += ", \(copies) copies" }
        return text + ": \(outcome)"
    }
}

extension NATExchange.Outcome: CustomStringConvertible {
    /// The outcome in words.
    public var description: String {
        switch self {
        case .pending: "pending"
        case .answered(let answer): "seen as \(answer.mapped), from \(answer.source) at socket \(answer.socket)"
        case .refused(let code): "refused with \(code)"
        case .silent: "no answer"
        case .dropped: "given up"
        }
    }
}
