// SPDX-License-Identifier: Apache-2.0
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

    /// Each failure with its causes, a line each.
    public var failures: [String] {
        results.filter { $0.result.outcome == .failed }.map { offerer, answerer, result in
            let causes = result.causes.map(\.text).joined(separator: "; ")
            return "\(offerer) → \(answerer): \(causes.isEmpty ? "no packet was stopped" : causes)"
        }
    }

    /// One line a pair, with a line of names before them (RFC 4180).
    public var csv: String {
        func quoted(_ text: String) -> String {
            guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else { return text }
            return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
        }
        var lines = ["offerer,answerer,outcome,pair,milliseconds,packets,bytes,causes"]
        for (offerer, answerer, result) in results {
            let milliseconds = result.timeToConnect.map { String(Double($0.nanoseconds) / 1e6) } ?? ""
            let fields = [
                offerer, answerer, result.outcome.rawValue, result.pair, milliseconds, String(result.packets),
                String(result.bytes), result.causes.map(\.text).joined(separator: "; "),
            ]
            lines.append(fields.map(quoted).joined(separator: ","))
        }
        return lines.joined(separator: "\r\n") + "\r\n"
    }

    /// The same as JSON: `{"title", "profiles", "cells": [{"offerer", "answerer", "outcome", …}]}`.
    public var json: JSON {
        [
            "title": .string(title), "profiles": .array(profiles.map { .string($0) }),
            "cells": .array(
                results.map { offerer, answerer, result in
                    var cell: JSON.Object = [
                        "offerer": .string(offerer), "answerer": .string(answerer),
                        "outcome": .string(result.outcome.rawValue), "pair": .string(result.pair),
                        "packets": .integer(Int64(result.packets)), "bytes": .integer(Int64(result.bytes)),
                    ]
                    if let time = result.timeToConnect { cell["milliseconds"] = .number(Double(time.nanoseconds) / 1e6) }
                    if !result.gathering.isEmpty {
                        cell["gatheringMilliseconds"] = .array(
                            result.gathering.map { .number(Double($0.nanoseconds) / 1e6) })
                    }
                    cell["causes"] = .array(
                        result.causes.map { ["text": .string($0.text), "packets": .integer(Int64($0.packets))] })
                    return .object(cell)
                }),
        ]
    }
}
