// SPDX-License-Identifier: Apache-2.0

/// Tasks that wait for something of a node. They go on by what they wait for; one that is cancelled goes on alone.
struct Waiters {
    typealias Continuation = CheckedContinuation<Void, any Error>

    /// What is waited for.
    enum Topic: Hashable {
        /// The manifest is known and the folder was looked through.
        case ready
        /// Everything wanted is here.
        case complete
        /// One entry is here.
        case shard(Int)
    }

    private var lastID: UInt64 = 0
    private var waiting: [UInt64: (topic: Topic, continuation: Continuation)] = [:]

    /// A name for one that will wait, so that it can be taken out again.
    mutating func makeID() -> UInt64 {
        lastID += 1
        return lastID
    }

    mutating func add(_ continuation: Continuation, _ id: UInt64, for topic: Topic) {
        waiting[id] = (topic, continuation)
    }

    /// Takes one out.
    mutating func take(_ id: UInt64) -> Continuation? { waiting.removeValue(forKey: id)?.continuation }

    /// Takes all out that wait for something.
    mutating func take(_ topic: Topic) -> [Continuation] {
        let found = waiting.filter { $0.value.topic == topic }
        for id in found.keys { waiting[id] = nil }
        return found.values.map(\.continuation)
    }

    /// Takes everybody out.
    mutating func takeAll() -> [Continuation] {
        defer { waiting = [:] }
        return waiting.values.map(\.continuation)
    }
}
