// SPDX-License-Identifier: Apache-2.0
import Foundation
import NATLab
import Testing
import Wire

/// `dreamer nat` as its users run it.
@Suite("the matrices of NATs", .serialized, .timeLimit(.minutes(5)))
struct NATCommandTests {
    /// Two profiles that meet, and how.
    private struct Cell: Hashable {
        let offerer: String
        let answerer: String
    }

    private struct Matrix {
        let digest: String
        let profiles: [String]
        let cells: [Cell: JSON]

        init(_ json: JSON) throws {
            digest = try #require(json["digest"]?.string)
            profiles = (json["profiles"]?.array ?? []).compactMap(\.string)
            cells = try (json["cells"]?.array ?? []).reduce(into: [:]) { cells, cell in
                let offerer = try #require(cell["offerer"]?.string)
                cells[Cell(offerer: offerer, answerer: try #require(cell["answerer"]?.string))] = cell
            }
        }

        func outcome(_ offerer: String, _ answerer: String) -> String? {
            cells[Cell(offerer: offerer, answerer: answerer)]?["outcome"]?.string
        }

        func count(_ outcome: String) -> Int { cells.values.count { $0["outcome"]?.string == outcome } }
    }

    private static func matrices(_ arguments: [String]) async throws -> [Matrix] {
        let process = try LineProcess(Programs.dreamer, ["nat"] + arguments + ["--json"])
        let line = try await process.line(within: .seconds(240))
        try await process.expectExit()
        return try #require(JSON(parsing: line).array).map { try Matrix($0) }
    }

    @Test("on virtual time every pair connects, the hard ones too, and one seed gives the same packets each time")
    func simulation() async throws {
        let clock = ContinuousClock()
        let began = clock.now
        let matrices = try await Self.matrices(["sim"])
        print("two matrices in \(began.duration(to: clock.now))")
        let (without, with) = try (#require(matrices.first), #require(matrices.last))
        #expect(matrices.count == 2 && with.profiles.count >= 12)
        #expect(with.cells.count == with.profiles.count * with.profiles.count && with.count("failed") == 0)
        for matrix in matrices {
            #expect(matrix.outcome("leaky", "leaky") == "direct")
            for hard in ["symmetric-sequential", "symmetric-random"] {
                #expect(matrix.outcome(hard, "port-restricted") == "direct")
                #expect(matrix.outcome("port-restricted", hard) == "direct")
            }
        }
        let random = "symmetric-random"
        #expect(without.outcome(random, random) == "failed" && with.outcome(random, random) == "relayed")
        let causes = without.cells[Cell(offerer: random, answerer: random)]?["causes"]?.array ?? []
        #expect(causes.contains { $0["text"]?.string?.contains("address-and-port-dependent filter") == true })
        let again = try await Self.matrices(["sim"])
        #expect(again.map(\.digest) == matrices.map(\.digest))
        let other = try await Self.matrices(["sim", "--seed", "2", "open", "port-restricted"])
        let first = try await Self.matrices(["sim", "--seed", "1", "open", "port-restricted"])
        #expect(other.map(\.digest) != first.map(\.digest))
    }

    @Test(
        "a NAT whose ports nobody can tell meets one that wants to know them, in 95 of 100 seeds at least",
        arguments: ["symmetric-random/port-restricted", "port-restricted/symmetric-random"])
    func birthday(cell: String) async throws {
        let process = try LineProcess(
            Programs.dreamer, ["nat", "sim", "--cell", cell, "--seeds", "100", "--turn", "without", "--json"])
        let summary = try await process.json(within: .seconds(100), where: ["seeds": 100])
        try await process.expectExit()
        print("\(cell): \(summary.serialized())")
        #expect(try #require(summary["directWithin2048Packets"]?.integer) >= 95)
    }

    @Test("a page of a matrix needs nothing from elsewhere, and a cell's packets are written for other programs")
    func page() async throws {
        let scratch = try Scratch()
        let (page, capture, trace) = (scratch("m.html"), scratch("m.pcapng"), scratch("m.jsonl"))
        let process = try LineProcess(
            Programs.dreamer,
            [
                "nat", "sim", "full-cone", "symmetric-random", "--cell", "full-cone/symmetric-random", "--html", page,
                "--pcap", capture, "--trace", trace,
            ])
        try await process.expectExit()
        let html = try String(contentsOfFile: page, encoding: .utf8)
        #expect(html.contains("<svg") && html.contains("symmetric-random"))
        #expect(!html.contains("src=") && !html.contains("href=") && !html.contains("url("))
        let bytes = try Data(contentsOf: URL(filePath: capture))
        #expect(bytes.starts(with: [0x0A, 0x0D, 0x0D, 0x0A]) && bytes.count > 1000)
        let lines = try String(contentsOfFile: trace, encoding: .utf8).split(separator: "\n")
        #expect(try !lines.isEmpty && lines.allSatisfy { try JSON(parsing: Array($0.utf8)).object != nil })
    }

    @Test("real processes in namespaces meet by the ways that virtual time tells")
    func laboratory() async throws {
        if let obstacle = KernelNetwork.obstacle {
            try Test.cancel("no networks of namespaces here: \(obstacle)")
        }
        let profiles = ["full-cone", "port-restricted", "symmetric-sequential", "symmetric-random", "udp-blocked"]
        let kernel = try #require(try await Self.matrices(["lab"] + profiles).first)
        let virtual = try #require(
            try await Self.matrices(["sim", "--turn", "with", "--no-birthday"] + profiles).first)
        #expect(kernel.cells.count == profiles.count * profiles.count)
        for (cell, json) in kernel.cells {
            let expected = virtual.cells[cell]?["outcome"]
            #expect(json["outcome"] == expected, "\(cell.offerer) and \(cell.answerer): \(json)")
        }
    }
}
