// SPDX-License-Identifier: Apache-2.0
public import Wire

extension VirtualNetwork {
    /// The addresses of a host.
    public func addresses(of host: HostID) -> [IPAddress] { hosts[host.index].addresses }

    /// The addresses of a box outside; none for one that does not translate.
    public func externalAddresses(of nat: NATID) -> [IPAddress] { boxes[nat.index].nat.externalAddresses }

    /// Gives a host one more address, or moves it there from whoever had it.
    public mutating func addAddress(_ address: IPAddress, to host: HostID) {
        if !hosts[host.index].addresses.contains(address) { hosts[host.index].addresses.append(address) }
        route(address, to: .host(host), from: hosts[host.index].segment)
    }

    /// Takes an address from a host, as when a network goes away: what is sent from it or to it is dropped.
    public mutating func removeAddress(_ address: IPAddress, from host: HostID) {
        guard let place = hosts[host.index].addresses.firstIndex(of: address) else { return }
        hosts[host.index].addresses.remove(at: place)
        unroute(address, from: hosts[host.index].segment)
    }

    /// Gives a host a fresh IPv4 address that fits its segment, as when it joins another network, and answers it.
    public mutating func renumber(_ host: HostID) -> IPAddress {
        for address in hosts[host.index].addresses where address.family == .v4 { removeAddress(address, from: host) }
        let address = freeAddress(on: hosts[host.index].segment)
        addAddress(address, to: host)
        return address
    }

    /// Has a box forget all mappings, as a reboot does. With `newAddresses` it also comes back with other addresses
    /// outside, as many a subscriber's router does. Streams through it end.
    public mutating func rebind(_ nat: NATID, newAddresses: Bool = false) {
        let segment = boxes[nat.index].segment
        var addresses: [IPAddress]?
        if newAddresses, boxes[nat.index].nat.profile.translates {
            let old = externalAddresses(of: nat)
            for address in old { unroute(address, from: segment) }
            let new = old.map { _ in freeAddress(on: segment) }
            for address in new { route(address, to: .nat(nat), from: segment) }
            addresses = new
        }
        boxes[nat.index].nat.rebind(to: addresses)
        endStreams(through: nat.index)
    }

    // MARK: - Choosing

    /// The addresses of a host that was given none.
    mutating func freeAddresses(on segment: Int, ipv6: Bool) -> [IPAddress] {
        let v4 = freeAddress(on: segment)
        guard ipv6 else { return [v4] }
        // RFC 3849: addresses for examples. A segment has a /64 of them.
        return [v4, .v6(high: 0x2001_0DB8_0000_0000 | UInt64(segment), low: UInt64(segments[segment].hostsNumbered))]
    }

    /// An IPv4 address that nobody has: private behind a box that translates, else public.
    mutating func freeAddress(on segment: Int) -> IPAddress {
        guard let numbered = privateSegment(segment) else {
            segments[segment].hostsNumbered += 1
            defer { publicAddressesGiven += 1 }
            return VirtualNetwork.publicAddress(publicAddressesGiven)
        }
        segments[segment].hostsNumbered += 1
        if numbered != segment { segments[numbered].hostsNumbered += 1 }
        // RFC 1918: each segment has a /20 of 10.0.0.0/8, whose first address is the box's.
        let host = segments[numbered].hostsNumbered + 1
        precondition(numbered < 4096 && host < 4095, "a network has 4095 private segments of 4093 addresses")
        return .v4(0x0A00_0000 | UInt32(numbered) << 12 | UInt32(host))
    }

    /// The segment whose private addresses a segment uses; `nil` where addresses are public.
    private func privateSegment(_ segment: Int) -> Int? {
        var place = segment
        while let box = segments[place].box {
            if boxes[box].nat.profile.translates { return place }
            place = boxes[box].segment
        }
        return nil
    }

    private static func publicAddress(_ number: Int) -> IPAddress {
        // RFC 5737: three networks for examples; then RFC 2544's two, for measuring.
        let networks: [UInt32] = [0xCB00_7100, 0xC633_6400, 0xC000_0200]
        let (network, host) = number.quotientAndRemainder(dividingBy: 254)
        if network < networks.count { return .v4(networks[network] | UInt32(host + 1)) }
        precondition(number < 131_072, "a network has 131,072 public addresses")
        return .v4(0xC612_0000 + UInt32(number))
    }

    // MARK: - Routes

    /// Tells a segment, and those further out that see the same addresses, who has an address.
    mutating func route(_ address: IPAddress, to element: Element, from segment: Int) {
        var place = segment
        var element = element
        segments[place].routes[address] = element
        while let box = segments[place].box, !isTranslated(address, by: box) {
            element = .nat(NATID(index: box))
            place = boxes[box].segment
            segments[place].routes[address] = element
        }
    }

    private mutating func unroute(_ address: IPAddress, from segment: Int) {
        var place = segment
        segments[place].routes[address] = nil
        while let box = segments[place].box, !isTranslated(address, by: box) {
            place = boxes[box].segment
            segments[place].routes[address] = nil
        }
    }

    private func isTranslated(_ address: IPAddress, by box: Int) -> Bool {
        boxes[box].nat.isTranslated(address)
    }
}
