// SPDX-License-Identifier: Apache-2.0
import CNetIO

/// Memory for one `recvmmsg`: as many buffers as it takes messages, each large enough for the largest coalesced train.
/// Pages that no packet ever reaches cost nothing.
final class ReceiveRing: @unchecked Sendable {
    /// UDP's length field is 16 bits wide (RFC 768), coalesced trains included.
    static let stride = 65_536
    static let slots = Int(CNETIO_RECEIVE_BATCH)

    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: stride * slots, alignment: 4096)
    let received = UnsafeMutableBufferPointer<cnetio_received>.allocate(capacity: slots)

    init() {
        received.initialize(repeating: cnetio_received())
    }

    deinit {
        memory.deallocate()
        received.deallocate()
    }
}
