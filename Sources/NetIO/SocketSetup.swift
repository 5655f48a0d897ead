// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Wire

/// The options of a UDP socket, by name.
struct SocketSetup {
    /// A socket option: level and name.
    struct Option {
        let level: Int32
        let name: Int32
        /// The option that root may use to pass the system's limit, 0 where there is none.
        var forcedName: Int32 = 0

        static let receiveBuffer = Option(level: SOL_SOCKET, name: SO_RCVBUF, forcedName: SO_RCVBUFFORCE)
        static let sendBuffer = Option(level: SOL_SOCKET, name: SO_SNDBUF, forcedName: SO_SNDBUFFORCE)
        static let v6Only = Option(level: Int32(IPPROTO_IPV6), name: IPV6_V6ONLY)
        static let packetInfoV4 = Option(level: Int32(IPPROTO_IP), name: IP_PKTINFO)
        static let packetInfoV6 = Option(level: Int32(IPPROTO_IPV6), name: IPV6_RECVPKTINFO)
        static let dontFragmentV4 = Option(level: Int32(IPPROTO_IP), name: IP_MTU_DISCOVER)
        static let dontFragmentV6 = Option(level: Int32(IPPROTO_IPV6), name: IPV6_MTU_DISCOVER)
        static let segmentation = Option(level: Int32(IPPROTO_UDP), name: Int32(CNETIO_UDP_SEGMENT))
        static let reuseAddress = Option(level: SOL_SOCKET, name: SO_REUSEADDR)
        static let reusePort = Option(level: SOL_SOCKET, name: SO_REUSEPORT)
        static let receiveErrorsV4 = Option(level: Int32(IPPROTO_IP), name: IP_RECVERR)
        static let receiveErrorsV6 = Option(level: Int32(IPPROTO_IPV6), name: IPV6_RECVERR)
        static let hopsV4 = Option(level: Int32(IPPROTO_IP), name: IP_TTL)
        static let hopsV6 = Option(level: Int32(IPPROTO_IPV6), name: IPV6_UNICAST_HOPS)
        static let multicastHops = Option(level: Int32(IPPROTO_IP), name: IP_MULTICAST_TTL)
        static let multicastOfOthers = Option(level: Int32(IPPROTO_IP), name: IP_MULTICAST_ALL)
        static let noDelay = Option(level: Int32(IPPROTO_TCP), name: TCP_NODELAY)
        static let userTimeout = Option(level: Int32(IPPROTO_TCP), name: TCP_USER_TIMEOUT)
        static let error = Option(level: SOL_SOCKET, name: SO_ERROR)
        static let coalescing = Option(level: Int32(IPPROTO_UDP), name: Int32(CNETIO_UDP_GRO))
    }

    /// ip(7): sets the don't-fragment bit and ignores the path MTU. The value of IPv6 is the same (ipv6(7)).
    static let dontFragmentIgnoringReports = IP_PMTUDISC_PROBE

    /// As many as the route or the system says (ipv6(7); of IPv4 alike).
    static let defaultHops: Int32 = -1

    let descriptor: Int32

    /// The corresponding C function is `setsockopt`.
    func set(_ option: Option, _ value: Int32) throws(NetIOError) {
        guard attempt(option, value) else { throw .last("setsockopt \(option.level)/\(option.name)") }
    }

    /// Sets an option; answers whether that went.
    @discardableResult
    func attempt(_ option: Option, _ value: Int32) -> Bool {
        set(option.level, option.name, value)
    }

    /// Whether routers may fragment what is sent. The values of IPv6 are the same (ipv6(7)).
    func setFragments(allowed: Bool, isV6: Bool) {
        attempt(
            isV6 ? .dontFragmentV6 : .dontFragmentV4,
            allowed ? IP_PMTUDISC_DONT : SocketSetup.dontFragmentIgnoringReports)
    }

    /// Joins an IPv4 group on the interface with an address, and sends there.
    func join(_ group: IPAddress, on interface: IPAddress) throws(NetIOError) {
        guard let group = group.v4Bits, let interface = interface.v4Bits else {
            throw NetIOError("join a group", code: EAFNOSUPPORT)
        }
        let member = in_addr(s_addr: interface.bigEndian)
        let request = ip_mreq(imr_multiaddr: in_addr(s_addr: group.bigEndian), imr_interface: member)
        guard set(Int32(IPPROTO_IP), IP_ADD_MEMBERSHIP, request), set(Int32(IPPROTO_IP), IP_MULTICAST_IF, member) else {
            throw .last("join a group")
        }
        // Only what comes in there; and RFC 6762 §11 has 255 hops.
        attempt(.multicastOfOthers, 0)
        attempt(.multicastHops, 255)
    }

    /// Sets a buffer's size, past the system's limit where the process may.
    func grow(_ option: Option, to bytes: Int) {
        let value = Int32(clamping: bytes)
        if !set(option.level, option.forcedName, value) { attempt(option, value) }
    }

    /// The corresponding C function is `getsockopt`.
    func get(_ option: Option) -> Int {
        var value: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, option.level, option.name, &value, &length) == 0 else { return 0 }
        return Int(value)
    }

    /// How many datagrams the kernel dropped for want of buffer: `SO_MEMINFO`, field `SK_MEMINFO_DROPS`
    /// (linux/sock_diag.h).
    var kernelDrops: Int {
        let meminfo: Int32 = 55
        let drops = 8
        var fields = [UInt32](repeating: 0, count: 16)
        var length = socklen_t(fields.count * 4)
        guard getsockopt(descriptor, SOL_SOCKET, meminfo, &fields, &length) == 0, Int(length) > drops * 4 else {
            return 0
        }
        return Int(fields[drops])
    }

    private func set<Value: BitwiseCopyable>(_ level: Int32, _ name: Int32, _ value: Value) -> Bool {
        var value = value
        return setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Value>.size)) == 0
    }
}
