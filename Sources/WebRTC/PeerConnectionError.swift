// SPDX-License-Identifier: Apache-2.0

/// Why a peer connection or a channel could not do what was asked, or ended. Equal by code alone.
public struct PeerConnectionError: Error, Sendable, CustomStringConvertible {
    /// The kinds of failure.
    public struct Code: Hashable, Sendable {
        private let name: String
        private init(_ name: String) { self.name = name }

        /// A call that the connection's state does not allow.
        public static let invalidState = Code("invalid state")
        /// A session description that cannot be used.
        public static let invalidDescription = Code("invalid session description")
        /// No socket could be opened.
        public static let noSocket = Code("no socket")
        /// ICE found no path, or lost it.
        public static let iceFailed = Code("ICE failed")
        /// The DTLS handshake failed, or the certificate does not match the description's fingerprint.
        public static let dtlsFailed = Code("DTLS failed")
        /// The SCTP association could not be set up, or was aborted.
        public static let sctpFailed = Code("SCTP failed")
        /// As much was relayed as may be, see ``RelayBudget``.
        public static let relayBudgetSpent = Code("relay budget spent")
        /// A message larger than the other side takes.
        public static let messageTooLarge = Code("message too large")
        /// The channel or connection is closed.
        public static let closed = Code("closed")
        /// The peer did not answer in time.
        public static let timedOut = Code("timed out")
    }

    /// What kind of failure.
    public let code: Code
    /// What happened, in words.
    public let message: String

    /// An error from its parts.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// The message.
    public var description: String { message }
}

extension PeerConnectionError: Hashable {
    public static func == (lhs: PeerConnectionError, rhs: PeerConnectionError) -> Bool { lhs.code == rhs.code }
    public func hash(into hasher: inout Hasher) { hasher.combine(code) }
}
