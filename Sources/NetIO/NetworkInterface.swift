// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
public import Wire

/// A network interface of this host that is up, with its addresses.
public struct NetworkInterface: Hashable, Sendable {
    /// An address on an interface.
    public struct Address: Hashable, Sendable {
        /// The address; a link-local IPv6 one has its zone.
        public var ip: IPAddress
        /// How many leading bits name the network.
        public var prefixLength: Int
        /// A privacy address that changes from time to time (RFC 8981).
        public var isTemporary: Bool
    }

    /// The name, `eth0` for example.
    public var name: String
    /// The number that IPv6 zones and routing use.
    public var index: UInt32
    /// Whether it reaches this host alone.
    public var isLoopback: Bool
    /// Whether it leads to a single other host, as tunnels do.
    public var isPointToPoint: Bool
    /// The addresses that may be used, in the system's order.
    public var addresses: [Address]

    /// The interfaces that are up and have a usable address. IPv6 addresses that are deprecated or whose uniqueness is
    /// not established (RFC 4862) are left out, and temporary ones unless they are wanted. The corresponding C function
    /// is `getifaddrs`.
    public static func all(includingTemporary: Bool = false) throws(NetIOError) -> [NetworkInterface] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { throw .last("getifaddrs") }
        defer { freeifaddrs(list) }
        let states = AddressState.all()
        var interfaces: [NetworkInterface] = []
        var next = list
        while let entry = next {
            next = entry.pointee.ifa_next
            let flags = entry.pointee.ifa_flags
            guard flags & UInt32(IFF_UP) != 0, flags & UInt32(IFF_RUNNING) != 0,
                let (address, prefixLength) = decode(entry.pointee)
            else { continue }
            let state = states[address.withoutScope] ?? AddressState(flags: 0)
            guard state.isUsable, includingTemporary || !state.isTemporary else { continue }
            let name = String(cString: entry.pointee.ifa_name)
            let added = Address(ip: address, prefixLength: prefixLength, isTemporary: state.isTemporary)
            if let known = interfaces.firstIndex(where: { $0.name == name }) {
                interfaces[known].addresses.append(added)
            } else {
                interfaces.append(
                    NetworkInterface(
                        name: name, index: if_nametoindex(name),
                        isLoopback: flags & UInt32(IFF_LOOPBACK) != 0,
                        isPointToPoint: flags & UInt32(IFF_POINTOPOINT) != 0, addresses: [added]))
            }
        }
        return interfaces
    }

    /// Every address that this host answers at, without zones: also those that ``all(includingTemporary:)`` leaves out,
    /// such as a bridge's that nothing is plugged into. The corresponding C function is `getifaddrs`.
    public static func everyAddress() throws(NetIOError) -> Set<IPAddress> {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { throw .last("getifaddrs") }
        defer { freeifaddrs(list) }
        var addresses: Set<IPAddress> = []
        var next = list
        while let entry = next {
            next = entry.pointee.ifa_next
            if let (address, _) = decode(entry.pointee) { addresses.insert(address.withoutScope) }
        }
        return addresses
    }

    /// The address that packets to `destination` would leave from: what the routing table says, without sending any.
    /// `nil` where no route leads there.
    public static func sourceAddress(toward destination: IPAddress) -> IPAddress? {
        let descriptor = cnetio_udp_socket(destination.family == .v6 ? 1 : 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // Any port does: connecting a UDP socket only looks the route up. 9 is "discard".
        var name = cnetio_address(destination, port: 9)
        guard cnetio_connect(descriptor, &name) == 0, cnetio_local_address(descriptor, &name) == 0 else { return nil }
        return name.ip
    }

    private static func decode(_ entry: ifaddrs) -> (IPAddress, prefixLength: Int)? {
        var address = cnetio_address()
        var mask = cnetio_address()
        guard let name = entry.ifa_addr, cnetio_from_sockaddr(name, &address) != 0 else { return nil }
        let bits = entry.ifa_netmask.map { cnetio_from_sockaddr($0, &mask) != 0 } ?? false
        let width = address.is_v6 != 0 ? 128 : 32
        return (address.ip, bits ? mask.high.nonzeroBitCount + mask.low.nonzeroBitCount : width)
    }
}

/// What the kernel says about an IPv6 address in /proc/net/if_inet6: address, interface, prefix length, scope, flags
/// (all in hexadecimal) and the interface's name.
struct AddressState {
    /// The IFA_F_… flags (linux/if_addr.h).
    let flags: UInt32

    /// IFA_F_TEMPORARY.
    var isTemporary: Bool { flags & 0x01 != 0 }
    /// None of IFA_F_DADFAILED, IFA_F_DEPRECATED and IFA_F_TENTATIVE.
    var isUsable: Bool { flags & (0x08 | 0x20 | 0x40) == 0 }

    static func all() -> [IPAddress: AddressState] {
        guard let file = fopen("/proc/net/if_inet6", "re") else { return [:] }
        defer { fclose(file) }
        var states: [IPAddress: AddressState] = [:]
        var line = [CChar](repeating: 0, count: 256)
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if let (address, state) = parse(text) { states[address] = state }
        }
        return states
    }

    static func parse(_ line: String) -> (IPAddress, AddressState)? {
        let fields = line.split(whereSeparator: \.isWhitespace)
        guard fields.count >= 5, fields[0].utf8.count == 32, let high = UInt64(fields[0].prefix(16), radix: 16),
            let low = UInt64(fields[0].dropFirst(16), radix: 16), let flags = UInt32(fields[4], radix: 16)
        else { return nil }
        return (.v6(high: high, low: low), AddressState(flags: flags))
    }
}
