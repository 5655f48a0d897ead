// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Every profile against every profile: the row has the offerer, the column the answerer.
public struct NATMatrix: Hashable, Sendable {
    /// What was measured, for example "simulation, seed 1, with TURN".
    public var title: String
    /// The profiles' names, in the order of rows and columns.
    public let profiles: [String]
    private var cells: [EncounterResult?]

    /// A matrix that nothing was measured for.
    public init(title: String, profiles: [String]) {
        self.title = title
        self.profiles = profiles
        cells = Array(repeating: nil, count: profiles.count * profiles.count)
    }

    /// What became of a pair, `nil` where it was not tried.
    public subscript(offerer: Int, answerer: Int) -> EncounterResult? {
        get { cells[offerer * profiles.count + answerer] }
        set { cells[offerer * profiles.count + answerer] = newValue }
    }

    /// How many pairs ended so.
    public func count(_ outcome: EncounterResult.Outcome) -> Int {
        cells.reduce(0) { $0 + ($1?.outcome == outcome ? 1 : 0) }
    }

    /// The pairs that were tried, row by row.
    public var results: [(offerer: String, answerer: String, result: EncounterResult)] {
        cells.enumerated().compactMap { index, result in
            result.map { (profiles[index / profiles.count], profiles[index % profiles.count], $0) }
        }
    }
}

extension EncounterResult {
    /// What stands in a cell: the time to connect in milliseconds, `R` before it where data was relayed, `–` for a
    /// failure.
    var cell: String {
        guard outcome != .failed, let timeToConnect else { return "–" }
        let milliseconds = (timeToConnect.nanoseconds + 500_000) / 1_000_000
        return outcome == .relayed ? "R \(milliseconds)" : "\(milliseconds)"
    }
}
