// SPDX-License-Identifier: Apache-2.0
import Glibc
import NATLab
import NetIO
import Testing
import Wire

/// A UDP socket of IPv4 in a namespace, whose caller waits for what comes.
final class NamespaceSocket {
    let descriptor: Int32
    /// Its address and port.
    let local: SocketAddress

    /// What came, and from where.
    struct Datagram: Hashable {
        let bytes: [UInt8]
        let source: SocketAddress
    }

    init(at host: KernelNetwork.Host, address: Int = 0, port: UInt16 = 0) throws {
        let descriptor = try host.namespace.enter {
            socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        }
        self.descriptor = descriptor
        var own = Self.native(SocketAddress(ip: host.addresses[address], port: port))
        var bound = Self.with(&own) { bind(descriptor, $0, $1) }
        // A program that a test beside this one starts has copies of all sockets for a moment, closed ones too.
        let limit = MonotonicClock.now + .seconds(2)
        while bound != 0, errno == EADDRINUSE, MonotonicClock.now < limit {
            poll(nil, 0, 1)
            bound = Self.with(&own) { bind(descriptor, $0, $1) }
        }
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let named = Self.with(&own) { pointer, _ in
            getsockname(descriptor, UnsafeMutablePointer(mutating: pointer), &length)
        }
        local = Self.address(own)
        try #require(descriptor >= 0 && bound == 0 && named == 0)
    }

    deinit { close(descriptor) }

    /// How many routers the datagrams that are sent from now on pass.
    func setTTL(_ hops: Int32) {
        var hops = hops
        setsockopt(descriptor, Int32(IPPROTO_IP), IP_TTL, &hops, socklen_t(MemoryLayout<Int32>.size))
    }

    func send(_ bytes: [UInt8], to target: SocketAddress) {
        var native = Self.native(target)
        // An ICMP error for an earlier datagram is told once, in place of sending.
        for _ in 0..<3 where Self.with(&native, { sendto(descriptor, bytes, bytes.count, 0, $0, $1) }) >= 0 { return }
    }

    /// The next datagram; `nil` where none comes in time. Errors that ICMP tells of are passed over.
    func receive(within limit: Duration = .seconds(2)) -> Datagram? {
        var wanted = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let deadline = MonotonicClock.now + limit
        while true {
            let left = (deadline - MonotonicClock.now).nanoseconds
            guard left >= 0, poll(&wanted, 1, Int32(left / 1_000_000) + 1) > 0 else { return nil }
            var bytes = [UInt8](repeating: 0, count: 2048)
            var native = sockaddr_in()
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let count = Self.with(&native) { pointer, _ in
                recvfrom(
                    descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT), UnsafeMutablePointer(mutating: pointer),
                    &length)
            }
            if count >= 0 { return Datagram(bytes: Array(bytes[..<count]), source: Self.address(native)) }
            if errno == ECONNREFUSED {
                isRefused = true
                // What is kept with the error would be told of for ever.
                recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_ERRQUEUE))
            }
        }
    }

    /// Whether an ICMP error told that nobody listens.
    private(set) var isRefused = false

    /// What a socket without ``IP_RECVERR`` is told of only when it is connected.
    func reportErrors() {
        var on: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_IP), IP_RECVERR, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func native(_ address: SocketAddress) -> sockaddr_in {
        var native = sockaddr_in()
        native.sin_family = sa_family_t(AF_INET)
        native.sin_port = address.port.bigEndian
        native.sin_addr.s_addr = (address.ip.v4Bits ?? 0).bigEndian
        return native
    }

    private static func address(_ native: sockaddr_in) -> SocketAddress {
        SocketAddress(ip: .v4(UInt32(bigEndian: native.sin_addr.s_addr)), port: UInt16(bigEndian: native.sin_port))
    }

    private static func with<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        let length = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafeMutableBytes(of: &address) { bytes in
            bytes.withMemoryRebound(to: sockaddr.self) { pointer in
                guard let base = pointer.baseAddress else { preconditionFailure("an address has bytes") }
                return body(UnsafePointer(base), length)
            }
        }
    }
}

/// Why there are no kernel networks here, said once.
let networkObstacle: String? = {
    let obstacle = KernelNetwork.obstacle
    if let obstacle { print("skipped: \(obstacle)") }
    return obstacle
}()
