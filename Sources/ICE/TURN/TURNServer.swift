// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A TURN server and how it is reached (RFC 8656).
public struct TURNServer: Hashable, Sendable {
    /// What carries messages between client and server.
    public enum Transport: String, Hashable, Sendable, CaseIterable {
        /// Datagrams.
        case udp
        /// A byte stream.
        case tcp
        /// A byte stream under TLS.
        case tls

        /// Whether messages follow each other in a stream of bytes.
        public var isStream: Bool { self != .udp }
    }

    /// Which relayed addresses are asked for (RFC 8656 §7.1).
    public enum Families: Hashable, Sendable {
        /// An IPv4 address, which every server has.
        case v4
        /// An IPv6 address.
        case v6
        /// One of each; a server that lacks one lends the other, and one that refuses the pair is asked for IPv4 alone.
        case both
    }

    /// Where the server listens.
    public var address: SocketAddress
    /// How it is reached.
    public var transport: Transport
    /// Who asks.
    public var credentials: LongTermCredentials
    /// The name that its certificate must be for, where TLS carries the messages; `nil` for the address.
    public var name: String?
    /// The relayed addresses wanted.
    public var families = Families.v4

    /// A server from its parts.
    public init(
        address: SocketAddress, transport: Transport = .udp, credentials: LongTermCredentials, name: String? = nil,
        families: Families = .v4
    ) {
        self.address = address
        self.transport = transport
        self.credentials = credentials
        self.name = name
        self.families = families
    }
}
