// SPDX-License-Identifier: Apache-2.0
import ICE
import NATLab
import Testing
import Wire

@Suite("Encounters with a relay, and with hard NATs")
struct RelayedEncounterTests {
    private static func configuration(
        relays: [TURNServer.Transport] = [.udp, .tcp], birthday: Bool = false, seed: UInt64 = 1
    ) -> Encounter.Configuration {
        var configuration = Encounter.Configuration()
        configuration.seed = seed
        configuration.relays = relays
        if birthday { configuration.agent.birthdayBudget = .init() }
        return configuration
    }

    @Test("every kind of NAT meets every other, and a relay carries data only where nothing else does")
    func matrix() {
        let profiles: [NATProfile] = [
            .open, .portRestricted, .leaky, .symmetricSequential, .symmetricRandom, .udpBlocked,
        ]
        let matrix = NATMatrix.simulate(profiles, title: "with a relay", configuration: Self.configuration())
        #expect(matrix.count(.failed) == 0)
        let relayed = Set(
            matrix.results.filter { $0.result.outcome == .relayed }.map { "\($0.offerer)/\($0.answerer)" })
        let hard = ["symmetric-sequential", "symmetric-random"]
        var expected: Set<String> = []
        for profile in profiles.map(\.name) {
            expected.insert("udp-blocked/\(profile)")
            expected.insert("\(profile)/udp-blocked")
        }
        for first in hard { for second in hard { expected.insert("\(first)/\(second)") } }
        for easy in ["port-restricted", "leaky"] {
            expected.insert("symmetric-random/\(easy)")
            expected.insert("\(easy)/symmetric-random")
        }
        #expect(relayed == expected)
        // 40 ms is a round trip between the hosts, 30 ms one between a host and the server.
        for (offerer, answerer, result) in matrix.results {
            let time = result.timeToConnect ?? .seconds(1000)
            #expect(time < .seconds(1), "\(offerer) → \(answerer): \(time)")
            #expect(result.gathering.allSatisfy { $0 < .milliseconds(400) }, "\(offerer) → \(answerer)")
        }
    }

    @Test("one seed gives the same packets twice, those of the relay among them, and another seed others")
    func determinism() {
        let profiles: [NATProfile] = [.portRestricted, .symmetricRandom, .udpBlocked]
        func digest(_ seed: UInt64) -> UInt64 {
            var configuration = Self.configuration(birthday: true, seed: seed)
            configuration.link = AccessLink(LinkConditions(delay: .milliseconds(10), loss: .random(0.1)))
            return NATMatrix.simulate(profiles, title: "", configuration: configuration).digest
        }
        let first = digest(1)
        #expect(digest(1) == first)
        #expect(digest(2) != first)
        let observed = (0..<2).map { _ in
            Encounter(.symmetricRandom, .symmetricRandom, configuration: Self.configuration()).observe().observations
        }
        #expect(observed[0] == observed[1] && !observed[0].isEmpty)
    }

    @Test(
        "a NAT with unknown ports and one that filters by port are passed by probing, within 2,048 packets of both sides",
        arguments: [true, false])
    func birthday(hardOffers: Bool) {
        let pair: (NATProfile, NATProfile) =
            hardOffers ? (.symmetricRandom, .portRestricted) : (.portRestricted, .symmetricRandom)
        var packets: [Int] = []
        for seed in 1...8 as ClosedRange<UInt64> {
            let configuration = Self.configuration(relays: [], birthday: true, seed: seed)
            let result = Encounter(pair.0, pair.1, configuration: configuration).run()
            #expect(result.outcome == .direct, "seed \(seed): \(result.packets) packets")
            #expect(result.packets <= 2048 && result.probes > 0)
            packets.append(result.packets)
        }
        print("packets of both sides for seeds 1 to 8: \(packets)")
    }

    @Test("a direct way that probing finds takes the place of the relayed one")
    func switching() {
        let result = Encounter(
            .symmetricRandom, .portRestricted, configuration: Self.configuration(birthday: true)
        ).run()
        #expect(result.outcome == .direct)
        #expect(result.timeToConnect.map { $0 < .milliseconds(300) } == true)
    }

    @Test("where only TCP gets out a relay is found over it")
    func tcpAlone() {
        let result = Encounter(.udpBlocked, .udpBlocked, configuration: Self.configuration(relays: [.tcp])).run()
        #expect(result.outcome == .relayed)
        #expect(result.gathering.allSatisfy { $0 < .milliseconds(300) })
        let without = Encounter(.udpBlocked, .udpBlocked, configuration: Self.configuration(relays: [.udp])).run()
        #expect(without.outcome == .failed && !without.causes.isEmpty)
    }

    @Test("what the agents decide is told in order, with who decided it")
    func trace() throws {
        var configuration = Self.configuration(birthday: true)
        configuration.agent.reportsDecisions = true
        let result = Encounter(.symmetricRandom, .portRestricted, configuration: configuration).run()
        #expect(Set(result.trace.map(\.agent)) == ["A", "B"])
        #expect(zip(result.trace, result.trace.dropFirst()).allSatisfy { $0.decision.time <= $1.decision.time })
        let lines = result.traceLines.split(separator: "\n")
        #expect(lines.count == result.trace.count)
        #expect(lines.contains { $0.contains("probes") })
        let first = try JSON(parsing: Array(lines[0].utf8))
        #expect(first["agent"]?.string == "A" && first["decision"] != nil)
    }
}
