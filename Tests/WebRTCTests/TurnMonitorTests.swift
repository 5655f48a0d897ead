// SPDX-License-Identifier: Apache-2.0
import Testing
import WebRTC

@Suite("the budget for relays")
struct TurnMonitorTests {
    @Test("a warning comes once, at four fifths of the budget")
    func warning() {
        var monitor = TurnMonitor<String>(budget: 1000)
        #expect(monitor.add(799, for: "a") == nil)
        #expect(monitor.add(1, for: "a") == 800)
        #expect(monitor.add(150, for: "a") == nil)
        #expect(monitor.allowance("a") == 50)
    }

    @Test("nobody's bytes count for another, and nobody gets a new budget by coming back")
    func peers() {
        var monitor = TurnMonitor<String>(budget: 1000)
        #expect(monitor.add(900, for: "a") == 900)
        #expect(monitor.add(10, for: "b") == nil)
        #expect(monitor.allowance("a") == 100 && monitor.allowance("b") == 990)
        _ = monitor.add(500, for: "a")
        #expect(monitor.allowance("a") == 0)
        #expect(monitor.relayedBytes("a") == 1400 && monitor.relayedBytes == 1410)
    }

    @Test("a sum beyond all numbers stays the largest")
    func overflow() {
        var monitor = TurnMonitor<String>()
        _ = monitor.add(.max, for: "a")
        #expect(monitor.add(.max, for: "a") == nil)
        #expect(monitor.relayedBytes("a") == .max && monitor.allowance("a") == 0)
        #expect(monitor.budget == 524_288_000)
    }
}
