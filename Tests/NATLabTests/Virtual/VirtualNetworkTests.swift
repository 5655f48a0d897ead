// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

/// A network with a server and two hosts behind boxes of their own.
private struct Laboratory {
    var network: VirtualNetwork
    let server: VirtualNetwork.HostID
    let serverAddress: SocketAddress
    var hosts: [VirtualNetwork.HostID] = []
    var segments: [VirtualNetwork.Segment] = []

    init(
        _ profiles: [NATProfile], seed: UInt64 = 1, link: AccessLink = AccessLink(), ipv6: Bool = false,
        coreHops: Int = 6
    ) {
        network = VirtualNetwork(seed: seed, coreHops: coreHops)
        server = network.addHost("server", ipv6: ipv6)
        serverAddress = SocketAddress(ip: network.addresses(of: server)[0], port: 3478)
        network.isObserving = true
        for (index, profile) in profiles.enumerated() {
            segments.append(network.addNAT(profile, name: "nat\(index)"))
            hosts.append(network.addHost("host\(index)", on: segments[index], ipv6: ipv6, link: link))
        }
    }

    func source(_ host: Int, port: UInt16 = 5000) -> SocketAddress {
        SocketAddress(ip: network.addresses(of: hosts[host])[0], port: port)
    }

    mutating func send(
        _ host: Int, to destination: SocketAddress, _ payload: [UInt8] = [1], timeToLive: UInt8 = 64,
        at time: Timestamp = .zero
    ) {
        let datagram = Datagram(source: source(host), destination: destination, payload: payload)
        network.send(datagram, from: hosts[host], timeToLive: timeToLive, now: time)
    }

    /// Everything that arrives by a time.
    mutating func arrivals(until limit: Timestamp = .distantFuture) -> [VirtualNetwork.Arrival] {
        var all: [VirtualNetwork.Arrival] = []
        while let arrival = network.nextArrival(until: limit) { all.append(arrival) }
        return all
    }

    /// The addresses that the server sees of a host.
    mutating func outside(_ host: Int, at time: Timestamp = .zero) -> SocketAddress? {
        send(host, to: serverAddress, at: time)
        for arrival in arrivals(until: time) {
            if case .datagram(let datagram) = arrival.event, arrival.host == server { return datagram.source }
        }
        return nil
    }
}

extension VirtualNetwork.Arrival {
    fileprivate var datagram: Datagram? { if case .datagram(let datagram) = event { datagram } else { nil } }
}

@Suite("Virtual network")
struct VirtualNetworkTests {
    @Test("a datagram takes the delays of the links on its way and shows the mapping")
    func way() {
        let link = AccessLink(LinkConditions(delay: .milliseconds(20)))
        var lab = Laboratory([.portRestricted], link: link)
        lab.send(0, to: lab.serverAddress, [7, 8])
        #expect(lab.network.nextDeadline == seconds(0.02))
        #expect(lab.network.nextArrival(until: seconds(0.019)) == nil)
        let arrival = lab.network.nextArrival(until: seconds(0.02))
        #expect(arrival?.time == seconds(0.02) && arrival?.host == lab.server)
        #expect(arrival?.datagram?.payload == [7, 8])
        let outside = arrival?.datagram?.source ?? .unspecified
        #expect(outside.port == 5000 && !outside.ip.isPrivate)
        lab.network.send(
            Datagram(source: lab.serverAddress, destination: outside, payload: [9]), from: lab.server,
            now: seconds(0.02))
        let back = lab.network.nextArrival(until: .distantFuture)
        #expect(back?.time == seconds(0.04) && back?.host == lab.hosts[0])
        #expect(back?.datagram == Datagram(source: lab.serverAddress, destination: lab.source(0), payload: [9]))
        #expect(lab.network.nextDeadline == nil)
    }

