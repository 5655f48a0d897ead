// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// When allocations have to be looked at, earliest first: a binary heap. An entry is not moved when its allocation is refreshed; the
/// look then finds that it is too early and puts a later entry in.
struct RelayDeadlines: Sendable {
    struct Entry: Sendable {
        let deadline: Timestamp
        let slot: Int
        /// Which user of the slot it is for.
        let generation: UInt64
    }

    private var entries: [Entry] = []

    var earliest: Timestamp? { entries.first?.deadline }
    var count: Int { entries.count }

    mutating func insert(_ entry: Entry) {
        entries.append(entry)
        var place = entries.count - 1
        while place > 0, entries[place].deadline < entries[(place - 1) / 2].deadline {
            entries.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// Takes out the first entry that is due.
    mutating func popDue(_ now: Timestamp) -> Entry? {
        guard let first = entries.first, first.deadline <= now else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            sink()
        }
        return first
    }

    private mutating func sink() {
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < entries.count && entries[child].deadline < entries[least].deadline {
                least = child
            }
            guard least != place else { return }
            entries.swapAt(place, least)
            place = least
        }
    }
}
