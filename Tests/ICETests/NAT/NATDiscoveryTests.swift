// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

/// Discovery of what a NAT does (RFC 5780), on virtual time.
struct NATDiscoveryTests {
    /// Every mapping with every filtering and every allocation (RFC 4787 §4, §5).
    static let behaviors: [NATBehavior] = NATBehavior.Dependence.allCases.flatMap { mapping in
        NATBehavior.Dependence.allCases.flatMap { filtering in
            NATBehavior.Allocation.allCases.map { NATBehavior(mapping: mapping, filtering: filtering, allocation: $0) }
        }
    }

    @Test("every combination of mapping, filtering and allocation is found out", arguments: behaviors)
    func table(behavior: NATBehavior) throws {
        for inbound in NATReport.FilteredInbound.allCases {
            var profile = ModelNAT.Profile()
            profile.behavior = behavior
            profile.filteredInbound = inbound
            let report = try #require(DiscoveryWorld(profile, seed: 1).run())
            #expect(report.behavior == behavior, "\(profile)\n\(report)")
            #expect(report.kind == .known(.nat))
            #expect(report.contradictions(to: profile) == [], "\(profile)\n\(report)")
            #expect(report.preservesParity == .known(behavior.allocation == .preserving))
            #expect(report.pooling == .known(.paired))
            #expect(report.filteredInbound == profile.visibleInbound, "\(profile)\n\(report)")
            #expect(report.faults.isEmpty)
            #expect(report.rewritesPayload == .known(false))
            #expect(report.mappingLifetime == .unknown(.notWanted))
        }
    }

    @Test("what Linux does without a filter before masquerading is told from a NAT that only drops")
    func linux() throws {
        var profile = ModelNAT.Profile()
        profile.behavior = NATBehavior(mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
        profile.sharesPorts = true
        for (inbound, found) in [
            (NATReport.FilteredInbound.takesPort, NATReport.FilteredInbound.takesPort), (.dropped, .dropped),
        ] {
            profile.filteredInbound = inbound
            let report = try #require(DiscoveryWorld(profile, seed: 3).run())
            #expect(report.mapping == .known(.endpointIndependent))
            #expect(report.filtering == .known(.addressAndPortDependent))
            #expect(report.filteredInbound == .known(found), "\(report)")
        }
    }

    @Test(
        "hairpinning is found with its source where filters do not hide it", arguments: NATReport.Hairpinning.allCases)
    func hairpinning(hairpinning: NATReport.Hairpinning) throws {
        for behavior in Self.behaviors {
            var profile = ModelNAT.Profile()
            profile.behavior = behavior
            profile.hairpinning = hairpinning
            let report = try #require(DiscoveryWorld(profile, seed: 5).run())
            let isDecisive = behavior.mapping == .endpointIndependent || behavior.filtering == .endpointIndependent
            #expect(
                report.hairpinning == (isDecisive ? .known(hairpinning) : .unknown(.notObservable)),
                "\(profile)\n\(report)")
        }
    }

    @Test("a firewall that does not translate is told from an open network, whatever it filters")
    func firewall() throws {
        for filtering in NATBehavior.Dependence.allCases {
            var profile = ModelNAT.Profile()
            profile.translates = false
            profile.behavior.filtering = filtering
            let report = try #require(DiscoveryWorld(profile, seed: 7).run())
            #expect(report.kind == .known(filtering == .endpointIndependent ? .open : .firewall), "\(report)")
            #expect(report.mapping == .known(.endpointIndependent))
            #expect(report.filtering == .known(filtering))
            #expect(report.allocation == .unknown(.noTranslation))
            #expect(report.behavior == NATBehavior(mapping: .endpointIndependent, filtering: filtering))
            #expect(report.hairpinning == .unknown(.noTranslation))
        }
    }

    @Test("ports: steps, ranges, parity and pools are found")
    func allocation() throws {
        var profile = ModelNAT.Profile()
        profile.behavior = NATBehavior(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential)
        profile.step = 2
        var report = try #require(DiscoveryWorld(profile, seed: 11).run())
        #expect(report.allocation.value?.step == 2)
        #expect(report.furtherAllocation.value?.allocation == .sequential)
        #expect(report.furtherAllocation.value?.step == 2)

        profile.behavior.allocation = .random
        profile.ports = 40_000...40_100
        report = try #require(DiscoveryWorld(profile, seed: 12).run())
        let pattern = try #require(report.allocation.value)
        #expect(pattern.allocation == .random && pattern.isConfined)
        #expect((40_000...40_100).contains(pattern.observed.lowerBound))
        #expect((40_000...40_100).contains(pattern.observed.upperBound))

        profile.ports = 1024...65_535
        profile.preservesParity = true
        profile.addressCount = 4
        profile.poolsArbitrarily = true
        report = try #require(DiscoveryWorld(profile, seed: 13).run())
        #expect(report.allocation.value?.allocation == .random && report.allocation.value?.isConfined == false)
        #expect(report.preservesParity == .known(true), "\(report)")
        #expect(report.pooling == .known(.arbitrary))
        #expect(report.externalAddresses.count > 1)
    }

