// SPDX-License-Identifier: Apache-2.0

import Glibc
import NIOCore
import NIOPosix

/// Addresses of a host by protocol family, through the system's resolver. NIO's own looks for the first that connects,
/// whichever family that is.
enum HostResolver {
    /// A protocol family.
    enum Family: Hashable, Sendable {
        case v4, v6
    }

    /// The first address of each family that the host has, on a thread that may block; none for an unknown host.
    static func resolve(
        _ host: String, port: UInt16, on loop: any EventLoop
    ) -> EventLoopFuture<[Family: NIOCore.SocketAddress]> {
        NIOThreadPool.singleton.runIfActive(eventLoop: loop) { resolveBlocking(host, port: port) }
    }

    /// The families to hold a socket in each: both where the host has public addresses in both, since some trackers keep a
    /// swarm for each; else none in particular, so that whichever connects first serves.
    static func familiesToHold(_ addresses: [Family: NIOCore.SocketAddress]) -> [Family?] {
        guard let v4 = addresses[.v4], let v6 = addresses[.v6], !v4.isLoopback, !v6.isLoopback else { return [nil] }
        return [.v4, .v6]
    }

    // getaddrinfo(3). AI_ADDRCONFIG leaves out families that this host has no address of.
    private static func resolveBlocking(_ host: String, port: UInt16) -> [Family: NIOCore.SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0 else { return [:] }
        defer { freeaddrinfo(list) }
        var found: [Family: NIOCore.SocketAddress] = [:]
        var next = list
        while let entry = next?.pointee {
            next = entry.ai_next
            guard let address = entry.ai_addr else { continue }
            switch entry.ai_family {
            case AF_INET where found[.v4] == nil:
                address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    found[.v4] = NIOCore.SocketAddress($0.pointee, host: host)
                }
            case AF_INET6 where found[.v6] == nil:
                address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
                    found[.v6] = NIOCore.SocketAddress($0.pointee, host: host)
                }
            default: break
            }
        }
        return found
    }
}

extension NIOCore.SocketAddress {
    /// Whether this is 127.0.0.0/8 or ::1.
    fileprivate var isLoopback: Bool {
        guard let text = ipAddress else { return true }
        return text == "::1" || text.hasPrefix("127.")
    }
}
