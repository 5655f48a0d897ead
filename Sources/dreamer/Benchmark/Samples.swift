// SPDX-License-Identifier: Apache-2.0
import Wire

/// Measurements of one thing.
struct Samples {
    private(set) var values: [Double] = []

    init(_ values: [Double] = []) {
        self.values = values
    }

    mutating func add(_ value: Double) { values.append(value) }

    /// The middle one, `nil` where there is none.
    var median: Double? { quantile(0.5) }

    /// The value below which a share of the measurements lies, interpolated; `nil` where there is none.
    func quantile(_ share: Double) -> Double? {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        let place = share * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
    }

    /// Pair by pair what `self` is in terms of `other`: measurements of the same round stand under the same load.
    func ratios(to other: Samples) -> Samples {
        Samples(zip(values, other.values).filter { $1 > 0 }.map { $0 / $1 })
    }

    /// The middle one with digits, `-` where there is none.
    func text(_ digits: Int) -> String { median.map { Units.fixed($0, digits) } ?? "-" }

    /// The middle one and all of them.
    var json: JSON {
        .object(["median": median.map(JSON.rounded) ?? .null, "values": .array(values.map(JSON.rounded))])
    }
}

extension JSON {
    /// A measured number with as many digits as mean anything.
    static func rounded(_ value: Double) -> JSON {
        let scale = value.magnitude >= 100 ? 1e3 : 1e6
        return .number((value * scale).rounded() / scale)
    }
}

/// Text in columns, the first to the left and the others to the right.
struct TextTable {
    private var rows: [[String]]

    init(_ heads: String...) { self.init(heads) }

    init(_ heads: [String]) {
        rows = [heads]
    }

    mutating func add(_ row: String...) { rows.append(row) }

    mutating func add(_ row: [String]) { rows.append(row) }

    /// The lines.
    var lines: [String] {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            row.enumerated().map { column, cell in
                let room = String(repeating: " ", count: widths[column] - cell.count)
                return column == 0 ? cell + room : room + cell
            }.joined(separator: "  ")
        }
    }
}
