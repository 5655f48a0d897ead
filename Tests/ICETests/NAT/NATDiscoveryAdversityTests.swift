// SPDX-License-Identifier: Apache-2.0
import Foundation
import ICE
import Testing
import Wire

/// Discovery where packets are lost, and with servers that do not do as RFC 5780 says.
struct NATDiscoveryAdversityTests {
    /// Seeds for each rate of loss; more are tried with DREAMER_NAT_SEEDS.
    private static let seeds = ProcessInfo.processInfo.environment["DREAMER_NAT_SEEDS"].flatMap { UInt64($0) } ?? 40

    /// A profile from a seed: any of all.
    private static func profile(_ entropy: inout Entropy) -> ModelNAT.Profile {
        var profile = ModelNAT.Profile()
        profile.behavior = NATDiscoveryTests.behaviors.randomElement(using: &entropy) ?? profile.behavior
        profile.filteredInbound = NATReport.FilteredInbound.allCases.randomElement(using: &entropy) ?? .dropped
        profile.hairpinning = NATReport.Hairpinning.allCases.randomElement(using: &entropy) ?? .none
        profile.preservesParity = Int.random(in: 0..<4, using: &entropy) == 0
        profile.step = Int.random(in: 1...4, using: &entropy)
        if Int.random(in: 0..<4, using: &entropy) == 0 {
            (profile.addressCount, profile.poolsArbitrarily) = (Int.random(in: 2...4, using: &entropy), true)
        }
        if Int.random(in: 0..<8, using: &entropy) == 0 { profile.ports = 40_000...40_400 }
        if Int.random(in: 0..<8, using: &entropy) == 0 {
            profile.sharesPorts = true
            profile.behavior = NATBehavior(mapping: .addressAndPortDependent, filtering: .addressAndPortDependent)
            if profile.filteredInbound == .endsMapping { profile.filteredInbound = .takesPort }
            profile.poolsArbitrarily = false
        }
        if profile.behavior.allocation == .preserving {
            (profile.ports, profile.preservesParity) = (1024...65_535, false)
        }
        profile.lifetime = .seconds(Int.random(in: 30...200, using: &entropy))
        profile.inboundRefreshes = Bool.random(using: &entropy)
        return profile
    }

    @Test("with loss a fact is right or unknown, never wrong", arguments: [0, 0.02, 0.05, 0.1, 0.2])
    func loss(loss: Double) throws {
        var (known, all) = (0, 0)
        for seed in 0..<Self.seeds {
            var entropy = Entropy(seed: seed &+ UInt64(loss * 1000) &* 1_000_003)
            let profile = Self.profile(&entropy)
            let hasLifetime = seed % 4 == 0
            let world = DiscoveryWorld(profile, loss: loss, seed: entropy.next()) {
                if hasLifetime { $0.lifetimeBudget = .seconds(600) }
            }
            world.link.jitter = .milliseconds(Int.random(in: 0...30, using: &entropy))
            let report = try #require(world.run(), "seed \(seed)")
            #expect(report.contradictions(to: profile) == [], "seed \(seed), loss \(loss): \(profile)\n\(report)")
            known += report.behavior == nil ? 0 : 1
            all += 1
            #expect(report.exchanges.count < 2000)
        }
        print("loss \(loss): seeds 0..<\(Self.seeds), behavior known in \(known) of \(all)")
        #expect(known * 10 >= all * (loss > 0.1 ? 5 : 8))
    }

    @Test("an outage in mid-test is no filter", arguments: 0..<12)
    func outage(seed: Int) throws {
        var profile = ModelNAT.Profile()
        profile.behavior.filtering = .endpointIndependent
        let world = DiscoveryWorld(profile, seed: UInt64(seed))
        let begin = Duration.milliseconds(300 + 150 * seed)
        world.loses = { $0 > .zero + begin && $0 < .zero + begin + .seconds(8) }
        let report = try #require(world.run())
        #expect(report.contradictions(to: profile) == [], "seed \(seed)\n\(report)")
    }

