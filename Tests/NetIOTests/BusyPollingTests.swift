// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import NetIO

@Suite struct BusyPollingTests {
    @Test("it goes on while something comes")
    func hits() {
        var polling = BusyPolling()
        for _ in 0..<10_000 {
            let isWorthwhile = polling.isWorthwhile(afterBytes: 300)
            #expect(isWorthwhile)
            polling.note(isHit: true)
        }
    }

    @Test("it gives up where nothing comes, for longer each time, and tries again")
    func misses() {
        var polling = BusyPolling()
        var asked = 0
        for _ in 0..<100_000 where polling.isWorthwhile(afterBytes: 300) {
            asked += 1
            polling.note(isHit: false)
        }
        #expect(asked > 200 && asked < 2000)
    }

    @Test("it leaves bulk data alone, acknowledgements between it as well, and idle turns")
    func bulk() {
        var polling = BusyPolling()
        for turn in 0..<1000 {
            let isWorthwhile = polling.isWorthwhile(afterBytes: turn % 2 == 0 ? 1200 : 100)
            if turn > 30 { #expect(!isWorthwhile) }
        }
        for _ in 0..<100 { _ = polling.isWorthwhile(afterBytes: 0) }
        let (idle, busy) = (polling.isWorthwhile(afterBytes: 0), polling.isWorthwhile(afterBytes: 100))
        #expect(!idle && busy)
    }
}
