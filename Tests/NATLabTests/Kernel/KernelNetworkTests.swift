// SPDX-License-Identifier: Apache-2.0
import Glibc
import ICE
import NATLab
import NetIO
import Testing
import Wire

/// Profiles that the kernel can follow and that let UDP through: those that come with the laboratory, and some more.
private let followed =
    NATProfile.standard.filter { NFTRules.obstacle(to: $0) == nil && $0.kind != .udpBlocked } + furtherProfiles

private let furtherProfiles: [NATProfile] = {
    var range = NATProfile("symmetric-range", mapping: .addressAndPortDependent, filtering: .addressDependent)
    range.behavior.allocation = .random
    range.ports = 40_000...41_999
    var steps = NATProfile("cone-steps", mapping: .endpointIndependent, filtering: .endpointIndependent)
    steps.behavior.allocation = .sequential
    steps.portStep = 2
    var pool = NATProfile("pool", mapping: .addressDependent, filtering: .endpointIndependent)
    pool.addressCount = 3
    pool.portConflict = .otherAddress
    var overloading = NATProfile("overloading", mapping: .endpointIndependent, filtering: .addressDependent)
    overloading.portConflict = .overloading
    return [range, steps, pool, overloading]
}()

/// One network with two hosts behind a NAT of each of them: to make one takes longer than to ask it something.
private let shared = Result {
    try KernelNetwork(
        followed.map { profile in
            .init(.behind(profile, "\(profile.name)-nat", ["a", "b"].map { .host("\(profile.name)-\($0)") }))
        })
}

@Suite("Kernel network", .serialized, .enabled(if: networkObstacle == nil, "no namespaces or no nft here"))
struct KernelNetworkTests {
    private func behind(_ profile: NATProfile, _ names: String...) throws -> KernelNetwork {
        try KernelNetwork([.init(.behind(profile, "nat", names.map { .host($0) }))])
    }

    @Test("mapping and filtering are those of the profile", arguments: followed)
    func behavior(_ profile: NATProfile) throws {
        let network = try shared.get()
        let measurement = try NATMeasurement(network)
        let host = try network.host("\(profile.name)-a")
        // Of several boxes in a row the strictest decides.
        func strictest(_ part: (NATProfile) -> NATBehavior.Dependence) -> NATBehavior.Dependence {
            let all = ([profile] + profile.outer).map(part)
            return NATBehavior.Dependence.allCases.last { all.contains($0) } ?? .endpointIndependent
        }
        let mapping = strictest { $0.translates ? $0.behavior.mapping : .endpointIndependent }
        #expect(try measurement.mapping(of: host) == mapping)
        #expect(try measurement.filtering(of: host) == strictest { $0.behavior.filtering })
    }

