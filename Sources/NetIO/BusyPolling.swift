// SPDX-License-Identifier: Apache-2.0
import Wire

/// Decides when a loop asks for events for a moment before it sleeps: sleeping and being woken costs 5 to 60 µs, most
/// of it in virtual machines, which is several times what a small message needs there and back on a fast network.
///
/// It pays where small messages answer each other within microseconds, and only there. So the loop asks only after
/// turns that moved little, bulk data never being that, and lets it be for a while when nothing came a few times.
struct BusyPolling {
    /// How long it asks.
    static let limit = Duration.microseconds(50)
    /// The most bytes a turn, on average, that count as little: less than one full packet.
    static let littleTraffic = 512
    /// After so many times in a row without an event …
    static let patience = 8
    /// … it sleeps at once so many turns, twice as many each time up to 16 times that.
    static let pause = 32

    /// Bytes a turn, the last eight turns counting most, in eighths.
    private var recent = 0
    private var misses = 0
    private var pauses = 0
    private var turnsLeft = 0

    /// Whether to ask before the next sleep, when a turn has moved so many bytes.
    mutating func isWorthwhile(afterBytes bytes: Int) -> Bool {
        recent += min(bytes, 1 << 20) - recent / 8
        guard bytes > 0, recent / 8 <= Self.littleTraffic else { return false }
        guard turnsLeft == 0 else {
            turnsLeft -= 1
            return false
        }
        return true
    }

    /// Notes whether something came while it asked.
    mutating func note(isHit: Bool) {
        if isHit {
            misses = 0
            pauses = 0
            return
        }
        misses += 1
        guard misses == Self.patience else { return }
        misses = 0
        turnsLeft = Self.pause << pauses
        pauses = min(pauses + 1, 4)
    }
}
