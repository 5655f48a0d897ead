// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
public import Wire

/// Unpredictable randomness for cores.
public enum SystemEntropy {
    /// A stream whose key comes from the kernel. The corresponding C function is `getrandom`.
    public static func make() -> Entropy {
        var key = SIMD4<UInt64>()
        withUnsafeMutableBytes(of: &key) { bytes in
            var filled = 0
            while filled < bytes.count {
                let count = cnetio_random(bytes.baseAddress?.advanced(by: filled), bytes.count - filled)
                // Requests up to 256 bytes fail only when a signal comes before the pool is ready (getrandom(2)).
                precondition(count > 0 || errno == EINTR, "the kernel has no random source")
                filled += max(count, 0)
            }
        }
        return Entropy(key: key)
    }
}
