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

    @Test("deadlines come in order")
    func deadlines() {
        var entropy = Entropy(seed: 4)
        var deadlines = RelayDeadlines()
        for slot in 0..<500 {
            let time = Timestamp(nanoseconds: Int64.random(in: 0..<1000, using: &entropy))
            deadlines.insert(.init(deadline: time, slot: slot, generation: 0))
        }
        var last = Timestamp.zero
        var count = 0
        while let entry = deadlines.popDue(Timestamp(nanoseconds: 2000)) {
            #expect(entry.deadline >= last)
            last = entry.deadline
            count += 1
        }
        #expect(count == 500 && deadlines.earliest == nil)
    }
}
