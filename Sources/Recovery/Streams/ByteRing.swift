// SPDX-License-Identifier: Apache-2.0

/// Memory for a window of a stream of bytes, addressed by their offsets in the stream. It grows with the window and is
/// given back when the window is empty.
struct ByteRing: ~Copyable, @unchecked Sendable {
    private var storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    /// What is kept while nothing is held.
    private static let idleCapacity = 4 << 10
    private static let smallestCapacity = 4 << 10

    init() {}

    deinit { storage.deallocate() }

    /// Makes room for `window`, of which the bytes of `held` are there.
    mutating func reserve(_ window: Range<UInt64>, holding held: Range<UInt64>) {
        guard window.count > storage.count else { return }
        var capacity = max(Self.smallestCapacity, storage.count)
        while capacity < window.count { capacity *= 2 }
        let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 64)
        var offset = held.lowerBound
        while offset < held.upperBound {
            let piece = contiguous(offset..<held.upperBound)
            let place = Int(offset & UInt64(capacity - 1))
            let count = min(piece.count, capacity - place)
            UnsafeMutableRawBufferPointer(rebasing: grown[place..<place + count])
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: piece[..<count]))
            offset += UInt64(count)
        }
        storage.deallocate()
        storage = grown
    }

    /// Gives memory back; nothing is held.
    mutating func shrink() {
        guard storage.count > Self.idleCapacity else { return }
        storage.deallocate()
        storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    /// The bytes from the start of `range` up to its end or to where the memory wraps around.
    func contiguous(_ range: Range<UInt64>) -> UnsafeMutableRawBufferPointer {
        let place = Int(range.lowerBound & UInt64(storage.count - 1))
        let count = min(range.count, storage.count - place)
        return UnsafeMutableRawBufferPointer(rebasing: storage[place..<place + count])
    }

    /// Writes bytes at an offset of the stream; room was reserved.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
        guard !bytes.isEmpty else { return }
        let first = contiguous(offset..<offset + UInt64(bytes.count))
        first.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<first.count]))
        guard first.count < bytes.count else { return }
        storage.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[first.count...]))
    }

    /// Copies the bytes of `range` into `destination`, which is as long.
    func read(_ range: Range<UInt64>, into destination: UnsafeMutableRawBufferPointer) {
        guard !range.isEmpty else { return }
        let first = contiguous(range)
        destination.copyMemory(from: UnsafeRawBufferPointer(first))
        guard first.count < range.count else { return }
        UnsafeMutableRawBufferPointer(rebasing: destination[first.count...])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[..<(range.count - first.count)]))
    }
}
