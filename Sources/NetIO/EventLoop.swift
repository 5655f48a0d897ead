// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

// One turn of the loop:
//
//   epoll_pwait2 ──▶ handlers of ready descriptors ──▶ timers that are due ──▶ work from execute ─┐
//        ▲                                                                                        │
//        └──────────── sleeps till the next deadline, or not at all while work waits ◀────────────┘

/// A thread that waits for descriptors, deadlines and work handed to it, and does one thing at a time.
///
/// Handlers, timers and work run on the loop's thread with no lock held, so they may call anything of this module. A
/// loop lives until ``stop()``.
public final class EventLoop: Sendable {
    /// Work for a loop.
    public typealias Work = @Sendable () -> Void
    /// What is done when a descriptor is ready; told for what.
    public typealias ReadinessHandler = @Sendable (Interest) -> Void

    /// What one waits for on a descriptor. Errors and hang-ups count as both.
    public struct Interest: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt32
        /// A set from its bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }
        /// There is something to read.
        public static let readable = Interest(rawValue: UInt32(CNETIO_READABLE))
        /// There is room to write.
        public static let writable = Interest(rawValue: UInt32(CNETIO_WRITABLE))
        /// There is an error to take. Told without being asked for.
        public static let failed = Interest(rawValue: UInt32(CNETIO_FAILED))
    }

    private struct State {
        enum Phase { case running, stopping, ended }
        var phase = Phase.running
        var work: [Work] = []
        var timers = TimerHeap()
        var handlers: [UInt64: ReadinessHandler] = [:]
        var lastToken = EventLoop.wakeToken
        /// Whether the thread sleeps and nobody has woken it yet: then, and only then, the eventfd is written.
        var needsWaking = false
    }

    private static let wakeToken: UInt64 = 0
    private let state = Mutex(State())
    private let name: String
    private let epoll: Int32
    private let wakeup: Int32
    /// What to join: set before anything else knows the loop.
    private let handle = Atomic<UInt>(0)
    /// The `pthread_t` of the thread while it runs: the system may give it to another thread afterwards.
    private let thread = Atomic<UInt>(0)
    private let isJoined = Atomic<Bool>(false)
    /// Bytes that sockets of this loop moved in this turn.
    private let traffic = Atomic<Int>(0)
    /// Where sockets receive: only the loop's thread touches it, so one serves all sockets of the loop.
    let receiveRing = ReceiveRing()

    /// Starts a loop on a thread of its own, named so (15 bytes at most show).
    public init(name: String = "dreamer-io") throws(NetIOError) {
        self.name = String(decoding: name.utf8.prefix(15), as: UTF8.self)
        epoll = cnetio_epoll()
        guard epoll >= 0 else { throw .last("epoll_create1") }
        wakeup = cnetio_eventfd()
        guard wakeup >= 0 else {
            let error = NetIOError.last("eventfd")
            close(epoll)
            throw error
        }
        // By edges, so that waking costs no read: the counter would need 2^64 wake-ups to fill.
        cnetio_epoll_control(
            epoll, EPOLL_CTL_ADD, wakeup, EventLoop.wakeToken, UInt32(CNETIO_READABLE) | UInt32(CNETIO_EDGE))
        var identifier = pthread_t()
        let retained = Unmanaged.passRetained(self)
        let result = pthread_create(
            &identifier, nil,
            { argument in
                if let argument { Unmanaged<EventLoop>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, retained.toOpaque())
        guard result == 0 else {
            retained.release()
            close(epoll)
            close(wakeup)
            throw NetIOError("pthread_create", code: result)
        }
        handle.store(UInt(identifier), ordering: .releasing)
    }

    /// The time now.
    public var now: Timestamp { MonotonicClock.now }

    /// Whether the caller runs on the loop's thread.
    public var isCurrent: Bool { thread.load(ordering: .acquiring) == UInt(pthread_self()) }

    /// Has work done on the loop's thread, after what was handed over before it and never inside this call. False, and
    /// the work is dropped, when the loop has ended.
    @discardableResult
    public func execute(_ work: @escaping Work) -> Bool {
        state.withLock { state in
            guard state.phase != .ended else { return false }
            state.work.append(work)
            wake(&state)
            return true
        }
    }

    /// A timer that does `work` whenever it is armed and its deadline passes.
    public func makeTimer(_ work: @escaping Work) -> LoopTimer {
        LoopTimer(loop: self, work: work)
    }

    /// Has work done once, at a time; the answer can cancel it.
    @discardableResult
    public func schedule(at deadline: Timestamp, _ work: @escaping Work) -> LoopTimer {
        let timer = makeTimer(work)
        timer.arm(at: deadline)
        return timer
    }

    /// Has `handler` called while `descriptor` is ready for one of `interest` (levels, not edges). The descriptor must
    /// stay open until the registration is cancelled.
    public func register(
        _ descriptor: Int32, _ interest: Interest, handler: @escaping ReadinessHandler
    ) throws(NetIOError) -> Registration {
        let token: UInt64 = try state.withLock { (state) throws(NetIOError) in
            guard state.phase != .ended else { throw NetIOError("register", code: ECANCELED) }
            state.lastToken += 1
            guard cnetio_epoll_control(epoll, EPOLL_CTL_ADD, descriptor, state.lastToken, interest.rawValue) == 0 else {
                throw .last("epoll_ctl")
            }
            state.handlers[state.lastToken] = handler
            return state.lastToken
        }
        return Registration(loop: self, descriptor: descriptor, token: token)
    }

    /// Ends the loop: what was handed over before is still done, timers and descriptors are let go. Returns when the
    /// thread has ended; called on the loop's own thread, or a second time, it returns at once.
    public func stop() {
        state.withLock { state in
            guard state.phase == .running else { return }
            state.phase = .stopping
            wake(&state)
        }
        guard isJoined.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged
        else { return }
        let identifier = pthread_t(handle.load(ordering: .acquiring))
        if isCurrent { pthread_detach(identifier) } else { pthread_join(identifier, nil) }
    }

    private func wake(_ state: inout State) {
        guard state.needsWaking else { return }
        state.needsWaking = false
        var one: UInt64 = 1
        _ = write(wakeup, &one, 8)
    }
}

// MARK: - The thread

extension EventLoop {
    private func run() {
        thread.store(UInt(pthread_self()), ordering: .releasing)
        cnetio_name_thread(name)
        let events = UnsafeMutablePointer<cnetio_event>.allocate(capacity: Int(CNETIO_EVENT_BATCH))
        defer {
            events.deallocate()
            thread.store(0, ordering: .releasing)
        }
        var work: [Work] = []
        var polling = BusyPolling()
        while let timeout = prepareToSleep() {
            let count = wait(events, timeout, &polling)
            state.withLock { $0.needsWaking = false }
            for index in 0..<max(count, 0) where events[index].token != EventLoop.wakeToken {
                // Looked up one by one: an earlier handler may have cancelled this registration.
                let handler = state.withLock { $0.handlers[events[index].token] }
                handler?(Interest(rawValue: events[index].ready))
            }
            fireTimers()
            state.withLock { swap(&$0.work, &work) }
            for item in work { item() }
            work.removeAll(keepingCapacity: true)
        }
    }

    /// Waits for events for so many nanoseconds, awake at first where that is worth it.
    private func wait(
        _ events: UnsafeMutablePointer<cnetio_event>, _ timeout: Int64, _ polling: inout BusyPolling
    ) -> Int {
        let moved = traffic.exchange(0, ordering: .relaxed)
        guard polling.isWorthwhile(afterBytes: moved), timeout != 0 else {
            return Int(cnetio_epoll_wait(epoll, events, timeout))
        }
        let limit = BusyPolling.limit.nanoseconds
        let begin = now
        var elapsed: Int64 = 0
        while elapsed < (timeout < 0 ? limit : min(limit, timeout)) {
            let count = Int(cnetio_epoll_wait(epoll, events, 0))
            if count != 0 {
                polling.note(isHit: true)
                return count
            }
            elapsed = (now - begin).nanoseconds
        }
        polling.note(isHit: false)
        return Int(cnetio_epoll_wait(epoll, events, timeout < 0 ? timeout : max(timeout - elapsed, 0)))
    }

    /// Nanoseconds to sleep, -1 without end; `nil` when the loop has ended.
    private func prepareToSleep() -> Int64? {
        let now = self.now
        // What the loop held is released outside of the lock: its end may run code that calls the loop.
        var released: ([LoopTimer], [UInt64: ReadinessHandler])?
        let timeout: Int64? = state.withLock { state in
            guard state.work.isEmpty else { return 0 }
            guard state.phase == .running else {
                state.phase = .ended
                released = (state.timers.removeAll(), state.handlers)
                state.handlers = [:]
                close(epoll)
                close(wakeup)
                return nil
            }
            guard let deadline = state.timers.earliest else {
                state.needsWaking = true
                return -1
            }
            guard deadline > now else { return 0 }
            state.needsWaking = true
            return (deadline - now).nanoseconds
        }
        _ = consume released
        return timeout
    }

    private func fireTimers() {
        let now = self.now
        // Timers that this turn's timers arm wait for the next turn, so that they cannot keep the loop from its
        // sockets.
        let limit = state.withLock { $0.timers.count == 0 ? nil : $0.timers.sequence }
        guard let limit else { return }
        while let timer = state.withLock({ $0.timers.popDue(now: now, through: limit) }) {
            timer.work()
        }
    }
}

// MARK: - What timers, registrations and sockets call

extension EventLoop {
    /// Notes that a socket received or sent so many bytes.
    func countTraffic(_ bytes: Int) {
        traffic.wrappingAdd(bytes, ordering: .relaxed)
    }

    func set(_ timer: LoopTimer, _ deadline: Timestamp?) {
        state.withLock { state in
            guard let deadline, state.phase != .ended else { return state.timers.remove(timer) }
            let previous = state.timers.earliest
            state.timers.arm(timer, at: deadline)
            if previous.map({ deadline < $0 }) ?? true { wake(&state) }
        }
    }

    func update(_ token: UInt64, _ descriptor: Int32, _ interest: Interest) {
        state.withLock { state in
            guard state.handlers[token] != nil else { return }
            cnetio_epoll_control(epoll, EPOLL_CTL_MOD, descriptor, token, interest.rawValue)
        }
    }

    func cancel(_ token: UInt64, _ descriptor: Int32) {
        // The handler is released after the lock.
        let handler = state.withLock { state in
            let handler = state.handlers.removeValue(forKey: token)
            if handler != nil { cnetio_epoll_control(epoll, EPOLL_CTL_DEL, descriptor, token, 0) }
            return handler
        }
        _ = consume handler
    }
}
