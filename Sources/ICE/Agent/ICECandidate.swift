// SPDX-License-Identifier: Apache-2.0
public import Wire

/// A transport address at which an agent may be reached, with what RFC 8445 §5.1 computes for it.
public struct ICECandidate: Hashable, Sendable {
    /// How an address was found.
    public enum Kind: String, Sendable, Hashable {
        /// It is an address of the host.
        case host
        /// A server saw it.
        case serverReflexive = "srflx"
        /// The peer saw it.
        case peerReflexive = "prflx"
        /// A relay lends it.
        case relayed = "relay"

        /// The type preferences that RFC 8445 §5.1.2.2 recommends.
        var preference: UInt32 {
            switch self {
            case .host: 126
            case .peerReflexive: 110
            case .serverReflexive: 100
            case .relayed: 0
            }
        }
    }

    /// What carries packets to the address.
    public enum Transport: String, Sendable, Hashable {
        case udp
        case tcp
    }

    /// Where a candidate is: an address, or a name that has to be resolved first (as browsers write `….local`).
    public enum Host: Hashable, Sendable {
        case address(IPAddress)
        case name(String)
    }

    /// A name and a value at the end of a candidate line; kept as they are.
    public struct Extension: Hashable, Sendable {
        /// What it is about.
        public var name: String
        /// What it says.
        public var value: String

        /// An extension from its parts.
        public init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    /// Equal for candidates that likely share their fate: 1 to 32 ice-chars (RFC 8445 §5.1.1.3).
    public var foundation: String
    /// 1 to 256; data channels use 1 alone.
    public var component: Int
    /// The transport.
    public var transport: Transport
    /// The order of checks, higher first (RFC 8445 §5.1.2).
    public var priority: UInt32
    /// The host.
    public var host: Host
    /// The port.
    public var port: UInt16
    /// How the address was found.
    public var kind: Kind
    /// For what a server, the peer or a relay gave: the address behind it. `nil` for host candidates.
    public var relatedAddress: SocketAddress?
    /// What follows on the line, in order: `ufrag`, `generation`, `tcptype` and what else senders write.
    public var extensions: [Extension]

    /// A candidate from its parts.
    public init(
        foundation: String, component: Int = 1, transport: Transport = .udp, priority: UInt32, address: SocketAddress,
        kind: Kind, relatedAddress: SocketAddress? = nil, extensions: [Extension] = []
    ) {
        self.foundation = foundation
        self.component = component
        self.transport = transport
        self.priority = priority
        host = .address(address.ip)
        port = address.port
        self.kind = kind
        self.relatedAddress = relatedAddress
        self.extensions = extensions
    }

    /// Address and port; `nil` while the host is a name.
    public var address: SocketAddress? {
        guard case .address(let ip) = host else { return nil }
        return SocketAddress(ip: ip, port: port)
    }

    /// The value of the first extension of a name.
    public func value(ofExtension name: String) -> String? {
        extensions.first { $0.name == name }?.value
    }

    /// RFC 8445 §5.1.2.1.
    static func priority(
        _ kind: Kind, localPreference: UInt16, component: Int = 1, transport: Transport = .udp
    ) -> UInt32 {
        kind.preference(over: transport) << 24 | UInt32(localPreference) << 8 | UInt32(256 - component)
    }
}
