// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import DTLS

@Suite struct ReplayWindowTests {
    @Test("each number passes once, in any order, as long as it lags by less than the width")
    func window() {
        var window = ReplayWindow()
        func take(_ sequence: UInt64) -> Bool {
            guard window.admits(sequence) else { return false }
            window.note(sequence)
            return true
        }
        #expect(take(5) && !take(5) && take(4) && take(0) && !take(0))
        #expect(take(127 + 4) && !take(4) && take(127) && !take(3))
        #expect(take(1 << 40) && !take(1 << 40) && take((1 << 40) - 127) && !take((1 << 40) - 128))
        #expect(take((1 << 48) - 1) && !take(131))
    }

    @Test("against a set that remembers everything", arguments: 1...20 as ClosedRange<UInt64>)
    func property(seed: UInt64) {
        var random = Entropy(seed: seed)
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var highest: UInt64 = 0
        for step in 0..<5000 as Range<UInt64> {
            let sequence = UInt64.random(in: (step < 200 ? 0 : step - 200)...step + 50, using: &random)
            let isNew = !seen.contains(sequence) && (sequence > highest || highest - sequence < ReplayWindow.width)
            #expect(window.admits(sequence) == isNew, "seed \(seed)")
            guard isNew else { continue }
            window.note(sequence)
            seen.insert(sequence)
            highest = max(highest, sequence)
        }
    }
}
