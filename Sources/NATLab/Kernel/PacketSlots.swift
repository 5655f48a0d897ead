// SPDX-License-Identifier: Apache-2.0

/// Places for packets that are on their way, used again and again. The kernel gives memory as places are used for the first
/// time.
struct PacketSlots: ~Copyable, @unchecked Sendable {
    /// A packet in its place.
    struct Packet {
        let slot: UInt32
        let byteCount: Int32
    }

    /// Room for a packet of 1,500 bytes, the usual MTU, and more.
    static let slotSize = 2048
    /// 128 MiB: a second at a gigabit.
    static let count = 65_536

    private let memory: UnsafeMutableRawPointer
    /// Copies of each packet that are on their way.
    private var copies: [UInt8]
    /// Used last, taken first: that memory is in the cache.
    private var free: [UInt32]

    init() {
        memory = .allocate(byteCount: PacketSlots.slotSize * PacketSlots.count, alignment: 64)
        copies = Array(repeating: 0, count: PacketSlots.count)
        free = (0..<UInt32(PacketSlots.count)).reversed()
    }

    deinit { memory.deallocate() }

    /// A place that is free, taken by ``keep(_:copies:)``; `nil` when there is none.
    var next: UInt32? { free.last }

    /// The memory of a place.
    func address(_ slot: UInt32) -> UnsafeMutableRawPointer { memory + Int(slot) * PacketSlots.slotSize }

    /// Takes the place that ``next`` answered, until it was released so many times.
    mutating func keep(_ slot: UInt32, copies count: Int) {
        guard count > 0 else { return }
        copies[Int(slot)] = UInt8(clamping: count)
        free.removeLast()
    }

    /// Lets go of a copy.
    mutating func release(_ slot: UInt32) {
        copies[Int(slot)] -= 1
        if copies[Int(slot)] == 0 { free.append(slot) }
    }
}
