// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization
import Testing
import Wire

@testable import NetIO

/// What happened, in order.
final class Journal<Entry: Sendable>: Sendable {
    private let state = Mutex<[Entry]>([])

    func add(_ entry: Entry) { state.withLock { $0.append(entry) } }
    var entries: [Entry] { state.withLock { $0 } }
}

/// Waits until the loop has done all that was handed to it before.
func drained(_ loop: EventLoop) async {
    await withCheckedContinuation { done in _ = loop.execute { done.resume() } }
}

@Suite("the event loop", .timeLimit(.minutes(5)))
struct EventLoopTests {
    @Test("work from many threads is done on the loop's thread, each thread's in its order")
    func executeFromMany() async throws {
        try await withLoop { loop in
            let journal = Journal<(thread: Int, step: Int)>()
            await withTaskGroup(of: Void.self) { group in
                for thread in 0..<8 {
                    group.addTask {
                        for step in 0..<500 {
                            loop.execute {
                                journal.add((thread, step))
                                if !loop.isCurrent { journal.add((-1, 0)) }
                            }
                        }
                    }
                }
            }
            await drained(loop)
            let entries = journal.entries
            #expect(!loop.isCurrent)
            #expect(entries.count == 8 * 500)
            for thread in 0..<8 {
                #expect(entries.filter { $0.thread == thread }.map(\.step) == Array(0..<500))
            }
        }
    }

    @Test("work that hands over work is not entered again before it returns")
    func notReentrant() async throws {
        try await withLoop { loop in
            let journal = Journal<String>()
            loop.execute {
                loop.execute { journal.add("inner") }
                journal.add("outer")
            }
            await drained(loop)
            await drained(loop)
            #expect(journal.entries == ["outer", "inner"])
        }
    }

    @Test("timers fire in the order of their deadlines, equal ones in the order of arming, cancelled ones never")
    func timers() async throws {
        try await withLoop { loop in
            let journal = Journal<Int>()
            let start = loop.now
            let journaled: @Sendable (Int) -> EventLoop.Work = { number in { journal.add(number) } }
            await withCheckedContinuation { done in
                loop.execute {
                    loop.schedule(at: start + .milliseconds(5), journaled(5))
                    loop.schedule(at: start + .milliseconds(1), journaled(1))
                    let cancelled = loop.schedule(at: start + .milliseconds(2), journaled(-1))
                    let moved = loop.schedule(at: start + .milliseconds(1), journaled(6))
                    loop.schedule(at: start + .milliseconds(3), journaled(3))
                    loop.schedule(at: start + .milliseconds(3), journaled(4))
                    loop.schedule(at: start + .milliseconds(2), journaled(2))
                    moved.arm(at: start + .milliseconds(6))
                    cancelled.cancel()
                    loop.schedule(at: start + .milliseconds(7)) { done.resume() }
                }
            }
            #expect(journal.entries == [1, 2, 3, 4, 5, 6])
            #expect(loop.now >= start + .milliseconds(7))
        }
    }

    @Test("a timer that an earlier one cancels does not fire, though both are due")
    func cancelledByEarlier() async throws {
        try await withLoop { loop in
            let journal = Journal<Int>()
            loop.execute {
                let past = loop.now
                let late = loop.makeTimer { journal.add(2) }
                loop.schedule(at: past) {
                    journal.add(1)
                    late.cancel()
                }
                late.arm(at: past)
            }
            await drained(loop)
            await drained(loop)
            #expect(journal.entries == [1])
        }
    }

    @Test("a timer that arms itself again for the past leaves room for other work")
    func greedyTimer() async throws {
        try await withLoop { loop in
            let rounds = Atomic<Int>(0)
            let slot = Mutex<LoopTimer?>(nil)
            let timer = loop.makeTimer {
                rounds.add(1, ordering: .relaxed)
                slot.withLock { $0 }?.arm(at: .zero)
            }
            slot.withLock { $0 = timer }
            timer.arm(at: .zero)
            for _ in 0..<5 { await drained(loop) }
            timer.cancel()
            slot.withLock { $0 = nil }
            #expect(rounds.load(ordering: .relaxed) > 0)
        }
    }

    @Test("a loop that sleeps for long wakes for an earlier timer of another thread, never before its time")
    func earlierTimer() async throws {
        try await withLoop { loop in
            loop.schedule(at: loop.now + .seconds(3600)) {}
            var latest: [Duration] = []
            for _ in 0..<20 {
                let deadline = loop.now + .microseconds(300)
                let fired = await withCheckedContinuation { done in
                    _ = loop.schedule(at: deadline) { done.resume(returning: loop.now) }
                }
                #expect(fired >= deadline)
                latest.append(fired - deadline)
            }
            // Finer than milliseconds: on a busy machine some are late, not all.
            #expect(latest.min().map { $0 < .microseconds(700) } == true, "lateness: \(latest)")
        }
    }

