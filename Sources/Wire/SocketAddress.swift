// SPDX-License-Identifier: Apache-2.0

/// An IP address with a port: where a datagram comes from or goes to.
public struct SocketAddress: Hashable, Sendable {
    /// The host.
    public var ip: IPAddress
    /// The port, 0 where the system is to choose one.
    public var port: UInt16

    /// An address from its parts.
    public init(ip: IPAddress, port: UInt16) {
        self.ip = ip
        self.port = port
    }

    /// What stands in for an address where there is none.
    public static let unspecified = SocketAddress(ip: .anyV4, port: 0)
}

extension SocketAddress: LosslessStringConvertible {
    /// Reads `192.0.2.1:80` and `[2001:db8::1]:80`; `nil` for anything else, host names included.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        let host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            guard let ip = IPAddress(String(host.dropFirst().dropLast())), ip.family == .v6 else { return nil }
            self.init(ip: ip, port: port)
        } else {
            guard let ip = IPAddress(String(host)), ip.family == .v4 else { return nil }
            self.init(ip: ip, port: port)
        }
    }

    /// `192.0.2.1:80` or `[2001:db8::1]:80`.
    public var description: String {
        ip.family == .v6 ? "[\(ip)]:\(port)" : "\(ip):\(port)"
    }
}