    @Test("the lifetime of mappings is bracketed, and what refreshes them is told", arguments: [12, 30, 63, 120, 300])
    func lifetime(seconds: Int) throws {
        for refreshes in [false, true] {
            for mapping in NATBehavior.Dependence.allCases {
                var profile = ModelNAT.Profile()
                profile.behavior = NATBehavior(mapping: mapping, filtering: .addressAndPortDependent)
                profile.lifetime = .seconds(seconds)
                profile.inboundRefreshes = refreshes
                let world = DiscoveryWorld(profile, seed: 17) { $0.lifetimeBudget = .seconds(2400) }
                let report = try #require(world.run())
                let lifetime = try #require(report.mappingLifetime.value, "\(report)")
                let expired = try #require(lifetime.expired)
                #expect(lifetime.survived <= profile.lifetime && profile.lifetime <= expired, "\(report)")
                #expect(expired - lifetime.survived < max(.seconds(5), profile.lifetime / 8), "\(report)")
                #expect(report.inboundRefreshes == .known(refreshes), "\(report)")
            }
        }
    }

    @Test("a lifetime beyond the budget is known to be longer than what was waited for")
    func longLifetime() throws {
        var profile = ModelNAT.Profile()
        profile.lifetime = .seconds(3600)
        let world = DiscoveryWorld(profile, seed: 19) { $0.lifetimeBudget = .seconds(200) }
        let report = try #require(world.run())
        let lifetime = try #require(report.mappingLifetime.value)
        #expect(lifetime.survived >= .seconds(100) && lifetime.expired == nil)
        #expect(report.inboundRefreshes == .unknown(.timeSpent))
        #expect(report.exchanges.compactMap(\.lastSentAt).allSatisfy { $0 < .zero + .seconds(320) })
    }

    @Test("where nothing answers, one server leaves it open and several say that UDP is blocked")
    func blocked() throws {
        var profile = ModelNAT.Profile()
        profile.blocksUDP = true
        var report = try #require(DiscoveryWorld(profile, seed: 23).run())
        #expect(report.kind == .unknown(.noAnswer))
        #expect(report.mapping == .unknown(.noAnswer) && report.filtering == .unknown(.noAnswer))
        let other = address("198.51.101.5:3478")
        report = try #require(DiscoveryWorld(profile, seed: 23) { $0.otherServers = [other] }.run())
        #expect(report.kind == .known(.udpBlocked))
        #expect(report.description.contains("UDP does not get out"))
    }

    @Test("a dead server is passed over for the next")
    func deadServer() throws {
        var server = ScriptedServer()
        server.isSilent = true
        let other = address("198.51.101.5:3478")
        server.others = [other]
        let dead = server.primary
        let report = try #require(DiscoveryWorld(server: server, seed: 29) { $0.otherServers = [other] }.run())
        #expect(report.server == other)
        #expect(report.faults == [.silent(dead), .noOtherAddress])
        #expect(report.kind == .known(.nat))
        #expect(report.allocation.value?.allocation == .preserving)
    }

    @Test("a driver without sockets, or with sockets bound to no address, is told so")
    func sockets() throws {
        let world = DiscoveryWorld(seed: 31)
        world.binds = { _ in false }
        #expect(try #require(world.run()).kind == .unknown(.noSocket))
        for failing in 1...12 {
            let world = DiscoveryWorld(seed: 31)
            world.binds = { $0 < failing }
            let report = try #require(world.run())
            #expect(report.kind == .known(.nat))
        }
    }
}