    @Test("ports are allocated as the profile says", arguments: followed)
    func allocation(_ profile: NATProfile) throws {
        let network = try shared.get()
        let measurement = try NATMeasurement(network)
        let host = try network.host("\(profile.name)-a")
        let box = profile.outer.last ?? profile
        let sockets = try (0..<4).map { _ in try NamespaceSocket(at: host) }
        let seen = try sockets.map { try #require(measurement.mapped($0)) }
        #expect(seen.allSatisfy { host.publicAddresses.contains($0.ip) })
        guard profile.translates else {
            #expect(seen == sockets.map(\.local))
            return
        }
        #expect(seen.allSatisfy { box.ports.contains($0.port) })
        let isPreserved = zip(sockets, seen).allSatisfy { $0.local.port == $1.port }
        let steps = zip(seen, seen.dropFirst()).map { Int($1.port) - Int($0.port) }
        switch box.behavior.allocation {
        case .preserving: #expect(isPreserved)
        case .sequential: #expect(steps.allSatisfy { $0 == box.portStep })
        case .random:
            #expect(!isPreserved)
            #expect(Set(steps).count > 1, "four ports at random do not lie equally far apart")
        }
        if box.preservesParity, profile.outer.isEmpty {
            #expect(zip(sockets, seen).allSatisfy { $0.local.port % 2 == $1.port % 2 })
        }
        if let size = box.portBlock {
            #expect(seen.allSatisfy { Int($0.port) < Int(box.ports.lowerBound) + size }, "one host has the first block")
        }
        if box.pooling == .paired { #expect(Set(seen.map(\.ip)).count == 1) }
    }

    @Test("hosts behind one NAT meet at its external address where it hairpins", arguments: followed)
    func hairpin(_ profile: NATProfile) throws {
        // Nothing but addresses of their own lies between hosts without translation.
        guard profile.translates else { return }
        let network = try shared.get()
        let measurement = try NATMeasurement(network)
        // An outer box sees the same external address only where all mappings toward it are the same.
        let expected = profile.outer.isEmpty ? profile.hairpinning : (profile.outer.last?.hairpinning ?? .none)
        let (a, b) = (try network.host("\(profile.name)-a"), try network.host("\(profile.name)-b"))
        #expect(try measurement.hairpin(from: a, to: b) == expected)
    }

    @Test("a hairpinned packet that keeps its source is told apart")
    func internalHairpin() throws {
        var profile = NATProfile.fullCone
        profile.hairpinning = .internalSource
        let network = try behind(profile, "a", "b")
        #expect(try NATMeasurement(network).hairpin(from: network.host("a"), to: network.host("b")) == .internalSource)
    }

    @Test("one host's taken port gives way for the next destination, step by step")
    func stepsUp() throws {
        let network = try behind(.symmetricPreserving, "a")
        let measurement = try NATMeasurement(network)
        let socket = try NamespaceSocket(at: network.host("a"))
        let ports = try (0..<3).map { try #require(measurement.mapped(socket, toward: $0)).port }
        #expect(ports == (0..<3).map { socket.local.port + $0 })
        #expect(measurement.mapped(socket)?.port == ports[0], "the first mapping is still there")
    }

    @Test("two hosts with the same port get different ones, toward everybody")
    func portConflict() throws {
        let network = try behind(.portRestricted, "a", "b")
        let measurement = try NATMeasurement(network)
        let a = try NamespaceSocket(at: network.host("a"), port: 45_000)
        let b = try NamespaceSocket(at: network.host("b"), port: 45_000)
        #expect(measurement.mapped(a, toward: 0)?.port == 45_000)
        // Connection tracking itself would give the same port again here, for the other end is another.
        let second = try #require(measurement.mapped(b, toward: 2))
        #expect(second.port != 45_000)
        #expect(measurement.mapped(b, toward: 0) == second)
    }

    @Test("arbitrary pooling uses several addresses, paired pooling one for a host")
    func pooling() throws {
        for (pooling, counts) in [(NATProfile.Pooling.paired, 1...1), (.arbitrary, 2...4)] {
            var profile = NATProfile.symmetricRandom
            profile.addressCount = 4
            profile.pooling = pooling
            let network = try behind(profile, "a")
            let measurement = try NATMeasurement(network)
            let seen = try (0..<16).map { _ in
                try #require(measurement.mapped(NamespaceSocket(at: network.host("a")))).ip
            }
            #expect(counts.contains(Set(seen).count))
        }
    }

    @Test("a stranger's packet takes the port where Linux masquerades without a filter, and nowhere else")
    func takesPort() throws {
        for (profile, keeps) in [(NATProfile.leaky, false), (.portRestricted, true)] {
            let network = try behind(profile, "a")
            let measurement = try NATMeasurement(network)
            let external = SocketAddress(ip: try network.host("a").publicAddresses[0], port: 45_000)
            measurement.send([9], from: 1, to: external)
            let socket = try NamespaceSocket(at: network.host("a"), port: 45_000)
            let mapped = try #require(measurement.mapped(socket, toward: 1))
            #expect((mapped.port == 45_000) == keeps)
            let report = try network.report(ofBox: "nat")
            #expect(report.dropped.map(\.packets) == [1] && report.dropped.first?.destination == external)
            #expect(report.mappings.map(\.outer) == [mapped] && report.mappings.first?.remote == measurement.address(1))
            #expect(report.mappings.first?.inner == socket.local)
        }
    }

    @Test("a packet with a low TTL opens the sender's filter and does not reach the other NAT")
    func lowTTL() throws {
        let network = try KernelNetwork([.host("a", behind: [.leaky]), .host("b", behind: [.leaky])])
        let (a, b) = (try network.host("a"), try network.host("b"))
        let first = try NamespaceSocket(at: a, port: 40_001)
        let second = try NamespaceSocket(at: b, port: 40_002)
        let (mappedA, mappedB) = (
            SocketAddress(ip: a.publicAddresses[0], port: 40_001), SocketAddress(ip: b.publicAddresses[0], port: 40_002)
        )
        first.setTTL(4)
        first.send([1], to: mappedB)
        second.send([2], to: mappedA)
        #expect(first.receive()?.bytes == [2])
        first.setTTL(64)
        first.send([3], to: mappedB)
        #expect(second.receive() == .init(bytes: [3], source: mappedA))
        #expect(try network.report(ofBox: "b-nat1").dropped.isEmpty)
        let paths = try network.paths(between: a, and: b)
        #expect(paths.direct == 2 * 29 && paths.throughServer == 0 && paths.inside == 0)
    }

    @Test("a NAT that refuses says so to strangers")
    func refusal() throws {
        let network = try behind(.refusing, "a")
        let measurement = try NATMeasurement(network)
        let socket = try NamespaceSocket(at: network.host("a"))
        let external = try #require(measurement.mapped(socket))
        let stranger = try NamespaceSocket(at: network.server, address: 1, port: 5000)
        stranger.reportErrors()
        stranger.send([1], to: external)
        #expect(stranger.receive(within: .milliseconds(200)) == nil)
        #expect(stranger.isRefused)
        measurement.send([2], from: 0, to: external)
        #expect(socket.receive()?.bytes == [2], "the mapping survives")
    }

    @Test("where UDP is blocked none passes, and TCP does")
    func blocked() throws {
        let network = try behind(.udpBlocked, "a")
        let measurement = try NATMeasurement(network)
        let host = try network.host("a")
        let socket = try NamespaceSocket(at: host)
        #expect(measurement.mapped(socket, within: .milliseconds(50)) == nil)
        let dropped = try network.report(ofBox: "nat").dropped
        #expect(dropped.map(\.source) == [socket.local], "\(dropped)")
        let listener = try TCPPair.listen(at: network.server, port: 443)
        defer { close(listener) }
        #expect(try TCPPair.connects(from: host, to: SocketAddress(ip: network.server.addresses[0], port: 443)))
    }

    @Test("a mapping ends when nothing refreshes it, and packets from outside do where the profile says so")
    func lifetime() throws {
        for refreshes in [false, true] {
            var profile = NATProfile.portRestricted
            profile.mappingLifetime = .milliseconds(300)
            profile.inboundRefreshes = refreshes
            let network = try behind(profile, "a")
            let measurement = try NATMeasurement(network)
            let socket = try NamespaceSocket(at: network.host("a"))
            let external = try #require(measurement.mapped(socket))
            let began = MonotonicClock.now
            // Ten packets, 60 ms apart: the wait is that for a second one that does not come.
            var arrived: [Duration] = []
            for number in 0..<10 as Range<UInt8> {
                measurement.send([number], from: 0, to: external)
                if socket.receive(within: .milliseconds(20))?.bytes == [number] {
                    arrived.append(MonotonicClock.now - began)
                }
                _ = socket.receive(within: .milliseconds(40))
            }
            if refreshes {
                #expect(arrived.count == 10)
            } else {
                #expect((arrived.last ?? .zero) <= .milliseconds(320) && arrived.count < 10 && !arrived.isEmpty)
            }
        }
    }

    @Test("a NAT that starts again forgets its mappings")
    func rebind() throws {
        let network = try behind(.symmetricRandom, "a")
        let measurement = try NATMeasurement(network)
        let socket = try NamespaceSocket(at: network.host("a"))
        let before = try #require(measurement.mapped(socket))
        #expect(measurement.mapped(socket) == before)
        try network.rebind(box: "nat")
        measurement.send([1], from: 0, to: before)
        #expect(socket.receive(within: .milliseconds(20)) == nil)
        let after = try #require(measurement.mapped(socket))
        #expect(after != before)
        #expect(try network.report(ofBox: "nat").mappings.map(\.outer) == [after])
    }

    @Test("a link delays and loses, and one without does neither")
    func links() throws {
        let wait = LinkConditions(delay: .milliseconds(20))
        let network = try KernelNetwork([
            .host("far", behind: [.portRestricted], link: .init(up: wait, down: wait)), .host("near", behind: []),
        ])
        let measurement = try NATMeasurement(network)
        let far = try NamespaceSocket(at: network.host("far"))
        let began = MonotonicClock.now
        let external = try #require(measurement.mapped(far))
        let there = MonotonicClock.now - began
        #expect(there >= .milliseconds(20))
        measurement.send([1], from: 0, to: external)
        #expect(far.receive()?.bytes == [1])
        #expect(MonotonicClock.now - began >= .milliseconds(40))
        try network.setConditions(ofLink: "far-nat1", up: LinkConditions(loss: .random(1)), down: wait)
        #expect(measurement.mapped(far, within: .milliseconds(40)) == nil)
        #expect(throws: KernelNetwork.Failure.self) { try network.setConditions(ofLink: "near", up: wait, down: wait) }
        #expect(try measurement.mapped(NamespaceSocket(at: network.host("near"))) != nil)
    }

    @Test("hosts behind one operator's NAT meet on its segment, and the counters tell")
    func inside() throws {
        let network = try KernelNetwork([
            .init(
                .behind(
                    .carrierPairedRange, "operator",
                    [.behind(.portRestricted, "home-a", [.host("a")]), .behind(.fullCone, "home-b", [.host("b")])]))
        ])
        let measurement = try NATMeasurement(network)
        let (a, b) = (try network.host("a"), try network.host("b"))
        let (first, second) = (try NamespaceSocket(at: a), try NamespaceSocket(at: b))
        let (mappedA, mappedB) = (try #require(measurement.mapped(first)), try #require(measurement.mapped(second)))
        try network.resetTraffic()
        second.send([1], to: mappedA)
        first.send([2], to: mappedB)
        #expect(second.receive() == .init(bytes: [2], source: mappedA))
        let paths = try network.paths(between: a, and: b)
        #expect(paths.direct == 0 && paths.throughServer == 0)
        #expect(!(try network.traffic(behind: "operator")).isEmpty)
        #expect(network.boxes == ["operator", "home-a", "home-b"])
    }

    @Test(
        "what crosses a segment can be captured", .enabled(if: access("/usr/bin/tcpdump", X_OK) == 0, "no tcpdump here")
    )
    func capture() throws {
        let network = try behind(.portRestricted, "a")
        let path = "/tmp/dreamer-capture-\(getpid()).pcap"
        defer { unlink(path) }
        let capture = try network.capture(to: path)
        let measurement = try NATMeasurement(network)
        _ = try #require(measurement.mapped(NamespaceSocket(at: network.host("a"))))
        // Each packet is written as it comes (-U): the file's header has 24 bytes, a packet's 16, and its frame 43.
        var information = stat()
        let limit = MonotonicClock.now + .seconds(5)
        repeat {
            poll(nil, 0, 5)
            stat(path, &information)
        } while information.st_size < 24 + 16 + 43 && MonotonicClock.now < limit
        capture.signal(SIGINT)
        #expect(try capture.finish(within: .seconds(10)).status == 0)
        #expect(information.st_size >= 24 + 16 + 43)
    }

    @Test(
        "what crosses several segments becomes one file",
        .enabled(if: access("/usr/bin/tcpdump", X_OK) == 0, "no tcpdump here"))
    func captureOfSegments() throws {
        let network = try behind(.portRestricted, "a")
        let capture = try SegmentCapture(of: network, before: [network.host("a")])
        let measurement = try NATMeasurement(network)
        let socket = try NamespaceSocket(at: network.host("a"))
        let mapped = try #require(measurement.mapped(socket))
        // tcpdump sees a packet after it has arrived.
        poll(nil, 0, 200)
        let file = try capture.finish()
        #expect(file.interfaceCount == 2)
        func contains(_ address: SocketAddress) -> Bool {
            let bits = address.ip.v4Bits ?? 0
            let bytes = (0..<4).map { UInt8(truncatingIfNeeded: bits >> (24 - 8 * $0)) }
            return file.bytes.indices.dropLast(3).contains { Array(file.bytes[$0..<$0 + 4]) == bytes }
        }
        #expect(contains(socket.local) && contains(mapped))
    }

    @Test("a file that is none of libpcap's is refused")
    func noCapture() {
        var file = PCAPNG()
        #expect(throws: KernelNetwork.Failure.self) { try file.add(libpcap: [1, 2, 3], at: "x") }
        #expect(throws: KernelNetwork.Failure.self) {
            try file.add(libpcap: [UInt8](repeating: 0, count: 100), at: "x")
        }
    }

    @Test("programs run where they are told to, with their input and output at hand")
    func programs() throws {
        let network = try behind(.portRestricted, "a")
        let host = try network.host("a")
        let program = try network.run(
            "sh", ["-c", "read word; echo \"$word $TRIAL\"; ip -4 -o addr show dev eth0; exit 3"],
            environment: ["TRIAL": "two"], at: host)
        program.send("one")
        #expect(try program.line(within: .seconds(10)) == "one two")
        let ending = try program.finish(within: .seconds(10))
        #expect(ending.status == 3)
        #expect(ending.output.contains("\(host.addresses[0])/24"))
        #expect(throws: KernelLabError("running no-such-program", code: ENOENT)) {
            try network.run("no-such-program", at: host)
        }
    }

    @Test("open hosts and the server have IPv6 where it is wanted, hosts behind a NAT never")
    func ipv6() throws {
        let network = try KernelNetwork([.host("a", behind: []), .host("b", behind: [.portRestricted])], hasIPv6: true)
        #expect(try network.host("a").addresses.map(\.family) == [.v4, .v6])
        #expect(try network.host("b").addresses.map(\.family) == [.v4])
        let listener = try TCPPair.listen(at: network.server, address: 2, port: 443)
        defer { close(listener) }
        #expect(
            try TCPPair.connects(
                from: network.host("a"), to: SocketAddress(ip: network.server.addresses[2], port: 443)))
        #expect(try network.publicTraffic().contains { $0.source.ip.family == .v6 && $0.transportProtocol == .tcp })
    }
}
