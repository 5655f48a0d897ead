// SPDX-License-Identifier: Apache-2.0
public import Wire

/// How a client and the server are connected: the 5-tuple that names an allocation (RFC 8656 §6).
public struct RelayClient: Hashable, Sendable {
    /// What carries the messages between a client and the server.
    public enum Transport: UInt8, Hashable, Sendable, CaseIterable {
        /// A message a datagram.
        case udp
        /// Messages one behind the other in a stream, padded to four bytes.
        case tcp
        /// As ``tcp``, encrypted.
        case tls
    }

    /// What carries the messages.
    public var transport: Transport
    /// Where the client is, as the server sees it.
    public var address: SocketAddress
    /// Where the client sent to.
    public var server: SocketAddress
    /// Which of the driver's connections it is, 0 where there is none.
    public var connection: UInt32

    /// A 5-tuple from its parts.
    public init(transport: Transport, address: SocketAddress, server: SocketAddress, connection: UInt32 = 0) {
        self.transport = transport
        self.address = address
        self.server = server
        self.connection = connection
    }

    /// Whether messages have to find their own ends.
    public var isStream: Bool { transport != .udp }
}

/// A relayed socket, as the core calls it; numbers are not used twice.
public struct RelaySocketID: Hashable, Sendable {
    /// The number.
    public let rawValue: UInt64
    /// A socket from its number.
    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What the core asks of its driver.
public enum RelayCommand: Hashable, Sendable {
    /// Bind a socket to this address; the driver answers with ``RelayCore/socketOpened(_:now:into:)`` or
    /// ``RelayCore/socketFailed(_:now:into:)``.
    case open(RelaySocketID, SocketAddress)
    /// Close a socket.
    case close(RelaySocketID)
}
