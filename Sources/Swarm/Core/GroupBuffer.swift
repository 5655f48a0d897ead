// SPDX-License-Identifier: Apache-2.0

import Hashing

/// The bytes of one group while they arrive, and until they are written.
///
/// One owner at a time: the core fills it, hands it out with ``SwarmAction/writeGroup(entry:group:buffer:)`` and gets it
/// back with the completion; in between the storage reads it and nobody writes.
public final class GroupBuffer: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer
    private var coverage: [UInt64]
    /// The group's size in bytes.
    public private(set) var count = 0
    /// How many of its bytes have arrived.
    private(set) var received = 0

    init() {
        memory = .allocate(byteCount: SwarmCatalog.groupSize, alignment: 64)
        coverage = Array(repeating: 0, count: SwarmCatalog.groupSize / 64)
    }

    deinit { memory.deallocate() }

    /// The group's bytes.
    public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[..<count]) }

    var isWhole: Bool { received == count }

    /// Makes ready for a group of `count` bytes.
    func reset(count: Int) {
        precondition(count > 0 && count <= SwarmCatalog.groupSize, "a group has at most 131,072 bytes")
        if received > 0 { for index in coverage.indices { coverage[index] = 0 } }
        self.count = count
        received = 0
    }

    /// Copies bytes that belong at `offset`; how many of them are new. What came before stays as it came.
    func add(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
        precondition(offset >= 0 && offset + bytes.count <= count, "bytes outside the group")
        let range = offset..<offset + bytes.count
        guard !range.isEmpty else { return 0 }
        let before = received
        if isUncovered(range) {
            copy(bytes, from: 0, to: offset, count: bytes.count)
            received += bytes.count
        } else {
            for position in range where coverage[position >> 6] >> UInt64(position & 63) & 1 == 0 {
                copy(bytes, from: position - offset, to: position, count: 1)
                received += 1
            }
        }
        cover(range)
        return received - before
    }

    // A frame's ends need not lie on the borders of the coverage's words; all words between them are whole, and are many.

    private func isUncovered(_ range: Range<Int>) -> Bool {
        let (first, last) = (range.lowerBound >> 6, (range.upperBound - 1) >> 6)
        guard first < last else { return coverage[first] & lowMask(range) & highMask(range) == 0 }
        var any = coverage[first] & lowMask(range) | coverage[last] & highMask(range)
        for index in first + 1..<last { any |= coverage[index] }
        return any == 0
    }

    private func cover(_ range: Range<Int>) {
        let (first, last) = (range.lowerBound >> 6, (range.upperBound - 1) >> 6)
        guard first < last else {
            coverage[first] |= lowMask(range) & highMask(range)
            return
        }
        coverage[first] |= lowMask(range)
        for index in first + 1..<last { coverage[index] = .max }
        coverage[last] |= highMask(range)
    }

    /// The bits of a range in its first word.
    private func lowMask(_ range: Range<Int>) -> UInt64 { .max << UInt64(range.lowerBound & 63) }

    /// The bits of a range in its last word.
    private func highMask(_ range: Range<Int>) -> UInt64 { .max >> UInt64(63 - (range.upperBound - 1) & 63) }

    private func copy(_ bytes: UnsafeRawBufferPointer, from source: Int, to destination: Int, count: Int) {
        let part = UnsafeRawBufferPointer(rebasing: bytes[source..<source + count])
        UnsafeMutableRawBufferPointer(rebasing: memory[destination..<destination + count]).copyMemory(from: part)
    }

    /// The group's value, for its place in the entry.
    func value(group: Int) -> BLAKE3.Digest {
        BLAKE3.chainingValue(
            ofSubtree: bytes, chunkCounter: UInt64(group) * UInt64(SwarmCatalog.groupSize / 1024))
    }
}

/// Buffers that wait for their next group, so that none is allocated while bytes flow.
struct GroupBufferPool {
    private var free: [GroupBuffer] = []
    /// More than this many are given back to the system.
    private let limit: Int
    /// How many buffers are with the core or the storage.
    private(set) var inUse = 0

    init(limit: Int = 256) { self.limit = limit }

    mutating func take(count: Int) -> GroupBuffer {
        let buffer = free.popLast() ?? GroupBuffer()
        buffer.reset(count: count)
        inUse += 1
        return buffer
    }

    mutating func give(_ buffer: GroupBuffer) {
        inUse -= 1
        if free.count < limit { free.append(buffer) }
    }
}