    @Test("a server without another address tells what it can, and is named")
    func noOtherAddress() throws {
        var server = ScriptedServer()
        server.secondary = nil
        var profile = ModelNAT.Profile()
        profile.behavior = NATBehavior(
            mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .sequential)
        let report = try #require(DiscoveryWorld(profile, server: server, seed: 61).run())
        #expect(report.faults == [.noOtherAddress])
        #expect(report.kind == .known(.nat))
        #expect(report.mapping == .unknown(.noOtherAddress))
        #expect(report.filtering == .unknown(.noOtherAddress))
        #expect(report.allocation.value?.allocation == .sequential)
        #expect(report.behavior == nil)
        #expect(report.description.contains("names no OTHER-ADDRESS"))
    }

    @Test("another port of the same host tells what depends on ports alone")
    func sameHost() throws {
        for mapping in NATBehavior.Dependence.allCases {
            for filtering in NATBehavior.Dependence.allCases {
                var server = ScriptedServer()
                server.secondary = address("192.0.2.10:3479")
                var profile = ModelNAT.Profile()
                profile.behavior = NATBehavior(mapping: mapping, filtering: filtering)
                let report = try #require(DiscoveryWorld(profile, server: server, seed: 67).run())
                #expect(report.faults == [.otherAddressOnSameHost(address("192.0.2.10:3479"))])
                #expect(
                    report.mapping
                        == (mapping == .addressAndPortDependent ? .known(mapping) : .unknown(.oneAddress)))
                #expect(
                    report.filtering
                        == (filtering == .addressAndPortDependent ? .known(filtering) : .unknown(.oneAddress)),
                    "\(profile)\n\(report)")
            }
        }
    }

    @Test("another host with the same port tells what is independent of endpoints alone")
    func samePort() throws {
        for mapping in NATBehavior.Dependence.allCases {
            for filtering in NATBehavior.Dependence.allCases {
                var server = ScriptedServer()
                server.secondary = address("203.0.113.20:3478")
                var profile = ModelNAT.Profile()
                profile.behavior = NATBehavior(mapping: mapping, filtering: filtering)
                let report = try #require(DiscoveryWorld(profile, server: server, seed: 71).run())
                #expect(report.faults == [.otherAddressOnSamePort(address("203.0.113.20:3478"))])
                #expect(report.mapping == (mapping == .endpointIndependent ? .known(mapping) : .unknown(.onePort)))
                #expect(
                    report.filtering == (filtering == .endpointIndependent ? .known(filtering) : .unknown(.onePort)),
                    "\(profile)\n\(report)")
            }
        }
    }

    @Test(
        "an OTHER-ADDRESS that nobody could send to is named and not sent to",
        arguments: [
            "0.0.0.0:3479", "127.0.0.1:3479", "224.0.0.1:3479", "203.0.113.20:0", "10.1.2.3:3479", "169.254.1.1:3479",
            "192.0.2.10:3478", "[2001:db8::1]:3479",
        ])
    func unusable(text: String) throws {
        var server = ScriptedServer()
        server.namesOther = address(text)
        let world = DiscoveryWorld(server: server, seed: 73)
        let report = try #require(world.run())
        #expect(report.faults == [.otherAddressUnusable(address(text))])
        #expect(report.mapping == .unknown(.noOtherAddress))
        let elsewhere = world.sent.filter { $0.datagram.destination.ip != server.primary.ip }
        #expect(elsewhere.allSatisfy { world.nat.externals.contains($0.datagram.destination.ip) })
    }

    @Test("a server's wrong ways with CHANGE-REQUEST are no filters", arguments: NATBehavior.Dependence.allCases)
    func changeRequests(mapping: NATBehavior.Dependence) throws {
        var profile = ModelNAT.Profile()
        profile.behavior.mapping = mapping
        var server = ScriptedServer()
        server.changeRequests = .ignored
        var report = try #require(DiscoveryWorld(profile, server: server, seed: 79).run())
        #expect(report.filtering == .unknown(.changeRequestIgnored))
        #expect(report.faults == [.ignoresChangeRequest])
        #expect(report.mapping == .known(mapping))
        server.changeRequests = .refused
        report = try #require(DiscoveryWorld(profile, server: server, seed: 79).run())
        #expect(report.filtering == .unknown(.refused(420)))
        server.changeRequests = .dropped
        report = try #require(DiscoveryWorld(profile, server: server, seed: 79).run())
        #expect(report.filtering == .unknown(.changeRequestUnproven), "\(report)")
        #expect(report.contradictions(to: profile) == [])
    }

    @Test("without RESPONSE-PORT what needs it is unknown, and nothing else")
    func noResponsePort() throws {
        var server = ScriptedServer()
        server.supportsResponsePort = false
        var profile = ModelNAT.Profile()
        profile.behavior.filtering = .addressAndPortDependent
        let report = try #require(
            DiscoveryWorld(profile, server: server, seed: 83) { $0.lifetimeBudget = .seconds(300) }.run())
        #expect(report.behavior == profile.behavior)
        #expect(report.mappingLifetime == .unknown(.refused(420)))
        #expect(report.inboundRefreshes == .unknown(.refused(420)))
        #expect(report.contradictions(to: profile) == [])
    }

    @Test("endpoints of the server that do not answer leave open what they would show")
    func deadEndpoints() throws {
        for behavior in NATDiscoveryTests.behaviors {
            for dead in ["203.0.113.20:3479", "203.0.113.20:3478", "192.0.2.10:3479"] {
                var server = ScriptedServer()
                server.dead = [address(dead)]
                var profile = ModelNAT.Profile()
                profile.behavior = behavior
                let report = try #require(DiscoveryWorld(profile, server: server, seed: 89).run())
                #expect(report.contradictions(to: profile) == [], "\(dead): \(profile)\n\(report)")
            }
        }
    }

    @Test("a server that refuses everything, or says nothing of use, ends it", arguments: [400, 401, 420, 500, 300])
    func refusal(code: Int) throws {
        var server = ScriptedServer()
        server.refusal = STUNErrorCode(code, "no")
        var report = try #require(DiscoveryWorld(server: server, seed: 97).run())
        #expect(report.kind == .unknown(.refused(code)))
        server = ScriptedServer()
        server.omitsMapped = true
        report = try #require(DiscoveryWorld(server: server, seed: 97).run())
        #expect(report.kind == .unknown(.noAnswer))
        #expect(report.faults == [.noMappedAddress])
    }

    @Test("a server that tells another address each time makes no mapping of it")
    func unstable() throws {
        let counter = Counter()
        var server = ScriptedServer()
        server.mapped = {
            SocketAddress(ip: $0.ip, port: 1024 + UInt16(truncatingIfNeeded: counter.next() &* 7919) % 60_000)
        }
        let report = try #require(DiscoveryWorld(server: server, seed: 101).run())
        #expect(report.mapping == .unknown(.inconsistent), "\(report)")
        #expect(report.behavior == nil)
    }

    @Test("an OTHER-ADDRESS of other servers does not lead astray")
    func wrongOther() throws {
        var server = ScriptedServer()
        server.namesOther = address("203.0.113.99:3479")
        for behavior in NATDiscoveryTests.behaviors {
            var profile = ModelNAT.Profile()
            profile.behavior = behavior
            let report = try #require(DiscoveryWorld(profile, server: server, seed: 103).run())
            // The other port, which is real, may still show a filter.
            #expect(report.filtering.value == nil || behavior.filtering == .addressAndPortDependent, "\(report)")
            #expect(report.contradictions(to: profile) == [], "\(profile)\n\(report)")
        }
    }

    @Test("mutated answers do no harm", arguments: 0..<40)
    func mutation(seed: Int) throws {
        var entropy = Entropy(seed: UInt64(seed) &+ 9000)
        let world = DiscoveryWorld(Self.profile(&entropy), seed: UInt64(seed)) {
            if seed % 8 == 0 { $0.lifetimeBudget = .seconds(120) }
        }
        world.mutates = { bytes, entropy in
            switch Int.random(in: 0..<6, using: &entropy) {
            case 0:
                guard let index = bytes.indices.randomElement(using: &entropy) else { return }
                bytes[index] ^= UInt8(1 << Int.random(in: 0..<8, using: &entropy))
            case 1: bytes.removeLast(min(bytes.count, Int.random(in: 1...40, using: &entropy)))
            case 2: bytes += entropy.bytes(Int.random(in: 1...40, using: &entropy))
            default: break
            }
        }
        let report = try #require(world.run(), "seed \(seed)")
        #expect(report.exchanges.count < 2000 && report.faults.count <= 16)
        #expect(world.openSockets.isEmpty)
    }

    @Test("answers that are forged well enough leave bounded traces", arguments: 0..<20)
    func forgery(seed: Int) throws {
        // FINGERPRINT is no secret: whoever sees a request can answer anything.
        let world = DiscoveryWorld(seed: UInt64(seed))
        world.mutates = { bytes, entropy in
            guard let message = try? decode(bytes), Bool.random(using: &entropy) else { return }
            var forged = STUNMessage(message.messageClass, transactionID: message.transactionID)
            for attribute in message.attributes {
                let value = Bool.random(using: &entropy) ? attribute.value : entropy.bytes(attribute.value.count)
                forged.attributes.append(STUNAttribute(attribute.kind, value))
            }
            bytes = forged.encoded()
        }
        let report = try #require(world.run(), "seed \(seed)")
        #expect(report.exchanges.count < 2000 && report.faults.count <= 16 && report.externalAddresses.count <= 16)
    }

    @Test("packets that answer nothing are counted and dropped")
    func strays() throws {
        var discovery = NATDiscovery(server: address("192.0.2.10:3478"), entropy: Entropy(seed: 1), now: .zero)
        let local = address("10.0.0.2:40000")
        discovery.socketOpened(0, at: local, now: .zero)
        discovery.socketOpened(7, at: local, now: .zero)
        discovery.socketFailed(-1, now: .zero)
        var entropy = Entropy(seed: 2)
        var sent: [Datagram] = []
        func drain() {
            while true {
                switch discovery.nextOutput() {
                case .transmit(let datagram): sent.append(datagram)
                case .event: break
                case .wait: return
                }
            }
        }
        drain()
        let request = try decode(try #require(sent.first).payload)
        var answer = STUNMessage(.success, transactionID: request.transactionID)
        answer.append(xorAddress: local)
        var strays = [[], [0], entropy.bytes(20), entropy.bytes(300), try #require(sent.first).payload]
        strays.append(STUNMessage(.success, transactionID: STUNTransactionID(using: &entropy)).encoded())
        strays.append(STUNMessage(.success, .allocate, transactionID: request.transactionID).encoded())
        strays.append(STUNMessage(.error, transactionID: request.transactionID).encoded())
        for stray in strays {
            stray.withSpan { discovery.receive($0, from: address("192.0.2.10:3478"), to: local, now: .zero) }
        }
        // Right, but from elsewhere, and to a socket that is none.
        answer.encoded().withSpan {
            discovery.receive($0, from: address("192.0.2.11:3478"), to: local, now: .zero)
            discovery.receive($0, from: address("192.0.2.10:3478"), to: address("10.0.0.2:1"), now: .zero)
        }
        drain()
        #expect(sent.count == 1)
    }
}

/// Counts, from any closure.
private final class Counter {
    private var value = 0
    func next() -> Int {
        value += 1
        return value
    }
}
