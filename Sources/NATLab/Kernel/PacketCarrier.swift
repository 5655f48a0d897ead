// SPDX-License-Identifier: Apache-2.0
import CNATLab
import Glibc
import NetIO
import Synchronization
import Wire

/// The thread that carries packets between two TUN devices through emulated links.
///
/// It never spins. While nothing happens it sleeps until a packet comes in or one's time has come; when something did, it
/// sleeps for a tick, so that waking up, which costs more than carrying a packet, is paid for several at once.
final class PacketCarrier: Sendable {
    private struct Lane {
        var link: EmulatedLink<PacketSlots.Packet>
        let source: Int32
        let target: Int32
        var direction = KernelPath.Direction()
        var baseline = LinkCounters()
    }

    private struct State: ~Copyable, Sendable {
        var slots = PacketSlots()
        var lanes: [Lane]
        var lateness = DelayHistogram()
        var nextSample: Timestamp
        var began: Timestamp
        var cpuTime: Int64 = 0
        var cpuBaseline: Int64 = 0
        var missedBaseline = 0
        var missed = 0
    }

    /// How often queues and our own processor time are looked at.
    private static let samplingInterval = Duration.milliseconds(1)
    /// How long packets may wait for each other: at 25 MB/s two or three of 1,500 bytes. It blurs times by as much, which
    /// is little beside the milliseconds that paths are made of.
    private static let tick = Duration.microseconds(100)
    /// How many packets are read of one device before what is due goes out.
    private static let batch = 64

    private let state: Mutex<State>
    private let wakeup: Int32
    private let isStopping = Atomic<Bool>(false)
    private let thread = Atomic<UInt>(0)

    init(
        near: Int32, far: Int32, forward: LinkConditions, backward: LinkConditions, entropy: Entropy
    ) throws(KernelLabError) {
        var entropy = entropy
        let now = MonotonicClock.now
        let lanes = [
            Lane(link: EmulatedLink(forward, entropy: entropy.split()), source: near, target: far),
            Lane(link: EmulatedLink(backward, entropy: entropy.split()), source: far, target: near),
        ]
        state = Mutex(State(lanes: lanes, nextSample: now, began: now))
        wakeup = cnatlab_eventfd()
        guard wakeup >= 0 else { throw .last("eventfd") }
        var identifier = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let result = pthread_create(
            &identifier, nil,
            { argument in
                if let argument { Unmanaged<PacketCarrier>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        guard result == 0 else {
            retained.release()
            close(wakeup)
            throw KernelLabError("pthread_create", code: result)
        }
        thread.store(UInt(identifier), ordering: .releasing)
    }

    deinit { close(wakeup) }

    /// Ends the thread; packets on their way are lost. To be called once.
    func stop() {
        isStopping.store(true, ordering: .releasing)
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
        pthread_join(pthread_t(thread.load(ordering: .acquiring)), nil)
    }

    func setConditions(forward: LinkConditions, backward: LinkConditions) {
        state.withLock { state in
            state.lanes[0].link.conditions = forward
            state.lanes[1].link.conditions = backward
        }
    }

    func beginMeasurement(missed: Int) {
        state.withLock { state in
            for index in state.lanes.indices {
                state.lanes[index].direction = KernelPath.Direction()
                state.lanes[index].baseline = state.lanes[index].link.counters
            }
            state.lateness = DelayHistogram()
            state.began = MonotonicClock.now
            state.nextSample = state.began
            state.cpuBaseline = state.cpuTime
            state.missedBaseline = missed + state.missed
        }
    }

    func report(missed: Int) -> KernelPath.Report {
        state.withLock { state in
            var report = KernelPath.Report()
            report.forward = state.lanes[0].direction
            report.forward.counters = state.lanes[0].link.counters - state.lanes[0].baseline
            report.backward = state.lanes[1].direction
            report.backward.counters = state.lanes[1].link.counters - state.lanes[1].baseline
            report.elapsed = MonotonicClock.now - state.began
            report.cpuTime = .nanoseconds(state.cpuTime - state.cpuBaseline)
            report.lateness = state.lateness
            report.missed = missed + state.missed - state.missedBaseline
            return report
        }
    }
}

// MARK: - The thread

extension PacketCarrier {
    private func run() {
        cnatlab_exact_timers()
        // A wire does not wait for a processor. Where we may not go before others, we are late when they are many.
        var priority = sched_param(sched_priority: 1)
        pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority)
        let (near, far) = state.withLock { ($0.lanes[0].source, $0.lanes[1].source) }
        while !isStopping.load(ordering: .acquiring) {
            let (count, deadline) = state.withLock { PacketCarrier.turn(&$0) }
            if count > 0 {
                cnatlab_wait(-1, -1, wakeup, PacketCarrier.tick.nanoseconds)
            } else {
                let timeout = deadline.map { max(0, ($0 - MonotonicClock.now).nanoseconds) } ?? -1
                cnatlab_wait(near, far, wakeup, timeout)
            }
        }
    }

    /// Reads what came in and hands over what is due; answers how many packets that were, and when the next is due.
    private static func turn(_ state: inout State) -> (count: Int, deadline: Timestamp?) {
        sample(&state, now: MonotonicClock.now)
        var count = 0
        var deadline: Timestamp?
        for index in state.lanes.indices {
            count += read(&state, index)
            count += deliver(&state, index)
            if let next = state.lanes[index].link.nextDeadline { deadline = min(deadline ?? next, next) }
        }
        return (count, deadline)
    }

    private static func read(_ state: inout State, _ index: Int) -> Int {
        for done in 0..<batch {
            // Where no place is left the packet is read all the same, and goes no further.
            let slot = state.slots.next
            let address = state.slots.address(slot ?? 0)
            var scrap: UInt8 = 0
            let count =
                slot == nil
                ? Glibc.read(state.lanes[index].source, &scrap, 1)
                : Glibc.read(state.lanes[index].source, address, PacketSlots.slotSize)
            guard count > 0 else { return done }
            guard let slot else {
                state.missed += 1
                continue
            }
            let copies = state.lanes[index].link.enqueue(
                PacketSlots.Packet(slot: slot, byteCount: Int32(count)), byteCount: count, now: MonotonicClock.now)
            state.slots.keep(slot, copies: copies)
        }
        return batch
    }

    private static func deliver(_ state: inout State, _ index: Int) -> Int {
        let now = MonotonicClock.now
        var done = 0
        while let due = state.lanes[index].link.nextDeadline, let packet = state.lanes[index].link.dequeue(now: now) {
            state.lateness.record(now - due)
            let address = state.slots.address(packet.slot)
            if write(state.lanes[index].target, address, Int(packet.byteCount)) < 0 {
                state.lanes[index].direction.refused += 1
            }
            state.slots.release(packet.slot)
            done += 1
        }
        return done
    }

    /// Looks at the queues as they were at every millisecond since the last look: nothing came in between.
    private static func sample(_ state: inout State, now: Timestamp) {
        guard state.nextSample <= now else { return }
        while state.nextSample <= now {
            for index in state.lanes.indices {
                let delay = state.lanes[index].link.queueDelay(now: state.nextSample)
                state.lanes[index].direction.queueDelay.record(delay)
            }
            state.nextSample += samplingInterval
        }
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        state.cpuTime = Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
