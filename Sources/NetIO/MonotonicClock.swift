// SPDX-License-Identifier: Apache-2.0
import Glibc
public import Wire

/// The clock of every driver in this process. It counts from the process's first look at it, so timestamps of different
/// loops compare, and never goes back. It stands still while the machine sleeps, as `CLOCK_MONOTONIC` does.
public enum MonotonicClock {
    private static let origin = read()

    /// The time now.
    public static var now: Timestamp {
        Timestamp(nanoseconds: read() - origin)
    }

    /// The system's monotonic time in nanoseconds, which all programs of this host share.
    public static var systemNanoseconds: Int64 { read() }

    /// The corresponding C function is `clock_gettime`.
    private static func read() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
