// SPDX-License-Identifier: Apache-2.0
import NATLab
import Testing
import Wire

@Suite("Encounters on virtual time")
struct EncounterTests {
    @Test("the same seed gives the same packets, and another seed others")
    func determinism() {
        var configuration = Encounter.Configuration()
        configuration.link = AccessLink(LinkConditions(delay: .milliseconds(10), loss: .random(0.1)))
        let first = Encounter(.portRestricted, .portRestricted, configuration: configuration).observe()
        let second = Encounter(.portRestricted, .portRestricted, configuration: configuration).observe()
        #expect(first.observations == second.observations)
        #expect(!first.observations.isEmpty)
        configuration.seed = 2
        let third = Encounter(.portRestricted, .portRestricted, configuration: configuration).observe()
        #expect(first.observations != third.observations)
    }

    /// What hole punching can do: where each side's filter lets in what the other's mapping sends from.
    @Test(
        "pairs that can meet directly do, and those that cannot say why",
        arguments: [
            ("open", "udp-blocked", false), ("open", "open", true), ("full-cone", "symmetric-random", true),
            ("address-restricted", "symmetric-random", true), ("port-restricted", "port-restricted", true),
            ("port-restricted", "symmetric-random", false), ("symmetric-random", "symmetric-random", false),
            ("double-nat", "port-restricted", true), ("firewall", "port-restricted", true),
        ])
    func outcomes(offerer: String, answerer: String, connects: Bool) throws {
        let (a, b) = try (#require(NATProfile.standard(named: offerer)), #require(NATProfile.standard(named: answerer)))
        for (first, second) in [(a, b), (b, a)] {
            let result = Encounter(first, second).run()
            #expect(result.outcome == (connects ? .direct : .failed), "\(first.name) → \(second.name)")
            #expect((result.timeToConnect != nil) == connects)
            if !connects { #expect(!result.causes.isEmpty) }
        }
    }

    @Test("a matrix has every pair, and every form of it names every profile")
    func forms() throws {
        let profiles: [NATProfile] = [.open, .portRestricted, .symmetricRandom]
        let matrix = NATMatrix.simulate(profiles, title: "three <profiles>")
        #expect(matrix.results.count == 9)
        #expect(matrix.count(.direct) == 6 && matrix.count(.failed) == 3)
        let page = NATMatrix.page([matrix])
        for profile in profiles {
            #expect(matrix.table.contains(profile.name) && matrix.csv.contains(profile.name))
            #expect(page.contains(profile.name))
        }
        #expect(page.contains("three &lt;profiles&gt;"))
        #expect(matrix.csv.split(separator: "\r\n").count == 10)
        #expect(matrix.failures.count == 3)
        #expect(matrix.json["cells"]?.array?.count == 9)
    }
}
