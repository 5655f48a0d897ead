// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import Testing
import Wire

/// TCP between namespaces, of both kinds of addresses.
enum TCPPair {
    /// A listening socket.
    static func listen(at host: KernelNetwork.Host, address: Int = 0, port: UInt16) throws -> Int32 {
        let own = SocketAddress(ip: host.addresses[address], port: port)
        let descriptor = try host.namespace.enter {
            socket(family(own), Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        }
        let bound = with(own) { bind(descriptor, $0, $1) }
        try #require(bound == 0 && Glibc.listen(descriptor, 4) == 0)
        return descriptor
    }

    /// Whether a connection comes up within two seconds.
    static func connects(from host: KernelNetwork.Host, to target: SocketAddress) throws -> Bool {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let descriptor = try host.namespace.enter { socket(family(target), kind, 0) }
        defer { close(descriptor) }
        if with(target, { connect(descriptor, $0, $1) }) == 0 { return true }
        var wanted = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard errno == EINPROGRESS, poll(&wanted, 1, 2000) > 0 else { return false }
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0
    }

    private static func family(_ address: SocketAddress) -> Int32 { address.ip.family == .v4 ? AF_INET : AF_INET6 }

    private static func with<Result>(
        _ address: SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        var storage = sockaddr_storage()
        var length = MemoryLayout<sockaddr_in6>.size
        if let bits = address.ip.v4Bits {
            length = MemoryLayout<sockaddr_in>.size
            withUnsafeMutableBytes(of: &storage) {
                var native = sockaddr_in()
                native.sin_family = sa_family_t(AF_INET)
                native.sin_port = address.port.bigEndian
                native.sin_addr.s_addr = bits.bigEndian
                $0.storeBytes(of: native, as: sockaddr_in.self)
            }
        } else {
            withUnsafeMutableBytes(of: &storage) {
                var native = sockaddr_in6()
                native.sin6_family = sa_family_t(AF_INET6)
                native.sin6_port = address.port.bigEndian
                withUnsafeMutableBytes(of: &native.sin6_addr) { $0.copyBytes(from: address.ip.bytes) }
                $0.storeBytes(of: native, as: sockaddr_in6.self)
            }
        }
        return withUnsafeBytes(of: &storage) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { pointer in
                guard let base = pointer.baseAddress else { preconditionFailure("an address has bytes") }
                return body(base, socklen_t(length))
            }
        }
    }
}
