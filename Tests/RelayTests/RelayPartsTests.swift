// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Relay

@Suite("The relay's small parts")
struct RelayPartsTests {
    @Test("Base64 is as RFC 4648 §10 has it")
    func base64() {
        let vectors = [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ]
        for (text, expected) in vectors {
            #expect(Base64Text.encode(Array(text.utf8)) == Array(expected.utf8))
        }
    }

    @Test("every port is drawn once, and again once it is given back")
    func ports() {
        var entropy = Entropy(seed: 3)
        var ports = RelayPorts(1000...1099)
        var drawn: Set<UInt16> = []
        while let port = ports.take(evenOnly: false, entropy: &entropy) { #expect(drawn.insert(port).inserted) }
        #expect(drawn == Set(1000...1099))
        ports.give(1000)
        ports.give(1000)
        ports.give(2000)
        #expect(ports.freeCount == 1)
        #expect(ports.takePair(entropy: &entropy) == nil)
        ports.give(1001)
        #expect(ports.takePair(entropy: &entropy) == 1000 && ports.freeCount == 0)
        ports.give(1003)
        #expect(ports.take(evenOnly: true, entropy: &entropy) == nil)
        ports.give(1098)
        #expect(ports.take(evenOnly: true, entropy: &entropy) == 1098)
        ports.give(1098)
        ports.give(1099)
        #expect(ports.takePair(entropy: &entropy) == 1098)
    }

    @Test("a bucket gives what its rate brings, and no more than it holds")
    func bucket() {
        var now = Timestamp.zero
        var bucket = TokenBucket(rate: 10, burst: 5, now: now)
        #expect((0..<6).map { _ in bucket.take(1, now: now) } == [true, true, true, true, true, false])
        now += .milliseconds(250)
        #expect(bucket.take(2, now: now) && !bucket.take(1, now: now))
        now += .seconds(100)
        #expect(bucket.take(5, now: now) && !bucket.take(1, now: now))
        bucket.give(100)
        #expect(bucket.take(5, now: now) && !bucket.take(1, now: now))
    }

    @Test("deadlines come in order, however often they are moved and taken back", arguments: [4, 5] as [UInt64])
    func deadlines(seed: UInt64) {
        var entropy = Entropy(seed: seed)
        var deadlines = RelayDeadlines()
        var expected: [Int: Timestamp] = [:]
        for _ in 0..<5000 {
            let slot = Int.random(in: 0..<200, using: &entropy)
            let time = Timestamp(nanoseconds: Int64.random(in: 0..<1000, using: &entropy))
            expected[slot] = slot % 3 == 0 && time.nanoseconds < 300 ? nil : time
            deadlines.set(slot, expected[slot])
            #expect(deadlines.count == expected.count && deadlines.earliest == expected.values.min(), "seed \(seed)")
        }
        var last = Timestamp.zero
        while let earliest = deadlines.earliest, let slot = deadlines.popDue(Timestamp(nanoseconds: 2000)) {
            #expect(earliest >= last && expected.removeValue(forKey: slot) == earliest, "seed \(seed)")
            last = earliest
        }
        #expect(expected.isEmpty && deadlines.count == 0 && deadlines.popDue(Timestamp(nanoseconds: 2000)) == nil)
    }

    @Test("allocations that are refreshed, or made and ended over and over, leave no deadlines behind")
    func deadlinesOfManyRefreshes() {
        let bench = RelayBench()
        let caller = RelayCaller(bench)
        for round in 0..<300 {
            #expect(caller.allocate() != nil)
            for step in 0..<10 {
                caller.ask(.refresh) { $0.append(.lifetime, UInt32(3600 - 7 * (10 * round + step) % 3000)) }
            }
            #expect(bench.core.deadlines.count == 1)
            caller.ask(.refresh) { $0.append(.lifetime, UInt32(0)) }
            #expect(bench.core.deadlines.count == 0 && bench.core.nextDeadline == nil)
        }
    }
}
