// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// Packets back to back in one growing block of memory: how layers hand each other packets on the hot path without an
/// allocation a packet, and how a run of equal packets reaches the kernel as one segmented send.
///
/// A buffer has no memory before its first packet, and none after ``release()``: a thousand idle connections hold nothing,
/// and the block that one gives back, still in the processor's cache, is the one that the next takes.
public struct PacketBuffer: ~Copyable, @unchecked Sendable {
    private var storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    /// How many bytes the next block should have.
    private var expected: Int
    /// Where each packet ends, counted from the start of the first.
    public private(set) var packetEnds: [Int] = []

    /// An empty buffer that takes `capacity` bytes with its first packet, and more as needed.
    public init(capacity: Int = PacketBlocks.blockSize) {
        expected = max(capacity, 64)
    }

    deinit { PacketBlocks.give(storage) }

    /// How many packets are held.
    public var count: Int { packetEnds.count }
    /// Whether none is held.
    public var isEmpty: Bool { packetEnds.isEmpty }
    /// The bytes of all packets.
    public var byteCount: Int { packetEnds.last ?? 0 }

    /// The bytes of memory held.
    public var capacity: Int { storage.count }

    /// Where packet `index` lies among all bytes.
    public func range(_ index: Int) -> Range<Int> {
        (index == 0 ? 0 : packetEnds[index - 1])..<packetEnds[index]
    }

    /// The bytes of packet `index`.
    public subscript(index: Int) -> RawSpan {
        @_lifetime(borrow self)
        get {
            let range = range(index)
            let span = RawSpan(_unsafeBytes: UnsafeRawBufferPointer(rebasing: storage[range]))
            return _overrideLifetime(span, borrowing: self)
        }
    }

    /// Every byte held, for a driver that passes addresses to the kernel.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
    }

    /// Appends a copy of a packet.
    public mutating func append(_ packet: RawSpan) {
        append(maximumLength: packet.byteCount) { destination in
            packet.withUnsafeBytes { destination.copyMemory(from: $0) }
            return packet.byteCount
        }
    }

    /// Appends a packet that `body` writes into `maximumLength` bytes of room; `body` answers how many it used. With 0
    /// no packet is appended.
    public mutating func append(maximumLength: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int) {
        let start = byteCount
        reserve(start + maximumLength)
        let used = body(UnsafeMutableRawBufferPointer(rebasing: storage[start..<start + maximumLength]))
        precondition(used >= 0 && used <= maximumLength, "a packet outgrew the room it asked for")
        if used > 0 { packetEnds.append(start + used) }
    }

    /// Forgets all packets and keeps the memory.
    public mutating func removeAll() {
        packetEnds.removeAll(keepingCapacity: true)
    }

    /// Forgets all packets and gives the memory back.
    public mutating func release() {
        // What it took this time it will take next time, without growing step by step.
        if byteCount > PacketBlocks.blockSize / 2 { expected = byteCount }
        removeAll()
        PacketBlocks.give(storage)
        storage = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    }

    private mutating func reserve(_ needed: Int) {
        guard needed > storage.count else { return }
        let grown = PacketBlocks.take(max(needed, expected, storage.count * 2))
        grown.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
        PacketBlocks.give(storage)
        storage = grown
    }
}

/// Blocks of memory for packets that nobody uses at the moment.
public enum PacketBlocks {
    /// The size of the smallest block: as much as one segmented send takes.
    public static let blockSize = 64 * 1024
    /// Each kind of block is twice as large as the one before it; the largest is 1 MiB.
    private static let kinds = 5
    /// Bytes kept; what is more goes back to the allocator. Connections need them only while they handle packets.
    private static let limit = 4 << 20

    private struct Free: @unchecked Sendable {
        var blocks: [[UnsafeMutableRawBufferPointer]] = Array(repeating: [], count: PacketBlocks.kinds)
        var byteCount = 0
    }

    private static let free = Mutex(Free())

    /// Which kind of block holds `count` bytes; `nil` where that would be a waste, or where none does.
    private static func kind(of count: Int) -> Int? {
        guard count > blockSize / 2 else { return nil }
        let kind = max(0, Int.bitWidth - ((count - 1) / blockSize).leadingZeroBitCount)
        return kind < kinds ? kind : nil
    }

    /// At least `count` bytes; a block where they fit, unless far less is asked for.
    static func take(_ count: Int) -> UnsafeMutableRawBufferPointer {
        guard let kind = kind(of: count) else { return .allocate(byteCount: count, alignment: 16) }
        let size = blockSize << kind
        let block: UnsafeMutableRawBufferPointer? = free.withLock { free in
            guard let block = free.blocks[kind].popLast() else { return nil }
            free.byteCount -= size
            return block
        }
        return block ?? .allocate(byteCount: size, alignment: 16)
    }

    static func give(_ memory: UnsafeMutableRawBufferPointer) {
        guard memory.baseAddress != nil else { return }
        let isKept: Bool
        if let kind = kind(of: memory.count), memory.count == blockSize << kind {
            isKept = free.withLock { free in
                guard free.byteCount + memory.count <= limit else { return false }
                free.byteCount += memory.count
                free.blocks[kind].append(memory)
                return true
            }
        } else {
            isKept = false
        }
        if !isKept { memory.deallocate() }
    }
}
