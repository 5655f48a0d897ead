// SPDX-License-Identifier: Apache-2.0

/// Places in the order of their ranks, those of one rank from left to right.
///
/// Ranks are few beside the places of a long text: there is a list for each, which is put in order when its turn comes,
/// and most are in order by then. What comes for a rank whose turn has come or passed waits in a heap, so that no
/// vocabulary makes this take more than n · log n.
struct RankQueue {
    /// The last place that came for each rank, and from each place the one before; -1 where none is.
    private var heads: [Int32] = []
    private var links: [(place: Int32, next: Int32)] = []
    /// Links that can be used again.
    private var free: Int32 = -1
    /// The ranks that have places.
    private var ranks = Heap()
    /// The rank whose turn it is, and its places.
    private var rank: UInt32?
    private var places: [Int32] = []
    private var taken = 0
    /// Rank and place of those that came late.
    private var late = Heap()

    /// Makes room for ranks below `count`.
    mutating func prepare(ranks count: Int) {
        // It is empty after each use: what is there stays as it is.
        while heads.count < count { heads.append(-1) }
        rank = nil
    }

    /// Adds a place.
    mutating func insert(_ place: Int32, rank: UInt32) {
        if let current = self.rank, rank <= current {
            late.push(UInt64(rank) << 32 | UInt64(UInt32(bitPattern: place)))
            return
        }
        let head = heads[Int(rank)]
        if head < 0 { ranks.push(UInt64(rank)) }
        if free >= 0 {
            heads[Int(rank)] = free
            let next = links[Int(free)].next
            links[Int(free)] = (place, head)
            free = next
        } else {
            heads[Int(rank)] = Int32(links.count)
            links.append((place, head))
        }
    }

    /// Takes the first place.
    mutating func next() -> (rank: UInt32, place: Int32)? {
        while true {
            let first = late.first
            if taken < places.count, let rank {
                let key = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: places[taken]))
                if first.map({ $0 > key }) ?? true {
                    taken += 1
                    return (rank, places[taken - 1])
                }
            }
            if let first {
                late.pop()
                return (UInt32(first >> 32), Int32(bitPattern: UInt32(truncatingIfNeeded: first)))
            }
            guard let next = ranks.first else {
                links.removeAll(keepingCapacity: true)
                free = -1
                return nil
            }
            ranks.pop()
            open(UInt32(next))
        }
    }

    /// Makes it a rank's turn.
    private mutating func open(_ rank: UInt32) {
        self.rank = rank
        places.removeAll(keepingCapacity: true)
        taken = 0
        var link = heads[Int(rank)]
        heads[Int(rank)] = -1
        var isOrdered = true
        while link >= 0 {
            let (place, next) = links[Int(link)]
            if let last = places.last, last < place { isOrdered = false }
            places.append(place)
            links[Int(link)].next = free
            free = link
            link = next
        }
        if isOrdered { places.reverse() } else { places.sort() }
    }

    /// The least number first.
    private struct Heap {
        private var keys: [UInt64] = []

        var first: UInt64? { keys.first }

        mutating func push(_ key: UInt64) {
            keys.append(key)
            var index = keys.count - 1
            while index > 0, key < keys[(index - 1) / 2] {
                keys[index] = keys[(index - 1) / 2]
                index = (index - 1) / 2
            }
            keys[index] = key
        }

        mutating func pop() {
            guard let moved = keys.popLast(), !keys.isEmpty else { return }
            var index = 0
            while 2 * index + 1 < keys.count {
                var child = 2 * index + 1
                if child + 1 < keys.count, keys[child + 1] < keys[child] { child += 1 }
                guard keys[child] < moved else { break }
                keys[index] = keys[child]
                index = child
            }
            keys[index] = moved
        }
    }
}
