// SPDX-License-Identifier: Apache-2.0

/// What is remembered of a packet in flight.
struct SentPacket: BitwiseCopyable {
    enum State: UInt8, BitwiseCopyable {
        case inFlight, acknowledged, lost
    }

    /// When it was sent, in nanoseconds.
    var sentAt: Int64
    /// Where its bytes lie in their flow.
    var offset: UInt64
    /// How many bytes of the flow it carries; 0 for a PING.
    var length: UInt32
    /// Its size as the path counts it.
    var size: UInt32
    /// Bytes that had been delivered when it was sent, when the last of them were, and when the first packet of that
    /// flight was sent: for estimating the delivery rate.
    var delivered: UInt64
    var deliveredAt: Int64
    var firstSentAt: Int64
    var flow: UInt8
    var state: State
    /// Whether there was nothing more to send.
    var isAppLimited: Bool

    /// Its bytes in their flow.
    var range: Range<UInt64> { offset..<offset + UInt64(length) }
}

/// The packets in flight by number, from the oldest that is still of interest.
struct SentPackets: ~Copyable, @unchecked Sendable {
    private var storage: UnsafeMutablePointer<SentPacket>?
    private var capacity = 0
    /// The number of the oldest packet remembered.
    private(set) var first: UInt64 = 0
    /// The number of the next packet to be sent.
    private(set) var next: UInt64 = 0

    /// Packets for which there is room while none is in flight.
    private static let idleCapacity = 64

    init() {}

    deinit { storage?.deallocate() }

    var isEmpty: Bool { first == next }
    var count: Int { Int(next - first) }

    /// Notes the next packet.
    mutating func append(_ packet: SentPacket) {
        if count == capacity { grow() }
        storage?[Int(next) & (capacity - 1)] = packet
        next += 1
    }

    private mutating func grow() {
        let larger = max(64, capacity * 2)
        let memory = UnsafeMutablePointer<SentPacket>.allocate(capacity: larger)
        if let storage {
            var number = first
            while number < next {
                (memory + (Int(number) & (larger - 1))).initialize(to: storage[Int(number) & (capacity - 1)])
                number += 1
            }
            storage.deallocate()
        }
        storage = memory
        capacity = larger
    }

    /// The packet of a number from ``first`` to before ``next``.
    subscript(number: UInt64) -> SentPacket {
        get {
            precondition(number >= first && number < next, "no such packet is remembered")
            return storage.unsafelyUnwrapped[Int(number) & (capacity - 1)]
        }
        set {
            precondition(number >= first && number < next, "no such packet is remembered")
            storage.unsafelyUnwrapped[Int(number) & (capacity - 1)] = newValue
        }
    }

    /// Changes a packet's state in place.
    mutating func setState(_ state: SentPacket.State, of number: UInt64) {
        precondition(number >= first && number < next, "no such packet is remembered")
        storage.unsafelyUnwrapped[Int(number) & (capacity - 1)].state = state
    }

    /// Forgets the packets before `number`.
    mutating func forget(before number: UInt64) {
        first = max(first, min(number, next))
        if first == next, capacity > Self.idleCapacity {
            storage?.deallocate()
            storage = nil
            capacity = 0
        }
    }
}
