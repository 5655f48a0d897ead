// SPDX-License-Identifier: Apache-2.0

/// Packets back to back in one growing block of memory: how layers hand each other packets on the hot path without an
/// allocation a packet, and how a run of equal packets reaches the kernel as one segmented send.
public struct PacketBuffer: ~Copyable, @unchecked Sendable {
    private var storage: UnsafeMutableRawBufferPointer
    /// Where each packet ends, counted from the start of the first.
    public private(set) var packetEnds: [Int] = []

    /// An empty buffer with room for `capacity` bytes.
    public init(capacity: Int = 64 * 1024) {
        storage = .allocate(byteCount: max(capacity, 64), alignment: 16)
    }

    deinit { storage.deallocate() }

    /// How many packets are held.
    public var count: Int { packetEnds.count }
    /// Whether none is held.
    public var isEmpty: Bool { packetEnds.isEmpty }
    /// The bytes of all packets.
    public var byteCount: Int { packetEnds.last ?? 0 }

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

    private mutating func reserve(_ capacity: Int) {
        guard capacity > storage.count else { return }
        let grown = UnsafeMutableRawBufferPointer.allocate(byteCount: max(capacity, storage.count * 2), alignment: 16)
        grown.copyMemory(from: UnsafeRawBufferPointer(rebasing: storage[..<byteCount]))
        storage.deallocate()
        storage = grown
    }
}
