// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// Which ports of one external address are in use, as far as choosing the next one needs it.
struct ExternalPorts: Sendable {
    /// How many, even ones first.
    var used = [0, 0]
    /// Where sequential allocation looks next.
    var next: UInt16
    /// The blocks that hosts gave back.
    var freeBlocks: [Int] = []
    /// The first block that no host has had.
    var nextBlock = 0
}

extension VirtualNAT {
    /// How often a free port is tried at random before the next free one is taken.
    private static let randomTries = 16

    /// The books of all external addresses, with nothing in use. Sequential allocation begins anywhere.
    mutating func makePorts() -> [ExternalPorts] {
        externalAddresses.map { _ in
            ExternalPorts(next: profile.ports.lowerBound + UInt16(number(below: profile.ports.count)))
        }
    }

    /// An external address and port for a new mapping of `inside` (RFC 4787 §4.1, §4.2).
    mutating func allocate(
        for inside: SocketAddress, toward destination: SocketAddress, _ now: Timestamp
    ) throws(PacketDrop) -> SocketAddress {
        var host: InsideHost
        if let known = hosts[inside.ip] { host = known } else { host = try admit(inside.ip) }
        // Counted before: a mapping of the same host that ends to give its port away must not make the host unknown.
        host.mappingCount += 1
        hosts[inside.ip] = host
        let external: (address: SocketAddress, index: Int)
        do { external = try choose(for: inside, of: host, toward: destination, now) } catch {
            forgetMapping(of: inside.ip)
            throw error
        }
        if !table.uses(external.address) { ports[external.index].used[Int(external.address.port & 1)] += 1 }
        return external.address
    }

    /// Gives back what a mapping had that has ended.
    mutating func release(_ mapping: MappingTable.Mapping) {
        let external = mapping.external
        if !table.uses(external), let index = externalAddresses.firstIndex(of: external.ip) {
            ports[index].used[Int(external.port & 1)] -= 1
        }
        forgetMapping(of: mapping.key.inside.ip)
    }

    private mutating func forgetMapping(of inside: IPAddress) {
        guard var host = hosts[inside] else { return }
        host.mappingCount -= 1
        guard host.mappingCount == 0 else {
            hosts[inside] = host
            return
        }
        hosts[inside] = nil
        if let block = host.block { ports[host.addressIndex].freeBlocks.append(block) }
    }

    /// Gives a host that has no mapping yet its external address and, where there are any, its block of ports.
    private mutating func admit(_ inside: IPAddress) throws(PacketDrop) -> InsideHost {
        // Neighbours get different addresses, and a host the same each time.
        let index = Int(inside.low % UInt64(externalAddresses.count))
        guard let size = profile.portBlock else { return InsideHost(addressIndex: index, block: nil) }
        let block: Int
        if let returned = ports[index].freeBlocks.popLast() {
            block = returned
        } else {
            guard (ports[index].nextBlock + 1) * size <= profile.ports.count else {
                throw .noBlockFree(external: externalAddresses[index])
            }
            block = ports[index].nextBlock
            ports[index].nextBlock += 1
        }
        return InsideHost(addressIndex: index, block: block)
    }

    private mutating func choose(
        for inside: SocketAddress, of host: InsideHost, toward destination: SocketAddress, _ now: Timestamp
    ) throws(PacketDrop) -> (address: SocketAddress, index: Int) {
        let count = externalAddresses.count
        // A block of ports belongs to one address.
        let isArbitrary = profile.pooling == .arbitrary && host.block == nil
        let first = isArbitrary ? number(below: count) : host.addressIndex
        if profile.behavior.allocation == .preserving,
            let preserved = preserve(inside, from: first, of: host, toward: destination, now)
        {
            return preserved
        }
        for offset in 0..<(isArbitrary ? count : 1) {
            let index = (first + offset) % count
            if let port = search(index, for: inside, of: host, toward: destination, now) {
                return (SocketAddress(ip: externalAddresses[index], port: port), index)
            }
        }
        throw .noPortFree(external: externalAddresses[first])
    }

