// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// What is to happen and when, the earliest first; what is to happen at the same time in the order in which it was
/// asked for.
struct EventQueue<Event: Sendable>: Sendable {
    /// Something that is to happen.
    struct Entry: Sendable {
        let time: Timestamp
        fileprivate let sequence: UInt64
        let event: Event

        fileprivate func isBefore(_ other: Entry) -> Bool {
            time == other.time ? sequence < other.sequence : time < other.time
        }
    }

    /// A binary heap.
    private var entries: [Entry] = []
    private var sequence: UInt64 = 0

    /// When something happens next.
    var nextTime: Timestamp? { entries.first?.time }

    mutating func add(_ event: Event, at time: Timestamp) {
        sequence += 1
        entries.append(Entry(time: time, sequence: sequence, event: event))
        var place = entries.count - 1
        while place > 0, entries[place].isBefore(entries[(place - 1) / 2]) {
            entries.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// Takes out what happens next, where that is by `limit`.
    mutating func next(by limit: Timestamp) -> Entry? {
        guard let first = entries.first, first.time <= limit else { return nil }
        let last = entries.removeLast()
        guard !entries.isEmpty else { return first }
        entries[0] = last
        var place = 0
        while true {
            var least = place
            for child in 2 * place + 1..<min(2 * place + 3, max(entries.count, 2 * place + 1))
            where entries[child].isBefore(entries[least]) {
                least = child
            }
            guard least != place else { return first }
            entries.swapAt(place, least)
            place = least
        }
    }
}
