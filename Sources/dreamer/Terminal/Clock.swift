// SPDX-License-Identifier: Apache-2.0
import Glibc
import NetIO
import Wire

/// The time, for showing rates.
enum Clock {
    /// Seconds since any origin.
    static var seconds: Double { Double(MonotonicClock.now.nanoseconds) * 1e-9 }
}

/// A rate over the last few seconds.
struct Meter {
    private var samples: [(time: Double, bytes: Int)] = []

    /// Notes that `bytes` were done at `time`; answers the rate over the last 5 s in bytes a second.
    mutating func rate(_ bytes: Int, at time: Double) -> Double {
        samples.append((time, bytes))
        samples.removeAll { $0.time < time - 5 }
        guard let first = samples.first, time > first.time else { return 0 }
        return Double(bytes - first.bytes) / (time - first.time)
    }
}
