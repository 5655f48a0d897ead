// SPDX-License-Identifier: Apache-2.0

/// The largest delivery rate of the last round trips, in bytes a second.
struct BandwidthFilter {
    /// Over how many round trips.
    private static let window: UInt64 = 10

    /// Candidates, falling, each newer than the one before it.
    private var best: [(round: UInt64, rate: Double)] = []

    /// The largest rate in the window, 0 before the first sample.
    var value: Double { best.first?.rate ?? 0 }

    /// Takes a sample.
    mutating func update(_ rate: Double, round: UInt64) {
        while let last = best.last, last.rate <= rate { best.removeLast() }
        if best.last?.round != round || best.isEmpty { best.append((round, rate)) }
        while best.count > 1, best[0].round + Self.window < round { best.removeFirst() }
    }
}