    @Test("every place that a packet passes is seen, with the addresses that it has there")
    func observations() {
        var lab = Laboratory([.portRestricted])
        _ = lab.outside(0)
        let seen = lab.network.takeObservations()
        #expect(seen.map { lab.network.name(at: $0.place) } == ["host0", "nat0, inside", "nat0, outside", "server"])
        #expect(seen.map(\.action) == [.sent, .passed, .passed, .arrived])
        #expect(seen.map(\.timeToLive) == [64, 63, 63, 57])
        #expect(Set(seen.map(\.packet)).count == 1)
        #expect(seen[1].source == lab.source(0) && seen[2].source != lab.source(0))
        lab.network.isObserving = false
        _ = lab.outside(0)
        #expect(lab.network.observations.isEmpty)
    }

    @Test("a packet that is dropped is seen where it ended, and why")
    func drops() {
        var lab = Laboratory([.portRestricted, .portRestricted])
        let target = lab.outside(1) ?? .unspecified
        _ = lab.network.takeObservations()
        lab.send(0, to: target)
        #expect(lab.arrivals().isEmpty)
        guard let last = lab.network.observations.last, case .filtered(let filter)? = last.drop else {
            Issue.record("not filtered: \(lab.network.observations)")
            return
        }
        #expect(lab.network.name(at: last.place) == "nat1, outside")
        #expect(filter.mapping == target && filter.latest == lab.serverAddress)
        lab.send(0, to: address("192.0.2.250:1"))
        #expect(lab.network.observations.last?.drop == .noRoute(.v4(0xC000_02FA)))
        lab.send(0, to: address("10.9.9.9:1"))
        #expect(lab.network.observations.last?.place == .internet, "a private address is the public network's to drop")
        let strange = Datagram(source: address("10.1.1.1:1"), destination: lab.serverAddress, payload: [])
        lab.network.send(strange, from: lab.hosts[0], now: .zero)
        #expect(lab.network.observations.last?.drop == .foreignSource(.v4(0x0A01_0101)))
    }

