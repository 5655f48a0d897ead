// SPDX-License-Identifier: Apache-2.0

/// Joins packets of one association that arrived together into one: SACKs first, then DATA, as RFC 9260 §6.10 wants
/// them. usrsctp then takes its locks, looks the association up and answers once instead of once a packet.
struct PacketJoiner {
    /// The most that is joined.
    static let capacity = 64 * 1024

    private let memory: UnsafeMutableRawBufferPointer
    private var count = 0
    private var packets = 0
    private let maxPackets: Int
    /// Where the last DATA chunk starts, 0 for none.
    private var lastData = 0

    /// A joiner that works in `memory`, of `capacity` bytes, and joins at most so many packets with DATA.
    init(into memory: UnsafeMutableRawBufferPointer, maxPackets: Int) {
        self.memory = memory
        self.maxPackets = maxPackets
    }

    /// Adds a packet. Answers false for one that cannot follow what is there, or cannot be joined with any.
    mutating func append(_ packet: UnsafeRawBufferPointer) -> Bool {
        guard packet.count >= 16, packet.count <= Self.capacity - count else { return false }
        // Same ports and verification tag.
        if count > 0, packet.loadUnaligned(as: UInt64.self) != memory.loadUnaligned(as: UInt64.self) { return false }
        var hasData = lastData > 0
        var data = 0
        var offset = 12
        while offset < packet.count {
            guard offset + 4 <= packet.count else { return false }
            let length = Int(UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self)))
            // DATA is type 0, SACK is type 3; anything else is left as it came, and so is what does not add up.
            switch packet[offset] {
            case 0:
                guard length > 16 else { return false }
                hasData = true
                data = offset
            case 3:
                guard !hasData, length >= 16 else { return false }
            default:
                return false
            }
            offset += (length + 3) & ~3
        }
        guard offset == packet.count, !hasData || packets < maxPackets else { return false }
        let skipped = count == 0 ? 0 : 12
        if data > 0 { lastData = count + data - skipped }
        UnsafeMutableRawBufferPointer(rebasing: memory[count...])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: packet[skipped...]))
        count += packet.count - skipped
        packets += 1
        return true
    }

    /// The joined packet, if any, and starts anew. It lasts until the next `append`.
    mutating func take() -> UnsafeRawBufferPointer? {
        guard count > 0 else { return nil }
        // To usrsctp it is one packet, but every second one wants a SACK (RFC 9260 §6.2): the I bit asks for it (RFC
        // 7053).
        if packets > 1, lastData > 0 { memory[lastData + 1] |= 0x08 }
        defer {
            count = 0
            packets = 0
            lastData = 0
        }
        return UnsafeRawBufferPointer(rebasing: memory[..<count])
    }
}