    /// The port of the host itself, where the NAT can have it.
    private mutating func preserve(
        _ inside: SocketAddress, from first: Int, of host: InsideHost, toward destination: SocketAddress,
        _ now: Timestamp
    ) -> (address: SocketAddress, index: Int)? {
        guard range(of: host).contains(inside.port) else { return nil }
        let wanted = SocketAddress(ip: externalAddresses[first], port: inside.port)
        if isFree(wanted, toward: destination, now) { return (wanted, first) }
        switch profile.portConflict {
        case .nextPort, .randomPort: return nil
        case .otherAddress:
            for offset in 1..<max(externalAddresses.count, 1) where host.block == nil {
                let index = (first + offset) % externalAddresses.count
                let other = SocketAddress(ip: externalAddresses[index], port: inside.port)
                if isFree(other, toward: destination, now) { return (other, index) }
            }
            return nil
        case .overriding:
            while let holder = table.newest(at: wanted) { end(holder) }
            return (wanted, first)
        case .overloading: return (wanted, first)
        }
    }

    /// A free port by the rules of the profile; `nil` where there is none.
    private mutating func search(
        _ index: Int, for inside: SocketAddress, of host: InsideHost, toward destination: SocketAddress,
        _ now: Timestamp
    ) -> UInt16? {
        let range = range(of: host)
        // Every port in use is in the range: a full one need not be searched.
        guard ports[index].used[0] + ports[index].used[1] < profile.ports.count else { return nil }
        if host.block != nil, host.mappingCount > range.count, profile.portConflict != .overloading { return nil }
        let parity = profile.preservesParity ? inside.port & 1 : nil
        let address = externalAddresses[index]
        let start: UInt16
        switch profile.behavior.allocation {
        case .sequential: start = range.contains(ports[index].next) ? ports[index].next : range.lowerBound
        case .preserving where profile.portConflict != .randomPort:
            start = range.contains(inside.port) ? inside.port : range.lowerBound
        case .preserving, .random:
            for _ in 0..<VirtualNAT.randomTries {
                let port = range.lowerBound + UInt16(number(below: range.count))
                let fits = parity == nil || port & 1 == parity
                if fits, isFree(SocketAddress(ip: address, port: port), toward: destination, now) { return port }
            }
            start = range.lowerBound + UInt16(number(below: range.count))
        }
        // RFC 4787 REQ-4 is a recommendation: where no port of the parity is left, one of the other does.
        for wanted in parity.map({ [$0, nil] }) ?? [nil] {
            var port = start
            for _ in 0..<range.count {
                let fits = wanted == nil || port & 1 == wanted
                if fits, isFree(SocketAddress(ip: address, port: port), toward: destination, now) {
                    if profile.behavior.allocation == .sequential { ports[index].next = step(from: port, in: range) }
                    return port
                }
                port = port == range.upperBound ? range.lowerBound : port + 1
            }
        }
        return nil
    }

    /// The ports that a host's mappings may have.
    private func range(of host: InsideHost) -> ClosedRange<UInt16> {
        guard let block = host.block, let size = profile.portBlock else { return profile.ports }
        let first = Int(profile.ports.lowerBound) + block * size
        return UInt16(first)...UInt16(first + size - 1)
    }

    private func step(from port: UInt16, in range: ClosedRange<UInt16>) -> UInt16 {
        let offset = (Int(port) - Int(range.lowerBound) + profile.portStep) % range.count
        return range.lowerBound + UInt16(offset)
    }

    /// A number from 0 up to but not including `count`. What has one value takes nothing from the stream.
    private mutating func number(below count: Int) -> Int {
        guard count > 1 else { return 0 }
        return Int(entropy.next().multipliedFullWidth(by: UInt64(count)).high)
    }
}
