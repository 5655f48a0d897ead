// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// When allocations have to be looked at, earliest first: a binary heap with one entry for each slot at most, which is
/// moved when its allocation is refreshed and taken out when it ends. So it is never larger than what it is for.
struct RelayDeadlines: Sendable {
    private struct Entry: Sendable {
        var deadline: Timestamp
        let slot: Int
    }

    private var entries: [Entry] = []
    /// Where each slot's entry stands, -1 for none.
    private var places: [Int] = []

    var earliest: Timestamp? { entries.first?.deadline }
    var count: Int { entries.count }

    /// Has a slot looked at when the deadline comes, and no longer at the one before; `nil` for never.
    mutating func set(_ slot: Int, _ deadline: Timestamp?) {
        while places.count <= slot { places.append(-1) }
        let place = places[slot]
        switch deadline {
        case let deadline? where place >= 0:
            entries[place].deadline = deadline
            settle(place)
        case let deadline?:
            entries.append(Entry(deadline: deadline, slot: slot))
            places[slot] = entries.count - 1
            settle(entries.count - 1)
        case nil where place >= 0:
            swap(place, entries.count - 1)
            entries.removeLast()
            places[slot] = -1
            if place < entries.count { settle(place) }
        case nil:
            break
        }
    }

    /// Takes out the first entry that is due, and tells its slot.
    mutating func popDue(_ now: Timestamp) -> Int? {
        guard let first = entries.first, first.deadline <= now else { return nil }
        set(first.slot, nil)
        return first.slot
    }

    private mutating func swap(_ first: Int, _ second: Int) {
        entries.swapAt(first, second)
        places[entries[first].slot] = first
        places[entries[second].slot] = second
    }

    /// Moves an entry to where it belongs.
    private mutating func settle(_ start: Int) {
        var place = start
        while place > 0, entries[place].deadline < entries[(place - 1) / 2].deadline {
            swap(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < entries.count && entries[child].deadline < entries[least].deadline {
                least = child
            }
            guard least != place else { return }
            swap(place, least)
            place = least
        }
    }
}
