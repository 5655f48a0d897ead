// SPDX-License-Identifier: Apache-2.0
import Wire

/// The armed timers of a loop as a binary heap, earliest first, those of one deadline in the order in which they were
/// armed. Every timer knows its place, so that arming again and cancelling cost a walk along one branch.
struct TimerHeap {
    private var timers: [LoopTimer] = []
    private var lastSequence: UInt64 = 0

    /// How many timers are armed.
    var count: Int { timers.count }
    /// The earliest deadline.
    var earliest: Timestamp? { timers.first?.deadline }
    /// Timers armed from now on have a higher number.
    var sequence: UInt64 { lastSequence }

    /// Arms a timer, or moves it.
    mutating func arm(_ timer: LoopTimer, at deadline: Timestamp) {
        lastSequence += 1
        timer.deadline = deadline
        timer.sequence = lastSequence
        if timer.place < 0 {
            timer.place = timers.count
            timers.append(timer)
        }
        settle(timer.place)
    }

    /// Takes a timer out; nothing happens where it is not armed.
    mutating func remove(_ timer: LoopTimer) {
        let place = timer.place
        guard place >= 0 else { return }
        timer.place = -1
        let last = timers.removeLast()
        guard last !== timer else { return }
        timers[place] = last
        last.place = place
        settle(place)
    }

    /// Takes out the first timer that is due at `now`, as far as it was armed no later than number `sequence`.
    mutating func popDue(now: Timestamp, through sequence: UInt64) -> LoopTimer? {
        guard let first = timers.first, first.deadline <= now, first.sequence <= sequence else { return nil }
        remove(first)
        return first
    }

    /// Takes all timers out.
    mutating func removeAll() -> [LoopTimer] {
        let all = timers
        timers = []
        for timer in all { timer.place = -1 }
        return all
    }

    private func comesBefore(_ lhs: Int, _ rhs: Int) -> Bool {
        let (a, b) = (timers[lhs], timers[rhs])
        return (a.deadline, a.sequence) < (b.deadline, b.sequence)
    }

    private mutating func settle(_ start: Int) {
        var place = start
        while place > 0, comesBefore(place, (place - 1) / 2) {
            exchange(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
        while true {
            var least = place
            let left = 2 * place + 1
            if left < timers.count, comesBefore(left, least) { least = left }
            if left + 1 < timers.count, comesBefore(left + 1, least) { least = left + 1 }
            guard least != place else { return }
            exchange(place, least)
            place = least
        }
    }

    private mutating func exchange(_ lhs: Int, _ rhs: Int) {
        timers.swapAt(lhs, rhs)
        timers[lhs].place = lhs
        timers[rhs].place = rhs
    }
}
