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
            ("double-nat", "port-restricted", true), ("firewall", "port-restricted", true), ("leaky", "leaky", false),
            ("port-restricted", "symmetric-sequential", false),
        ])
    func outcomes(offerer: String, answerer: String, connects: Bool) throws {
        try judge(offerer, answerer, connects: connects, knows: false)
    }

    @Test(
        "those that cannot for want of knowledge can where each side knows what the NATs do",
        arguments: [
            ("leaky", "leaky", true), ("leaky", "firewall", true), ("port-restricted", "symmetric-sequential", true),
            ("leaky", "symmetric-sequential", true), ("firewall", "symmetric-preserving", true),
            ("port-restricted", "symmetric-preserving", true), ("port-restricted", "symmetric-random", false),
            ("symmetric-sequential", "symmetric-sequential", false),
        ])
    func helped(offerer: String, answerer: String, connects: Bool) throws {
        try judge(offerer, answerer, connects: connects, knows: true)
    }

    private func judge(_ offerer: String, _ answerer: String, connects: Bool, knows: Bool) throws {
        let (a, b) = try (#require(NATProfile.standard(named: offerer)), #require(NATProfile.standard(named: answerer)))
        for (first, second) in [(a, b), (b, a)] {
            var configuration = Encounter.Configuration()
            configuration.knowsNATs = knows
            let result = Encounter(first, second, configuration: configuration).run()
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
        #expect(matrix.csv(with: "turn", "no", hasNames: false).hasPrefix("no,open,open,direct"))
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
