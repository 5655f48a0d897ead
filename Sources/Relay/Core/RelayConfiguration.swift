// SPDX-License-Identifier: Apache-2.0
public import Wire

/// How a STUN and TURN server behaves.
public struct RelayConfiguration: Sendable {
    /// An address that relayed sockets are bound to, and the one that clients and peers know it by where a NAT
    /// translates.
    public struct RelayedAddress: Hashable, Sendable {
        /// Where sockets are bound.
        public var local: IPAddress
        /// What is told to clients.
        public var external: IPAddress

        /// An address, the same outside unless it is said.
        public init(_ local: IPAddress, external: IPAddress? = nil) {
            self.local = local
            self.external = external ?? local
        }
    }

    /// Two addresses with the same two ports each, which answers about a NAT's behaviour need (RFC 5780 §6).
    public struct BehaviorDiscovery: Hashable, Sendable {
        /// The two addresses.
        public var addresses: [IPAddress]
        /// The two ports.
        public var ports: [UInt16]

        /// The four ends; `nil` unless there are two different addresses of one family and two different ports.
        public init?(addresses: [IPAddress], ports: [UInt16]) {
            guard addresses.count == 2, ports.count == 2, addresses[0] != addresses[1], ports[0] != ports[1],
                addresses[0].family == addresses[1].family
            else { return nil }
            self.addresses = addresses
            self.ports = ports
        }

        /// The end with the other address, the other port, or both; `nil` for an end that is none of the four.
        func other(_ end: SocketAddress, changesAddress: Bool, changesPort: Bool) -> SocketAddress? {
            guard let address = addresses.firstIndex(of: end.ip), let port = ports.firstIndex(of: end.port) else {
                return nil
            }
            return SocketAddress(
                ip: addresses[changesAddress ? 1 - address : address], port: ports[changesPort ? 1 - port : port])
        }
    }

    /// Who may have allocations; without any user the server answers Binding requests alone.
    public var users: RelayUsers
    /// Where IPv4 addresses are relayed.
    public var relayedV4: RelayedAddress?
    /// Where IPv6 addresses are relayed.
    public var relayedV6: RelayedAddress?
    /// The ports of relayed addresses: the dynamic ones by default (RFC 8656 §7.2).
    public var ports: ClosedRange<UInt16> = 49152...65535
    /// Which peers may be reached.
    public var peers = RelayPeerPolicy()
    /// Whether two allocations of this server may reach each other, as two clients that both hide behind it must. Ports
    /// that no allocation has are always refused.
    public var allowsOwnRelayedPeers = true
    /// The server's own addresses beside the relayed ones: no peers, like loopback and unspecified addresses, unless
    /// ``RelayPeerPolicy/allowed`` names one alone.
    public var ownAddresses: [IPAddress] = []
    /// What answers about NAT behaviour are given with.
    public var discovery: BehaviorDiscovery?
    /// Whether channels may have the numbers 0x5000 to 0x7FFF as well, as before RFC 8656 (RFC 5766 §11): some clients
    /// choose among all of these.
    public var acceptsOlderChannels = false
    /// What SOFTWARE says; empty for nothing.
    public var software = "dreamer"
    /// How long a nonce is good for: an hour at most (RFC 8656 §5).
    public var nonceLifetime = Duration.seconds(3600)
    /// The lifetime of an allocation whose client asks for none or for less (RFC 8656 §6).
    public var defaultLifetime = Duration.seconds(600)
    /// The longest lifetime (RFC 8656 §7.2: at most an hour).
    public var maximumLifetime = Duration.seconds(3600)
    /// What is taken before it is refused.
    public var limits = RelayLimits()
    /// The seconds since 1970 at the core's time zero, by which short-lived credentials expire.
    public var unixTimeAtZero: Int64 = 0

    /// A server with such users.
    public init(users: RelayUsers) {
        self.users = users
    }
}

/// What a relay takes before it refuses, so that no client can exhaust it.
public struct RelayLimits: Hashable, Sendable {
    /// Allocations in all.
    public var allocations = 16_000
    /// Allocations of a user (RFC 8656 §5).
    public var allocationsPerUser = 256
    /// Allocations of a client's address; an IPv6 client counts with its /64.
    public var allocationsPerAddress = 256
    /// Permissions of an allocation.
    public var permissions = 256
    /// Channels of an allocation.
    public var channels = 256
    /// Bytes a second that a user's allocations relay, both ways together; `nil` for no limit.
    public var bytesPerSecondPerUser: Int?
    /// Bytes a second that the allocations of a client's address relay; `nil` for no limit.
    public var bytesPerSecondPerAddress: Int?
    /// Requests a second that an address may send without proving who it is.
    public var unprovenPerSecond = 100
    /// How many such requests may come at once.
    public var unprovenBurst = 400
    /// Streams in all.
    public var streams = 10_000
    /// Streams of a client's address.
    public var streamsPerAddress = 256
    /// How long a stream without an allocation may be silent.
    public var streamSilence = Duration.seconds(60)
    /// Bytes that may wait to be written to a stream.
    public var streamBacklog = 1 << 20
    /// The defaults.
    public init() {}
}
