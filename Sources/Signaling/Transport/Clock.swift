// SPDX-License-Identifier: Apache-2.0

import NIOCore
import Wire

extension Timestamp {
    /// The event loops' clock: nanoseconds since the system started.
    static func now() -> Timestamp {
        Timestamp(nanoseconds: Int64(clamping: NIODeadline.now().uptimeNanoseconds))
    }
}

extension NIODeadline {
    /// The same point in time on the event loops' clock.
    init(_ time: Timestamp) {
        self = .uptimeNanoseconds(UInt64(clamping: time.nanoseconds))
    }
}

extension Entropy {
    /// A stream that nobody can predict, from the system's random source.
    static func system() -> Entropy {
        var source = SystemRandomNumberGenerator()
        return Entropy(key: SIMD4(source.next(), source.next(), source.next(), source.next()))
    }
}
