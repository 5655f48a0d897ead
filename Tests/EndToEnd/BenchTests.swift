// SPDX-License-Identifier: Apache-2.0
import Foundation
import TestSupport
import Testing
import Wire

/// The benchmarks measure; what they find is for people to judge.
@Suite("bench", .serialized)
struct BenchTests {
    private func bench(_ arguments: String...) async throws -> JSON {
        let outcome = try await Scene.run(["bench"] + arguments + ["--json"])
        #expect(outcome.status == 0, "\(outcome.errors)")
        return try JSON(parsing: outcome.output)
    }

    private static func median(_ figure: JSON?) -> Double { figure?["median"]?.number ?? 0 }

    @Test("a channel is measured between two of ours")
    func channel() async throws {
        let report = try await bench(
            "channel", "--size", "4MiB", "--pings", "20", "--rounds", "2", "--opens", "3", "--unordered")
        let pair = try #require(report["pairs"]?.array?.first)
        for figure in ["megabytesPerSecond", "cpuSecondsPerGB", "pingP50Microseconds", "setUpMilliseconds"] {
            #expect(pair[figure]?["values"]?.array?.count == 2)
            #expect(Self.median(pair[figure]) > 0, "\(figure)")
        }
        #expect(Self.median(pair["senderPeakMegabytes"]) > 1)
        #expect(pair["openMilliseconds"]?["values"]?.array?.count == 3)
    }

    @Test(
        "another program is measured in every pairing",
        .enabled(if: Programs.python(with: "aiortc") != nil, "the Python package aiortc is absent"))
    func peer() async throws {
        let python = try #require(Programs.python(with: "aiortc"))
        let script = Fixtures.checkout.appending(path: "Benchmarks/aiortc_peer.py").path
        let report = try await bench(
            "channel", "--size", "2MiB", "--pings", "20", "--rounds", "1", "--peer", "aiortc=\(python) \(script)")
        let pairs = report["pairs"]?.array ?? []
        #expect(
            pairs.map { "\($0["sender"]?.string ?? "") \($0["receiver"]?.string ?? "")" }
                == ["dreamer dreamer", "aiortc aiortc", "dreamer aiortc", "aiortc dreamer"])
        for pair in pairs {
            #expect(pair["failure"] == nil)
            #expect(Self.median(pair["megabytesPerSecond"]) > 0)
            guard pair["sender"] != "aiortc" || pair["receiver"] != "aiortc" else { continue }
            #expect(Self.median(pair["besides"]?["aiortc"]?["megabytesPerSecond"]) > 0)
        }
    }

    @Test("a program that speaks something else is named, and the others are measured all the same")
    func notAPeer() async throws {
        let outcome = try await Scene.run([
            "bench", "channel", "--size", "1MiB", "--pings", "1", "--rounds", "1", "--peer", "mute=/bin/true", "--json",
        ])
        #expect(outcome.status == 1)
        let pairs = try JSON(parsing: outcome.output)["pairs"]?.array ?? []
        #expect(pairs.count == 4)
        #expect(pairs.first?["failure"] == nil)
        #expect(pairs.dropFirst().allSatisfy { $0["failure"]?.string?.contains("/bin/true") ?? false })
    }

    @Test("no connection has a thread of its own, and an idle one takes less than 150 KB")
    func connections() async throws {
        let report = try await bench(
            "connections", "--count", "100", "--seconds", "0.5", "--rate", "4", "--exercise", "256KiB")
        #expect(report["connections"]?.integer == 101)
        #expect((report["threads"]?.array?.compactMap(\.number) ?? []).allSatisfy { $0 < 20 })
        let idle = report["idleKilobytes"]?.array?.compactMap(\.number) ?? []
        #expect(idle.count == 2 && idle.allSatisfy { $0 < 150 }, "\(idle)")
        #expect((report["messages"]?.number ?? 0) > 100)
    }

    @Test("a relay holds allocations of many users through a refresh, and none beyond a quota")
    func allocations() async throws {
        let report = try await bench("relay", "--allocations", "600", "--hold", "0.2")
        let ours = try #require(report["results"]?.array?.first)
        #expect(ours["server"]?.string == "dreamer")
        for figure in ["allocations", "refreshed", "echoed"] { #expect(ours[figure]?.integer == 600, "\(figure)") }
        // A new user gets a quota of 256 wherever it asks from; at an address with 250 another user gets the rest.
        #expect(ours["moreForAUser"]?.integer == 256 && ours["moreForAnAddress"]?.integer == 6)
        #expect(try #require(ours["bytesPerAllocation"]?.integer) < 20_000)
    }
}
