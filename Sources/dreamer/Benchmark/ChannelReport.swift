// SPDX-License-Identifier: Apache-2.0
import Wire

/// What `dreamer bench channel` found, for people and for programs.
struct ChannelReport {
    let results: [ChannelBench.Results]

    /// The time in which a channel should be open, in milliseconds.
    private static let openLimit = 5.0

    private static let rows: [(key: String, words: String, digits: Int)] = [
        ("megabytesPerSecond", "MB/s", 1), ("cpuSecondsPerGB", "CPU-s/GB", 2),
        ("senderCPUSecondsPerGB", "of which the sender", 2), ("receiverCPUSecondsPerGB", "and the receiver", 2),
        ("pingP50Microseconds", "round trip of 64 bytes, p50 µs", 1), ("pingP99Microseconds", "p99 µs", 1),
        ("setUpMilliseconds", "offer to open channel, fresh programs, ms", 1),
        ("senderPeakMegabytes", "peak memory of the sender, MB", 1),
        ("receiverPeakMegabytes", "and of the receiver, MB", 1),
    ]

    /// What is told in terms of a foreign program's own pair.
    private static let compared: [(key: String, words: String)] = [
        ("megabytesPerSecond", "MB/s"), ("cpuSecondsPerGB", "CPU-s/GB"), ("pingP50Microseconds", "round trip"),
    ]

    var lines: [String] {
        var table = TextTable([""] + results.map(\.pairing.name))
        for row in Self.rows { table.add([row.words] + results.map { $0.figures[row.key]?.text(row.digits) ?? "-" }) }
        if results.contains(where: { !$0.openings.values.isEmpty }) {
            let names = ["fresh connections", "of which open within 5 ms", "median ms", "slowest ms"]
            for (place, name) in names.enumerated() { table.add([name] + results.map { Self.openings($0)[place] }) }
        }
        var lines = table.lines
        for result in results {
            for name in result.pairing.yardsticks {
                let ratios = Self.compared.map { row in
                    "\(row.words) × \(ratio(row.key, of: result, to: name).text(2))"
                }
                lines.append("\(result.pairing.name) beside \(name) → \(name): " + ratios.joined(separator: ", "))
            }
        }
        return lines + results.compactMap { result in result.failure.map { "\(result.pairing.name): \($0)" } }
    }

    var json: JSON {
        .array(
            results.map { result in
                var object: JSON.Object = [
                    "sender": .string(result.pairing.sender.name), "receiver": .string(result.pairing.receiver.name),
                    "messageBytes": .integer(Int64(result.messageBytes)),
                ]
                for row in Self.rows { object[row.key] = result.figures[row.key]?.json ?? .null }
                if !result.openings.values.isEmpty {
                    object["openMilliseconds"] = result.openings.json
                    object["openWithin5Milliseconds"] = .integer(Int64(Self.quick(result)))
                }
                var besides: JSON.Object = [:]
                for name in result.pairing.yardsticks {
                    var ratios: JSON.Object = [:]
                    for row in Self.compared { ratios[row.key] = ratio(row.key, of: result, to: name).json }
                    besides[name] = .object(ratios)
                }
                if !result.pairing.yardsticks.isEmpty { object["besides"] = .object(besides) }
                if let failure = result.failure { object["failure"] = .string(failure) }
                return .object(object)
            })
    }

    /// Round by round, what a pairing's figure is in terms of a program's own pair.
    private func ratio(_ key: String, of result: ChannelBench.Results, to name: String) -> Samples {
        let own = results.first { $0.pairing.sender.name == name && $0.pairing.receiver.name == name }
        return (result.figures[key] ?? Samples()).ratios(to: own?.figures[key] ?? Samples())
    }

    private static func quick(_ result: ChannelBench.Results) -> Int {
        result.openings.values.count { $0 < openLimit }
    }

    private static func openings(_ result: ChannelBench.Results) -> [String] {
        let samples = result.openings
        guard !samples.values.isEmpty else { return ["-", "-", "-", "-"] }
        return [
            "\(samples.values.count)", "\(quick(result))", samples.text(2),
            Units.fixed(samples.values.max() ?? 0, 2),
        ]
    }
}