/// Packets on the wire.
struct NATDiscoveryWireTests {
    @Test("no filtering test runs on a socket, or after a packet, that could have opened the door")
    func order() throws {
        var profile = ModelNAT.Profile()
        profile.behavior.filtering = .addressAndPortDependent
        let world = DiscoveryWorld(profile, seed: 37)
        let report = try #require(world.run())
        let tests = report.exchanges.filter { $0.purpose == .filtering }
        #expect(!tests.isEmpty)
        for test in tests {
            let before = report.exchanges.filter { exchange in
                exchange.sentAt.flatMap { sent in test.sentAt.map { sent < $0 } } ?? false
            }
            #expect(!before.contains { $0.socket == test.socket && $0.destination != world.server.primary })
            if test.changes.contains(.address) {
                // Not from any socket: some NATs open doors for a whole host.
                #expect(!before.contains { $0.destination.ip != world.server.primary.ip })
            } else {
                #expect(
                    !before.contains {
                        $0.destination.ip == world.server.primary.ip && $0.destination.port != world.server.primary.port
                    })
            }
        }
    }

    @Test("not more than ten new requests start in any second")
    func pacing() throws {
        for behavior in NATDiscoveryTests.behaviors {
            var profile = ModelNAT.Profile()
            profile.behavior = behavior
            let starts = try #require(DiscoveryWorld(profile, seed: 41).run()).exchanges.compactMap(\.sentAt)
            for (index, start) in starts.enumerated() where index + 10 < starts.count {
                #expect(starts[index + 10] - start >= .seconds(1))
            }
        }
    }

    @Test("requests carry CHANGE-REQUEST and RESPONSE-PORT as RFC 5780 §7 has them")
    func attributes() throws {
        var profile = ModelNAT.Profile()
        profile.behavior.filtering = .addressAndPortDependent
        let world = DiscoveryWorld(profile, seed: 43)
        _ = world.run()
        let requests = try world.sent.map { try decode($0.datagram.payload) }
        #expect(
            requests.allSatisfy { $0.messageClass == .request && $0.method == .binding && $0.fingerprint == .valid })
        #expect(Set(requests.compactMap { $0.first(.changeRequest) }) == [[0, 0, 0, 6], [0, 0, 0, 2]])
        let ports = requests.compactMap { $0.first(.responsePort) }
        #expect(
            !ports.isEmpty && ports.allSatisfy { $0.count == 4 && $0[2] == 0 && $0[3] == 0 && ($0[0] | $0[1]) != 0 })
    }

    @Test("a silent server is asked six times, each wait twice the one before, and then given up")
    func retransmission() throws {
        var server = ScriptedServer()
        server.isSilent = true
        let world = DiscoveryWorld(server: server, seed: 47)
        let report = try #require(world.run())
        #expect(world.sent.map { ($0.time - .zero).nanoseconds / 1_000_000 } == [0, 500, 1500, 3500, 7500, 15_500])
        #expect(Set(world.sent.map(\.datagram.payload)).count == 1)
        #expect(report.exchanges.map(\.outcome) == [.silent])
    }

    @Test("every socket is let go, and the report ends all")
    func cleanUp() throws {
        for seed in UInt64(0)..<6 {
            let world = DiscoveryWorld(loss: 0.1, seed: seed) { $0.lifetimeBudget = .seconds(300) }
            _ = try #require(world.run())
            #expect(world.openSockets.isEmpty)
            #expect(world.stages.first == .connectivity)
        }
    }

    @Test("one seed gives one sequence of packets")
    func determinism() throws {
        func packets() throws -> [Datagram] {
            var profile = ModelNAT.Profile()
            profile.behavior = NATBehavior(
                mapping: .addressDependent, filtering: .addressAndPortDependent, allocation: .random)
            let world = DiscoveryWorld(profile, loss: 0.1, seed: 53)
            _ = try #require(world.run())
            return world.sent.map(\.datagram)
        }
        #expect(try packets() == packets())
    }

    @Test("a discovery takes as long and sends as much as it says")
    func cost() throws {
        var longest = Duration.zero
        var most = 0
        for behavior in NATDiscoveryTests.behaviors {
            var profile = ModelNAT.Profile()
            profile.behavior = behavior
            let world = DiscoveryWorld(profile, seed: 59)
            _ = try #require(world.run())
            longest = max(longest, world.now - .zero)
            most = max(most, world.sent.count)
        }
        print("discovery without loss, 20 ms away: \(longest.seconds) s and \(most) packets at most")
        #expect(longest < .seconds(30) && most < 300)
    }
}

extension ModelNAT.Profile {
    /// The mapping as it shows: where ports are shared and preserved, all destinations see one.
    var visibleMapping: NATBehavior.Dependence {
        sharesPorts || !translates ? .endpointIndependent : behavior.mapping
    }

    /// What a discovery without loss says of packets that are not let in.
    var visibleInbound: NATFact<NATReport.FilteredInbound> {
        if behavior.filtering == .endpointIndependent { return .unknown(.nothingFiltered) }
        if filteredInbound == .endsMapping { return .known(.endsMapping) }
        return visibleMapping == .endpointIndependent ? .known(filteredInbound) : .unknown(.notObservable)
    }
}

extension NATReport {
    /// The facts that the report claims to know and that are not so.
    func contradictions(to profile: ModelNAT.Profile) -> [String] {
        var result: [String] = []
        func check<Value>(_ name: String, _ fact: NATFact<Value>, _ truth: Value?) {
            if let value = fact.value, value != truth { result.append("\(name) \(value) is \(truth as Any)") }
        }
        let isOpen = !profile.translates && profile.behavior.filtering == .endpointIndependent
        check("kind", kind, profile.blocksUDP ? .udpBlocked : profile.translates ? .nat : isOpen ? .open : .firewall)
        check("mapping", mapping, profile.visibleMapping)
        check("filtering", filtering, profile.behavior.filtering)
        if let allocation = allocation.value?.allocation, allocation != profile.behavior.allocation {
            result.append("allocation \(allocation)")
        }
        check("parity", preservesParity, profile.preservesParity || profile.behavior.allocation == .preserving)
        check("pooling", pooling, profile.poolsArbitrarily && profile.addressCount > 1 ? .arbitrary : .paired)
        check("hairpinning", hairpinning, profile.hairpinning)
        check("filtered inbound", filteredInbound, profile.visibleInbound.value)
        if let lifetime = mappingLifetime.value {
            if lifetime.survived > profile.lifetime || lifetime.expired.map({ $0 < profile.lifetime }) ?? false {
                result.append("lifetime \(lifetime)")
            }
        }
        check("refresh", inboundRefreshes, profile.inboundRefreshes)
        return result
    }
}