    @Test("a descriptor reports while it is ready, until its registration is cancelled")
    func registration() async throws {
        try await withLoop { loop in
            var pipes: [Int32] = [-1, -1]
            try #require(pipe(&pipes) == 0)
            defer { pipes.forEach { close($0) } }
            let (reader, writer) = (pipes[0], pipes[1])
            let journal = Journal<UInt8>()
            let slot = Mutex<Registration?>(nil)
            let registration = try loop.register(reader, .readable) { ready in
                var byte: UInt8 = 0
                guard ready.contains(.readable), read(reader, &byte, 1) == 1 else { return }
                journal.add(byte)
                if byte == 3 { slot.withLock { $0 }?.cancel() }
            }
            slot.withLock { $0 = registration }
            write(writer, [1, 2, 3, 4] as [UInt8], 4)
            while journal.entries.count < 3 { await drained(loop) }
            await drained(loop)
            await drained(loop)
            #expect(journal.entries == [1, 2, 3])
            registration.cancel()
        }
    }

    @Test("a descriptor is reported writable only while that is wanted")
    func writable() async throws {
        try await withLoop { loop in
            var pipes: [Int32] = [-1, -1]
            try #require(pipe(&pipes) == 0)
            defer { pipes.forEach { close($0) } }
            let count = Atomic<Int>(0)
            let registration = try loop.register(pipes[1], []) { ready in
                if ready.contains(.writable) { count.add(1, ordering: .relaxed) }
            }
            await drained(loop)
            #expect(count.load(ordering: .relaxed) == 0)
            registration.update(.writable)
            while count.load(ordering: .relaxed) == 0 { await drained(loop) }
            registration.update([])
            await drained(loop)
            let before = count.load(ordering: .relaxed)
            await drained(loop)
            await drained(loop)
            #expect(count.load(ordering: .relaxed) == before)
            registration.cancel()
        }
    }

    @Test("stop does what was handed over, then refuses, and lets go of what the loop held")
    func stopping() throws {
        final class Held: Sendable {}
        let loop = try EventLoop(name: "a name longer than fifteen")
        let journal = Journal<Int>()
        weak var weakHeld: Held?
        do {
            let held = Held()
            weakHeld = held
            loop.schedule(at: .distantFuture) { _ = held }
        }
        #expect(weakHeld != nil)
        for number in 0..<100 { loop.execute { journal.add(number) } }
        loop.execute { loop.execute { journal.add(100) } }
        loop.stop()
        loop.stop()
        #expect(journal.entries == Array(0...100))
        #expect(weakHeld == nil)
        #expect(!loop.execute { journal.add(-1) })
        loop.schedule(at: .zero) { journal.add(-1) }
        #expect(throws: NetIOError.self) { try loop.register(0, .readable) { _ in } }
        #expect(journal.entries.last == 100)
    }

    @Test("a loop can end itself")
    func stopFromWithin() async throws {
        let loop = try EventLoop(name: "test")
        await withCheckedContinuation { done in
            _ = loop.execute {
                loop.stop()
                done.resume()
            }
        }
        while loop.execute({}) { await Task.yield() }
    }
}

@Suite("the heap of timers")
struct TimerHeapTests {
    @Test("pops like a sorted list, whatever is armed, moved and removed", arguments: 1...8)
    func likeSorted(seed: UInt64) throws {
        let loop = try EventLoop(name: "test")
        defer { loop.stop() }
        var entropy = Entropy(seed: seed)
        var heap = TimerHeap()
        let timers = (0..<60).map { _ in loop.makeTimer {} }
        var model: [(deadline: Int64, order: Int, timer: Int)] = []
        for step in 0..<2000 {
            let index = Int.random(in: 0..<timers.count, using: &entropy)
            switch Int.random(in: 0..<4, using: &entropy) {
            case 0:
                heap.remove(timers[index])
                model.removeAll { $0.timer == index }
            case 1:
                let now = Int64.random(in: 0..<50, using: &entropy)
                let due = model.filter { $0.deadline <= now }
                let expected = due.min { ($0.deadline, $0.order) < ($1.deadline, $1.order) }
                let popped = heap.popDue(now: Timestamp(nanoseconds: now), through: heap.sequence)
                let index = popped.flatMap { timer in timers.firstIndex { $0 === timer } }
                #expect(index == expected?.timer, "seed \(seed)")
                model.removeAll { $0.timer == expected?.timer }
            default:
                let deadline = Int64.random(in: 0..<100, using: &entropy)
                heap.arm(timers[index], at: Timestamp(nanoseconds: deadline))
                model.removeAll { $0.timer == index }
                model.append((deadline, step, index))
            }
            #expect(heap.count == model.count)
            #expect(heap.earliest?.nanoseconds == model.map(\.deadline).min(), "seed \(seed)")
        }
        #expect(heap.removeAll().count == model.count)
    }
}
