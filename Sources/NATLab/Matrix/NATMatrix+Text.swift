// SPDX-License-Identifier: Apache-2.0
internal import ICE
public import Wire

extension NATMatrix {
    /// A table for terminals: rows offer, columns answer, with numbers instead of the columns' names.
    public var table: String {
        let names = profiles.enumerated().map { "\($0.offset + 1) \($0.element)" }
        let first = names.map(\.count).max() ?? 0
        var widths = [Int](repeating: 0, count: profiles.count)
        for column in profiles.indices {
            widths[column] = profiles.indices.reduce(String(column + 1).count) {
                max($0, self[$1, column]?.cell.count ?? 0)
            }
        }
        func line(_ head: String, _ cells: [String]) -> String {
            var text = head + String(repeating: " ", count: first - head.count)
            for (cell, width) in zip(cells, widths) {
                text += "  " + String(repeating: " ", count: width - cell.count) + cell
            }
            return text
        }
        var lines = ["\(title): milliseconds to connect, R through a relay, – not at all"]
        lines.append(line("", profiles.indices.map { String($0 + 1) }))
        for row in profiles.indices {
            lines.append(line(names[row], profiles.indices.map { self[row, $0]?.cell ?? "" }))
        }
        lines.append("\(count(.direct)) direct, \(count(.relayed)) relayed, \(count(.failed)) not connected")
        return lines.joined(separator: "\n")
    }

    /// Each pair that failed, or is not direct, with its causes, a line each.
    public var failures: [String] {
        results.filter { $0.result.outcome == .failed || !$0.result.causes.isEmpty }.map { offerer, answerer, result in
            let causes = result.causes.map(\.text).joined(separator: "; ")
            return "\(offerer) → \(answerer): \(causes.isEmpty ? "no packet was stopped" : causes)"
        }
    }

    /// One line a pair, with a line of names before them (RFC 4180).
    public var csv: String { csv(with: nil, "", hasNames: true) }

    /// The same with one more column in front that has the same value in each line, for several matrices in one file;
    /// with or without the line of names.
    public func csv(with column: String?, _ value: String, hasNames: Bool) -> String {
        func quoted(_ text: String) -> String {
            guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
            return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
        }
        let names = ["offerer", "answerer", "outcome", "pair", "milliseconds", "packets", "probes", "bytes", "causes"]
        var lines = hasNames ? [([column].compactMap { $0 } + names).joined(separator: ",")] : []
        for (offerer, answerer, result) in results {
            let milliseconds = result.timeToConnect.map { String(Double($0.nanoseconds) / 1e6) } ?? ""
            let fields = [
                offerer, answerer, result.outcome.rawValue, result.pair, milliseconds, String(result.packets),
                String(result.probes), String(result.bytes), result.causes.map(\.text).joined(separator: "; "),
            ]
            lines.append(((column == nil ? [] : [value]) + fields).map(quoted).joined(separator: ","))
        }
        return lines.joined(separator: "\r\n") + "\r\n"
    }

    /// The same as JSON: `{"title", "profiles", "cells": [{"offerer", "answerer", "outcome", …}]}`.
    public var json: JSON {
        [
            "title": .string(title), "digest": .string(String(digest, radix: 16)),
            "profiles": .array(profiles.map { .string($0) }),
            "cells": .array(
                results.map { offerer, answerer, result in
                    var cell: JSON.Object = ["offerer": .string(offerer), "answerer": .string(answerer)]
                    for (name, value) in result.json { cell[name] = value }
                    return .object(cell)
                }),
        ]
    }
}

extension EncounterResult {
    /// The result as members of a JSON object: `outcome`, `pair`, `packets`, `probes`, `bytes`, `milliseconds` to connect,
    /// `gatheringMilliseconds` of both, and `causes` of `{"text", "packets"}`.
    public var json: JSON.Object {
        var object: JSON.Object = [
            "outcome": .string(outcome.rawValue), "pair": .string(pair), "packets": .integer(Int64(packets)),
            "probes": .integer(Int64(probes)), "bytes": .integer(Int64(bytes)),
        ]
        if let time = timeToConnect { object["milliseconds"] = .number(Double(time.nanoseconds) / 1e6) }
        if !gathering.isEmpty {
            object["gatheringMilliseconds"] = .array(gathering.map { .number(Double($0.nanoseconds) / 1e6) })
        }
        object["causes"] = .array(causes.map { ["text": .string($0.text), "packets": .integer(Int64($0.packets))] })
        return object
    }

    /// What the agents decided, an object in a line each: `{"time": seconds, "agent": "A", "decision": "…"}`.
    public var traceLines: String {
        trace.map { entry in
            let line: JSON = [
                "time": .number(Double(entry.decision.time.nanoseconds) / 1e9), "agent": .string(entry.agent),
                "decision": .string("\(entry.decision.action)"),
            ]
            return line.serialized() + "\n"
        }.joined()
    }
}