    @Test("what failed is summed up with its cause, and with the port that the peer should have known")
    func summary() {
        var lab = Laboratory([.portRestricted, .symmetricRandom])
        let target = lab.outside(1) ?? .unspecified
        let own = lab.outside(0) ?? .unspecified
        _ = lab.network.takeObservations()
        for _ in 0..<14 { lab.send(0, to: target) }
        for _ in 0..<3 { lab.send(1, to: own) }
        let summaries = DropSummary.all(in: lab.network.takeObservations())
        #expect(summaries.map(\.count) == [14, 3])
        let nat = lab.network.boxes(outwardFrom: lab.segments[1])[0]
        let used = lab.network.nat(nat).mapping(of: lab.source(1), toward: own, now: .zero) ?? .unspecified
        #expect(
            summaries.first?.words(in: lab.network)
                == "nat1, outside, dropped 14 packets from \(own) to \(target): address-and-port-dependent filter: mapping "
                + "\(target) has sent to \(lab.serverAddress), not to \(own); its host sends to \(own) from \(used)")
        #expect(summaries.last?.source == used && summaries.last?.destination == own)
    }

    @Test("a TTL that runs out opens what it has passed, and only that")
    func timeToLive() {
        // Hops: the own NAT, two routers, the other NAT.
        for (timeToLive, opens, place) in [
            (UInt8(1), false, "nat0, inside"), (2, true, "internet"), (3, true, "internet"), (4, true, "nat1, outside"),
            (5, true, nil),
        ] {
            var lab = Laboratory([.portRestricted, .fullCone], coreHops: 2)
            let target = lab.outside(1) ?? .unspecified
            lab.send(0, to: target, timeToLive: timeToLive)
            let arrived = !lab.arrivals().isEmpty
            #expect(arrived == (place == nil), "TTL \(timeToLive)")
            let dropped = lab.network.observations.last { $0.drop != nil }
            #expect(dropped.map { lab.network.name(at: $0.place) } == place)
            if arrived == false { #expect(dropped?.drop == .timeToLiveExceeded) }
            let nat = lab.network.nat(lab.network.boxes(outwardFrom: lab.segments[0])[0])
            #expect((nat.mapping(of: lab.source(0), toward: target, now: .zero) != nil) == opens)
        }
    }

    @Test("boxes in a row translate one after the other, both ways")
    func doubleNAT() {
        var lab = Laboratory([.doubleNAT, .fullCone])
        let path = lab.network.boxes(outwardFrom: lab.segments[0])
        #expect(path.map { lab.network.name(of: .nat($0)) } == ["nat0", "nat0-1"])
        let outside = lab.outside(0)
        #expect(lab.network.externalAddresses(of: path[1]).contains(outside?.ip ?? .anyV4))
        #expect(lab.network.externalAddresses(of: path[0])[0].isPrivate)
        let peer = lab.outside(1) ?? .unspecified
        lab.send(0, to: peer)
        guard let arrival = lab.arrivals().first, let datagram = arrival.datagram else {
            Issue.record("nothing arrived")
            return
        }
        #expect(arrival.host == lab.hosts[1] && datagram.source == outside)
        lab.send(1, to: datagram.source)
        #expect(lab.arrivals().map(\.host) == [lab.hosts[0]])
    }

    @Test("neighbours behind an operator's NAT meet where it does hairpinning")
    func carrierHairpin() {
        for hairpinning in NATProfile.Hairpinning.allCases {
            var network = VirtualNetwork(seed: 1)
            var carrier = NATProfile.carrierPairedRange
            carrier.hairpinning = hairpinning
            let region = network.addNAT(carrier, name: "carrier")
            let server = network.addHost("server")
            let serverAddress = SocketAddress(ip: network.addresses(of: server)[0], port: 1)
            var hosts: [VirtualNetwork.HostID] = []
            var outside: [SocketAddress] = []
            for name in ["a", "b"] {
                let home = network.addNAT(.addressRestricted, name: "router-\(name)", on: region)
                let host = network.addHost(name, on: home)
                hosts.append(host)
                let source = SocketAddress(ip: network.addresses(of: host)[0], port: 5000)
                network.send(Datagram(source: source, destination: serverAddress, payload: []), from: host, now: .zero)
                if case .datagram(let datagram)? = network.nextArrival(until: .zero)?.event {
                    outside.append(datagram.source)
                }
            }
            var met = 0
            for round in 0..<4 {
                let index = round % 2
                let source = SocketAddress(ip: network.addresses(of: hosts[index])[0], port: 5000)
                let datagram = Datagram(source: source, destination: outside[1 - index], payload: [])
                network.send(datagram, from: hosts[index], now: .zero)
                while network.nextArrival(until: .zero) != nil { met += 1 }
            }
            // Both sides open first; an internal source is not the one that the neighbour's router expects.
            #expect((met > 0) == (hairpinning == .externalSource), "\(hairpinning): \(met)")
        }
    }

    @Test("hosts of one segment reach each other without their NAT")
    func neighbours() {
        var network = VirtualNetwork(seed: 1)
        let home = network.addNAT(.symmetricRandom, name: "router")
        let a = network.addHost("a", on: home)
        let b = network.addHost("b", on: home)
        let source = SocketAddress(ip: network.addresses(of: a)[0], port: 1)
        let target = SocketAddress(ip: network.addresses(of: b)[0], port: 2)
        let datagram = Datagram(source: source, destination: target, payload: [1])
        network.send(datagram, from: a, timeToLive: 1, now: .zero)
        #expect(network.nextArrival(until: .zero)?.datagram == datagram)
    }

    @Test("IPv6 passes NATs untranslated, to hosts behind other NATs that have sent first")
    func ipv6() {
        var lab = Laboratory([.doubleNAT, .symmetricRandom], ipv6: true)
        let ends = (0...1).map { host in
            SocketAddress(ip: lab.network.addresses(of: lab.hosts[host]).last ?? .anyV6, port: 5000)
        }
        #expect(ends.allSatisfy { $0.ip.family == .v6 })
        var arrived: [Int] = []
        for round in 0..<3 {
            let datagram = Datagram(source: ends[round % 2], destination: ends[1 - round % 2], payload: [UInt8(round)])
            lab.network.send(datagram, from: lab.hosts[round % 2], now: .zero)
            for arrival in lab.arrivals(until: .zero) {
                #expect(arrival.datagram == datagram)
                arrived.append(round)
            }
        }
        #expect(arrived == [1, 2], "the first only opens the own side")
    }

    @Test("a refusal comes back to the host that sent, through all its NATs")
    func refusal() {
        var lab = Laboratory([.doubleNAT, .refusing])
        let target = lab.outside(1) ?? .unspecified
        lab.send(0, to: target)
        #expect(
            lab.arrivals().map(\.event) == [.unreachable(source: lab.source(0), destination: target)])
    }

    @Test("a rebinding loses what comes in, and shows another address if the box gets one")
    func rebinding() {
        var lab = Laboratory([.symmetricRandom])
        let box = lab.network.boxes(outwardFrom: lab.segments[0])[0]
        let first = lab.outside(0)
        lab.network.rebind(box)
        lab.network.send(
            Datagram(source: lab.serverAddress, destination: first ?? .unspecified, payload: []), from: lab.server,
            now: .zero)
        #expect(lab.arrivals().isEmpty)
        let second = lab.outside(0)
        #expect(second?.ip == first?.ip && second?.port != first?.port)
        lab.network.rebind(box, newAddresses: true)
        let third = lab.outside(0)
        #expect(third != nil && third?.ip != first?.ip)
        lab.network.send(
            Datagram(source: lab.serverAddress, destination: second ?? .unspecified, payload: []), from: lab.server,
            now: .zero)
        #expect(lab.network.observations.last?.drop == .noRoute(first?.ip ?? .anyV4))
    }

    @Test("a host that changes its address is reached at the new one alone")
    func renumbering() {
        var lab = Laboratory([.portRestricted])
        let before = lab.source(0)
        let after = lab.network.renumber(lab.hosts[0])
        #expect(after != before.ip && lab.source(0).ip == after)
        #expect(lab.outside(0) != nil)
        lab.network.send(
            Datagram(source: before, destination: lab.serverAddress, payload: []), from: lab.hosts[0], now: .zero)
        #expect(lab.network.observations.last?.drop == .foreignSource(before.ip))
    }

    @Test("an outage loses all, and what follows passes again")
    func outage() {
        var lab = Laboratory([.portRestricted])
        lab.network.setLink(of: .host(lab.hosts[0]), to: AccessLink(LinkConditions(loss: .random(1))))
        #expect(lab.outside(0) == nil)
        #expect(lab.network.observations.last?.drop == .lost)
        #expect(lab.network.linkCounters(of: .host(lab.hosts[0])).up.lost == 1)
        lab.network.setLink(of: .host(lab.hosts[0]), to: AccessLink())
        #expect(lab.outside(0) != nil)
        lab.network.setLink(of: .host(lab.hosts[0]), to: AccessLink(LinkConditions(mtu: 1280)))
        lab.send(0, to: lab.serverAddress, [UInt8](repeating: 0, count: 1252))
        #expect(lab.arrivals().count == 1, "20 bytes of IP, 8 of UDP")
        lab.send(0, to: lab.serverAddress, [UInt8](repeating: 0, count: 1253))
        #expect(lab.network.observations.last?.drop == .tooLong(byteCount: 1281, mtu: 1280))
    }

    // MARK: - Determinism

    /// Two hosts and a server send each other packets over bad links; what was seen.
    private func storm(seed: UInt64, extra: Bool = false) -> [PacketObservation] {
        let conditions = LinkConditions(
            rate: 1_000_000, delay: .milliseconds(10), jitter: .milliseconds(5), queueLimit: 20_000, loss: .random(0.1),
            duplication: 0.05, reorder: 0.05)
        var lab = Laboratory([.symmetricRandom, .leaky], seed: seed, link: AccessLink(conditions))
        if extra {
            let segment = lab.network.addNAT(.symmetricRandom, name: "extra")
            lab.network.addHost("bystander", on: segment, link: AccessLink(conditions))
        }
        var now = Timestamp.zero
        var targets = [lab.serverAddress]
        for number in 0..<400 {
            for host in 0...1 {
                lab.send(host, to: targets[number % targets.count], [UInt8](repeating: 1, count: 300 + number), at: now)
            }
            now += .milliseconds(1)
            while let arrival = lab.network.nextArrival(until: now) {
                guard arrival.host == lab.server, let datagram = arrival.datagram else { continue }
                if !targets.contains(datagram.source) { targets.append(datagram.source) }
                lab.network.send(
                    Datagram(source: lab.serverAddress, destination: datagram.source, payload: [0]), from: lab.server,
                    now: now)
            }
        }
        _ = lab.arrivals()
        return lab.network.takeObservations()
    }

    @Test(
        "the same seed gives the same packets at the same times, another seed others", arguments: [1, 2, 3] as [UInt64])
    func sameSeed(_ seed: UInt64) {
        let first = storm(seed: seed)
        #expect(first.count > 2000)
        #expect(
            first.contains { $0.drop == .lost }
                && first.contains { if case .filtered = $0.drop { true } else { false } })
        #expect(storm(seed: seed) == first)
        #expect(storm(seed: seed + 100) != first)
    }

    @Test("one element more disturbs none of the others")
    func bystander() {
        #expect(storm(seed: 5, extra: true) == storm(seed: 5))
    }

    // MARK: - Streams

    @Test("a stream passes NATs outward, takes the delay of the links, and keeps order")
    func streams() {
        let link = AccessLink(LinkConditions(delay: .milliseconds(20), loss: .random(0.5)))
        var lab = Laboratory([.udpBlocked], link: link)
        lab.network.listen(on: 3478, at: lab.server)
        let stream = lab.network.connect(from: lab.source(0), of: lab.hosts[0], to: lab.serverAddress, now: .zero)
        lab.network.send([1], on: stream, from: lab.hosts[0], now: .zero)
        lab.network.send([2, 3], on: stream, from: lab.hosts[0], now: seconds(0.01))
        let opened = lab.arrivals(until: seconds(0.05))
        guard case .stream(stream, .accepted(let local, let remote))? = opened.first?.event else {
            Issue.record("not accepted: \(opened)")
            return
        }
        #expect(local == lab.serverAddress && remote.ip != lab.source(0).ip && !remote.ip.isPrivate)
        #expect(opened.map(\.time) == [seconds(0.02), seconds(0.02), seconds(0.03), seconds(0.04)])
        #expect(
            opened.dropFirst().map(\.event) == [
                .stream(stream, .received([1])), .stream(stream, .received([2, 3])),
                .stream(stream, .connected(local: lab.source(0), remote: lab.serverAddress)),
            ])
        lab.network.send([4], on: stream, from: lab.server, now: seconds(0.05))
        lab.network.close(stream, from: lab.server, now: seconds(0.05))
        lab.network.send([5], on: stream, from: lab.server, now: seconds(0.05))
        #expect(
            lab.arrivals().map(\.event) == [.stream(stream, .received([4])), .stream(stream, .closed)])
    }

    @Test("a stream is refused where nobody listens, and fails where nobody is or a box lets nothing in")
    func streamFailures() {
        var lab = Laboratory([.portRestricted, .fullCone])
        let own = lab.source(0)
        let behind = SocketAddress(
            ip: lab.network.externalAddresses(of: lab.network.boxes(outwardFrom: lab.segments[1])[0])[0], port: 3478)
        for (target, failure) in [
            (lab.serverAddress, VirtualNetwork.StreamFailure.refused), (address("192.0.2.250:1"), .unreachable),
            (behind, .unreachable),
        ] {
            let stream = lab.network.connect(from: own, of: lab.hosts[0], to: target, now: lab.network.now)
            #expect(lab.arrivals().map(\.event) == [.stream(stream, .failed(failure))])
        }
    }

    @Test("a rebinding ends the streams through the box")
    func streamRebinding() {
        var lab = Laboratory([.portRestricted])
        lab.network.listen(on: 3478, at: lab.server)
        let stream = lab.network.connect(from: lab.source(0), of: lab.hosts[0], to: lab.serverAddress, now: .zero)
        _ = lab.arrivals(until: .zero)
        lab.network.rebind(lab.network.boxes(outwardFrom: lab.segments[0])[0])
        lab.network.send([1], on: stream, from: lab.hosts[0], now: .zero)
        let ends = lab.arrivals()
        #expect(ends.map(\.event) == [.stream(stream, .closed), .stream(stream, .closed)])
        #expect(Set(ends.map(\.host)) == [lab.hosts[0], lab.server])
    }
}
