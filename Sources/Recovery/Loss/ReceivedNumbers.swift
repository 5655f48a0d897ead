// SPDX-License-Identifier: Apache-2.0

/// The packet numbers that arrived, and when to say so (RFC 9000 §13.2).
struct ReceivedNumbers {
    /// How long an acknowledgement may wait, in nanoseconds: below the delayed acknowledgements of TCP, far above what a
    /// batch takes.
    static let maxAckDelay: Int64 = 5_000_000
    /// Packets for one acknowledgement: every second while the sender's window may be growing from nothing …
    private static let startingThreshold = 2
    private static let startingPackets: UInt64 = 100
    /// … and then fewer, since each costs as much as sending a packet does.
    private static let threshold = 10

    /// How many numbers back holes are told.
    private static let memory: UInt64 = 1024

    private var numbers = RangeSet()
    private var received: UInt64 = 0
    /// Packets that are not acknowledged yet.
    private var waiting = 0
    private var isUrgent = false
    private var largestAt: Int64 = 0
    /// When the acknowledgement is due at the latest.
    private(set) var deadline: Int64?

    /// The largest number received.
    var largest: UInt64? { numbers.ranges.last.map { $0.upperBound - 1 } }

    /// Whether a number was received before.
    func contains(_ number: UInt64) -> Bool { numbers.contains(number..<number + 1) }

    /// Notes a packet.
    mutating func insert(_ number: UInt64, now: Int64) {
        let expected = largest.map { $0 + 1 } ?? 0
        // A hole that appears or is filled is news for the sender's loss detection (RFC 9000 §13.2.1).
        if number != expected { isUrgent = true }
        if number >= expected { largestAt = now }
        numbers.insert(number..<number + 1)
        // What is so far behind was told often enough; numbers that were lost are never filled.
        while let first = numbers.ranges.first,
            numbers.count > AckRanges.limit || first.upperBound + Self.memory < numbers.ranges[numbers.count - 1].lowerBound
        {
            _ = numbers.removeFirst()
        }
        received += 1
        waiting += 1
        if deadline == nil { deadline = now + Self.maxAckDelay }
    }

    /// Whether an acknowledgement should go out now.
    func isDue(now: Int64) -> Bool {
        guard let deadline else { return false }
        let threshold = received < Self.startingPackets ? Self.startingThreshold : Self.threshold
        return isUrgent || waiting >= threshold || now >= deadline
    }

    /// Whether an acknowledgement could go along with something else.
    var isWaiting: Bool { deadline != nil }

    /// How many bytes the frame takes.
    var frameLength: Int { RecoveryHeader.ackFrameLength(ranges: max(1, numbers.count)) }

    /// Writes the ACK frame at the start of `room`, which has ``frameLength`` bytes at least.
    mutating func write(into room: UnsafeMutableRawBufferPointer, now: Int64) {
        let ranges = numbers.ranges
        guard let last = ranges.last else { return }
        room[0] = RecoveryHeader.ackFrame
        room[1] = UInt8(ranges.count)
        func put(_ value: UInt64, at offset: Int) {
            room.storeBytes(of: UInt32(truncatingIfNeeded: value).bigEndian, toByteOffset: offset, as: UInt32.self)
        }
        put(last.upperBound - 1, at: 2)
        put(UInt64(clamping: (now - largestAt) / 1000), at: 6)
        put(UInt64(min(last.count, Int(UInt32.max))), at: 10)
        var offset = 14
        var above = last
        for range in ranges.dropLast().reversed() {
            put(above.lowerBound - range.upperBound, at: offset)
            put(UInt64(min(range.count, Int(UInt32.max))), at: offset + 4)
            offset += 8
            above = range
        }
        waiting = 0
        isUrgent = false
        deadline = nil
    }
}
