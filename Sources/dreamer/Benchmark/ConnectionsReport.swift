// SPDX-License-Identifier: Apache-2.0
import Wire

/// What `dreamer bench connections` found, for people and for programs.
struct ConnectionsReport {
    /// Connections that were open at the end.
    let connections: Int
    /// Connections that figures are divided by.
    let count: Int
    let loops: Int
    let rate: Double

    private struct Row {
        let key: String
        let words: String
        let digits: Int
        /// Ours, then the other process's where there is one.
        let values: [Double]
    }

    private var rows: [Row] = []

    init(connections: Int, count: Int, loops: Int, rate: Double) {
        self.connections = connections
        self.count = count
        self.loops = loops
        self.rate = rate
    }

    mutating func add(_ key: String, _ words: String, _ digits: Int, _ values: [Double]) {
        rows.append(Row(key: key, words: words, digits: digits, values: values))
    }

    /// Memory a connection.
    mutating func addMemory(
        _ key: String, _ words: String, from before: ConnectionsBench.Usage, to after: ConnectionsBench.Usage
    ) {
        let grown = [after.ours.bytes - before.ours.bytes, after.peer.bytes - before.peer.bytes]
        add(key, words, 1, grown.map { Double($0) / Double(count) / 1000 })
    }

    /// Processor time in percent of one processor.
    mutating func addLoad(
        _ key: String, _ words: String, from before: ConnectionsBench.Usage, to after: ConnectionsBench.Usage
    ) {
        add(key, words, 2, after.cpuSeconds(since: before).map { $0 / (after.time - before.time) * 100 })
    }

    var lines: [String] {
        var table = TextTable("", "one socket", "a socket each")
        for row in rows { table.add([row.words] + row.values.map { Units.fixed($0, row.digits) }) }
        return ["\(connections) open connections, \(loops) loop\(loops == 1 ? "" : "s")"] + table.lines
    }

    func json(_ machine: Machine) -> JSON {
        var object: JSON.Object = [
            "benchmark": "connections", "machine": machine.json, "connections": .integer(Int64(connections)),
            "loops": .integer(Int64(loops)), "rate": .number(rate),
        ]
        for row in rows {
            object[row.key] = row.values.count > 1 ? .array(row.values.map(JSON.rounded)) : .rounded(row.values[0])
        }
        return .object(object)
    }
}
