// SPDX-License-Identifier: Apache-2.0

/// Numbers as sorted ranges that neither touch nor overlap. Few ranges are expected: a search is binary, an insertion
/// moves what follows.
struct RangeSet {
    /// The ranges, lowest first, none empty.
    private(set) var ranges: [Range<UInt64>] = []

    var isEmpty: Bool { ranges.isEmpty }
    var count: Int { ranges.count }

    /// The index of the first range that ends at `value` or later.
    private func firstIndex(endingAtOrAfter value: UInt64) -> Int {
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < value { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Adds a range, joining what it touches.
    mutating func insert(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        // Nearly always it is the next one.
        if let last = ranges.last {
            if last.upperBound == range.lowerBound {
                ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
                return
            }
            if last.upperBound < range.lowerBound {
                ranges.append(range)
                return
            }
        }
        let first = firstIndex(endingAtOrAfter: range.lowerBound)
        var joined = range
        var end = first
        while end < ranges.count, ranges[end].lowerBound <= range.upperBound {
            joined = min(joined.lowerBound, ranges[end].lowerBound)..<max(joined.upperBound, ranges[end].upperBound)
            end += 1
        }
        ranges.replaceSubrange(first..<end, with: CollectionOfOne(joined))
    }

    /// Takes a range out.
    mutating func remove(_ range: Range<UInt64>) {
        guard !range.isEmpty else { return }
        var index = firstIndex(endingAtOrAfter: range.lowerBound &+ 1)
        while index < ranges.count, ranges[index].lowerBound < range.upperBound {
            let found = ranges[index]
            let before = found.lowerBound..<max(found.lowerBound, range.lowerBound)
            let after = min(found.upperBound, range.upperBound)..<found.upperBound
            switch (before.isEmpty, after.isEmpty) {
            case (true, true): ranges.remove(at: index)
            case (false, true):
                ranges[index] = before
                index += 1
            case (true, false):
                ranges[index] = after
                return
            case (false, false):
                ranges[index] = before
                ranges.insert(after, at: index + 1)
                return
            }
        }
    }

    /// Whether all of a range is there.
    func contains(_ range: Range<UInt64>) -> Bool {
        let index = firstIndex(endingAtOrAfter: range.upperBound)
        return index < ranges.count && ranges[index].lowerBound <= range.lowerBound
    }

    /// The ranges that have something in common with one.
    func overlapping(_ range: Range<UInt64>) -> ArraySlice<Range<UInt64>> {
        ranges[firstIndex(endingAtOrAfter: range.lowerBound &+ 1)...].prefix { $0.lowerBound < range.upperBound }
    }

    /// Takes out the lowest range.
    mutating func removeFirst() -> Range<UInt64> {
        ranges.removeFirst()
    }

    /// Shortens the lowest range by its first `count` numbers and answers them.
    mutating func takeFirst(_ count: UInt64) -> Range<UInt64>? {
        guard let first = ranges.first else { return nil }
        let end = min(first.upperBound, first.lowerBound &+ count)
        if end == first.upperBound { ranges.removeFirst() } else { ranges[0] = end..<first.upperBound }
        return first.lowerBound..<end
    }
}
