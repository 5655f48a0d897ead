// SPDX-License-Identifier: Apache-2.0
public import Glibc
public import SCTP
import Synchronization
public import Wire

/// The virtual time of usrsctp in tests. The library has one timeline for the whole process, so all suites share
/// it, one after the other.
public enum Timeline {
    /// Nanoseconds since the start.
    fileprivate static let nanoseconds = Atomic<Int64>(0)
    /// The thread whose calls live in virtual time.
    fileprivate static let thread = Atomic<UInt>(0)

    /// Lets the current thread see virtual time, and no other.
    public static func enter() {
        thread.store(UInt(pthread_self()), ordering: .relaxed)
    }

    /// Whether usrsctp sees it, which takes a linker flag: `-Xlinker --export-dynamic-symbol=gettimeofday`.
    public static let isVirtual: Bool = {
        typealias Function = @convention(c) (UnsafeMutablePointer<timeval>?, UnsafeMutableRawPointer?) -> Int32
        guard let symbol = dlsym(nil, "gettimeofday") else { return false }
        enter()
        var time = timeval()
        _ = unsafeBitCast(symbol, to: Function.self)(&time, nil)
        return time.tv_sec < 100_000_000
    }()

    /// The virtual time now.
    public static var now: Timestamp { Timestamp(nanoseconds: nanoseconds.load(ordering: .relaxed)) }

    /// Passes 10 ms. Answers which associations have something to do.
    public static func tick() -> Set<SCTPHandle> {
        enter()
        let step = SCTPRuntime.tickInterval.nanoseconds
        let now = nanoseconds.add(step, ordering: .relaxed).newValue
        return Set(SCTPRuntime.shared.advance(to: Timestamp(nanoseconds: now)))
    }
}

/// Stands in for the C library's function, which usrsctp asks for the age of packets. A retransmission timer of virtual
/// time would find them too young for retransmission otherwise.
@_cdecl("gettimeofday")
public func virtualTimeOfDay(_ time: UnsafeMutablePointer<timeval>?, _ zone: UnsafeMutableRawPointer?) -> Int32 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    if Timeline.thread.load(ordering: .relaxed) == UInt(pthread_self()) {
        let virtual = Timeline.nanoseconds.load(ordering: .relaxed)
        // Any origin will do that is far from zero.
        now = timespec(tv_sec: 1_000_000 + Int(virtual / 1_000_000_000), tv_nsec: Int(virtual % 1_000_000_000))
    }
    time?.pointee = timeval(tv_sec: now.tv_sec, tv_usec: now.tv_nsec / 1000)
    return 0
}
