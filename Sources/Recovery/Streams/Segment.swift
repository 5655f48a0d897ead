// SPDX-License-Identifier: Apache-2.0
import Wire

/// A piece of a stream of bytes, in the memory in which it came; little ones in memory of their own, so that a few bytes
/// do not hold a whole block.
final class Segment: @unchecked Sendable {
    // Unchecked: nothing changes after the start.

    /// What is copied in any case, and what is copied where its memory is so many times larger.
    private static let smallLimit = 8 << 10
    private static let wasteLimit = 3

    /// Where the first byte stands in the stream.
    let start: UInt64
    /// Where the byte behind the last one does.
    let end: UInt64
    private var packets: PacketBuffer
    private let small: [UInt8]

    /// Takes all bytes of `packets` and leaves it empty.
    init(start: UInt64, _ packets: inout PacketBuffer) {
        self.start = start
        end = start + UInt64(packets.byteCount)
        self.packets = PacketBuffer()
        if packets.byteCount <= Self.smallLimit || packets.byteCount * Self.wasteLimit < packets.capacity {
            small = packets.withUnsafeBytes { [UInt8]($0) }
            packets.release()
        } else {
            small = []
            swap(&self.packets, &packets)
        }
    }

    /// Copies bytes from an offset in the stream on.
    func read(_ offset: UInt64, into destination: UnsafeMutableRawBufferPointer) {
        let from = Int(offset - start)
        func copy(_ bytes: UnsafeRawBufferPointer) {
            destination.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[from..<from + destination.count]))
        }
        if small.isEmpty { packets.withUnsafeBytes(copy) } else { small.withUnsafeBytes(copy) }
    }
}
