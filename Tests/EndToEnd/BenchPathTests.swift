// SPDX-License-Identifier: Apache-2.0
import Foundation
import NATLab
import Testing
import Wire

/// Why no path can be emulated here, said once.
private let obstacle: String? = {
    let obstacle = KernelPath.obstacle
    if let obstacle { print("skipped: \(obstacle)") }
    return obstacle
}()

@Suite("Benchmark of paths", .serialized, .enabled(if: obstacle == nil, "no namespaces or TUN devices here"))
struct BenchPathTests {
    /// The processes that a program started.
    private func children(of pid: Int32) -> [Int32] {
        let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task")) ?? []
        return tasks.flatMap { task in
            let list = try? String(contentsOfFile: "/proc/\(pid)/task/\(task)/children", encoding: .utf8)
            return (list ?? "").split(separator: " ").compactMap { Int32($0) }
        }
    }

    @Test("a transfer over a slow and long link is bound by it, and its figures are told")
    func measures() async throws {
        let outcome = try await Scene.run([
            "bench", "path", "--rtt", "20ms", "--rate", "40mbit", "--seconds", "3", "--control", "--json",
        ])
        try #require(outcome.status == 0, "\(outcome.errors)")
        let report = try JSON(parsing: outcome.output)
        let result = try #require(report["results"]?.array?.first)
        #expect(result["path"]?["roundTripMilliseconds"]?.number == 20)
        #expect(result["flow"]?.string == "dreamer")
        let rate = try #require(result["megabytesPerSecond"]?.number)
        // The link carries 5 MB/s, headers included; the start takes its part of three seconds.
        #expect(rate > 1.5 && rate < 5, "\(outcome.output)")
        #expect(result["lost"]?.number == 0)
        let queue = try #require(result["queueP95Milliseconds"]?.number)
        // The queue holds what the link sends in a round trip.
        #expect(queue >= 0 && queue <= 21)
        let control = try #require(result["control"])
        #expect(control["messages"]?.integer ?? 0 > 20)
        #expect(control["missing"]?.integer == 0)
        #expect(control["oneWayP50Milliseconds"]?.number ?? 0 >= 10)
        #expect(control["roundTripP50Milliseconds"]?.number ?? 0 >= 20)
    }

    @Test("TCP over the same path, and what is lost on it")
    func tcp() async throws {
        let outcome = try await Scene.run([
            "bench", "path", "--rtt", "20ms", "--loss", "1%", "--rate", "40mbit", "--seconds", "2", "--tcp", "reno",
            "--json",
        ])
        try #require(outcome.status == 0, "\(outcome.errors)")
        let result = try #require(try JSON(parsing: outcome.output)["results"]?.array?.first)
        #expect(result["flow"]?.string == "tcp reno")
        #expect(result["megabytesPerSecond"]?.number ?? 0 > 0.1)
        #expect(result["lost"]?.number ?? 0 > 0)
    }

    @Test("a congestion control that the kernel lacks is named")
    func unknownControl() async throws {
        let outcome = try await Scene.run(["bench", "path", "--rtt", "20ms", "--seconds", "1", "--tcp", "nonsense"])
        #expect(outcome.status == 1)
        #expect(outcome.errors.contains("nonsense"), "\(outcome.errors)")
    }

    @Test("a benchmark that is killed leaves no process behind")
    func killed() async throws {
        let process = try LineProcess(
            Programs.dreamer, ["bench", "path", "--rtt", "20ms", "--seconds", "60", "--json"])
        var ends: [Int32] = []
        for _ in 0..<500 where ends.count < 2 {
            ends = children(of: process.pid)
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(ends.count == 2)
        process.kill()
        try await process.exit()
        var left = ends
        for _ in 0..<500 where !left.isEmpty {
            left = left.filter { kill($0, 0) == 0 }
            try await Task.sleep(for: .milliseconds(20))
        }
        #expect(left.isEmpty)
    }
}
