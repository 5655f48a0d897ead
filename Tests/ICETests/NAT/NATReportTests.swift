// SPDX-License-Identifier: Apache-2.0
import ICE
import Testing
import Wire

/// What a report says to programs and to people.
struct NATReportTests {
    private func report(_ change: (inout ModelNAT.Profile) -> Void) throws -> NATReport {
        var profile = ModelNAT.Profile()
        change(&profile)
        return try #require(DiscoveryWorld(profile, seed: 5).run())
    }

    @Test("as JSON each fact stands by its name, and what is not known has a reason")
    func json() throws {
        let report = try report {
            $0.behavior = NATBehavior(
                mapping: .addressAndPortDependent, filtering: .addressDependent, allocation: .sequential)
        }
        let json = try JSON(parsing: report.json.serialized(indented: true))
        #expect(json["kind"] == "nat")
        #expect(json["mapping"] == "apd")
        #expect(json["filtering"] == "ad")
        #expect(json["behavior"] == "apd/ad/sequential")
        #expect(json["allocation"]?["kind"] == "sequential")
        #expect(json["allocation"]?["step"] == 1)
        #expect(json["preservesParity"] == false)
        #expect(json["pooling"] == "paired")
        #expect(json["filteredInbound"] == .null)
        #expect(json["unknown"]?["filteredInbound"] == "not-observable")
        #expect(json["unknown"]?["mappingLifetime"] == "not-wanted")
        #expect(json["server"] == "192.0.2.10:3478")
        #expect(json["otherAddress"] == "203.0.113.20:3479")
        #expect(json["exchanges"]?.array?.count == report.exchanges.count)
        #expect(json["exchanges"]?.array?.first?["outcome"] == "answered")
    }

    @Test("as text it says what the facts mean")
    func text() throws {
        let hard = try report {
            $0.behavior = NATBehavior(
                mapping: .addressAndPortDependent, filtering: .addressAndPortDependent, allocation: .random)
        }
        #expect(hard.description.contains("address- and port-dependent"))
        #expect(hard.meaning.contains { $0.contains("every destination another port") && $0.contains("relay") })
        #expect(hard.meaning.contains { $0.contains("cannot be predicted") })
        let leaky = try report {
            $0.behavior.filtering = .addressAndPortDependent
            $0.filteredInbound = .takesPort
        }
        #expect(leaky.description.contains("take the port"))
        #expect(leaky.meaning.contains { $0.contains("arrives too early") })
        let open = try report { $0.translates = false }
        #expect(open.meaning.contains { $0.contains("public address") })
        for line in hard.description.split(separator: "\n") where line.hasPrefix("  ") {
            #expect(line.dropFirst(24).first != " ", "\(line)")
        }
    }

    @Test("an exchange is told on one line")
    func exchange() throws {
        let report = try report { $0.behavior.filtering = .addressAndPortDependent }
        let test = try #require(report.exchanges.first { $0.purpose == .filtering })
        #expect(test.description.contains("change address and port") && test.description.contains("no answer"))
    }
}
