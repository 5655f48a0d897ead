// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Wire

/// Sockets in the group of multicast DNS, each on one link.
enum MulticastLink {
    /// A socket for each IPv4 address, by the address that it sends from; links where multicast does not work are left
    /// out. Other programs of the host may have sockets there as well.
    static func sockets(from addresses: [IPAddress]) -> [(source: SocketAddress, socket: UDPSocket)] {
        var sockets: [(SocketAddress, UDPSocket)] = []
        for address in Set(addresses) where address.family == .v4 && !address.isUnspecified {
            var options = UDPSocket.Options()
            options.multicastInterface = address
            options.receiveBufferBytes = 64 << 10
            options.coalescing = false
            let group = SocketAddress(ip: MDNSMessage.group, port: MDNSMessage.port)
            guard let socket = try? UDPSocket(bind: group, options: options) else { continue }
            sockets.append((SocketAddress(ip: address, port: MDNSMessage.port), socket))
        }
        return sockets
    }
}
