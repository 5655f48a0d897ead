// SPDX-License-Identifier: Apache-2.0
import Testing
import Wire

@testable import Recovery

@Suite("Ranges")
struct RangeSetTests {
    @Test("Insertions and removals agree with a set of numbers", arguments: UInt64(1)...20)
    func model(_ seed: UInt64) {
        var entropy = Entropy(seed: seed)
        var ranges = RangeSet()
        var model: Set<UInt64> = []
        for _ in 0..<400 {
            let low = entropy.next() % 60
            let range = low..<low + entropy.next() % 9
            switch entropy.next() % 5 {
            case 0, 1, 2:
                ranges.insert(range)
                model.formUnion(range)
            case 3:
                ranges.remove(range)
                model.subtract(range)
            default:
                guard let taken = ranges.takeFirst(entropy.next() % 4 + 1) else { continue }
                #expect(taken.lowerBound == model.min())
                #expect(model.isSuperset(of: taken))
                model.subtract(taken)
            }
            #expect(ranges.ranges.flatMap { Array($0) } == model.sorted(), "seed \(seed)")
            for (one, next) in zip(ranges.ranges, ranges.ranges.dropFirst()) {
                #expect(one.upperBound < next.lowerBound, "seed \(seed)")
            }
            if !range.isEmpty {
                #expect(ranges.contains(range) == model.isSuperset(of: range), "seed \(seed)")
                #expect(!ranges.overlapping(range).isEmpty == !model.isDisjoint(with: range), "seed \(seed)")
            }
        }
    }
}
