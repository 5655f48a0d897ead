// SPDX-License-Identifier: Apache-2.0
internal import Synchronization
internal import Wire

/// Where usrsctp's output callback leaves the packets of one association, and what it learns from them.
///
/// Its lock is a leaf: it is taken inside calls of usrsctp and nothing is called while it is held. Outboxes are pooled
/// and never freed, so a late packet of a closed association finds one with another handle and is dropped.
final class SCTPOutbox: Sendable {
    /// What the lock guards.
    struct State: ~Copyable {
        /// Whose packets these are; `nil` while the outbox lies in the pool.
        var owner: SCTPHandle?
        /// The longest packet to leave.
        var maxPacketSize = 0
        /// Whether each packet stands behind its length in two bytes.
        var prefixesLength = false
        /// Whether our INIT and INIT ACK say that we take packets without a checksum.
        var announcesZeroChecksum = false
        /// What the peer said about that.
        var zeroChecksum = ZeroChecksum()
        /// Waiting to be sent.
        var packets = PacketBuffer()
        /// Payload bytes of user messages that were put into packets for the first time, counted by stream.
        var transmitted: [Int] = []
        /// The sum of `transmitted`.
        var totalTransmitted = 0
        /// The newest transmission sequence number seen; retransmissions lie at or before it.
        var highestTSN: UInt32?
    }

    let state = Mutex(State())

    /// Takes a packet that is finished but for its checksum. Answers whether it was the first to wait.
    func append(_ packet: UnsafeRawBufferPointer, from handle: SCTPHandle) -> Bool {
        guard packet.count >= 12 else { return false }
        return state.withLock { state in
            guard state.owner == handle else { return false }
            let wasEmpty = state.packets.isEmpty
            state.split(packet)
            return wasEmpty
        }
    }

    /// Learns from an INIT or INIT ACK of the peer what it takes.
    func notePeer(_ packet: UnsafeRawBufferPointer) {
        state.withLock { $0.zeroChecksum.note(packet) }
    }

    /// Moves what waits behind the packets of `buffer`.
    func take(into buffer: inout PacketBuffer) {
        state.withLock { state in
            if state.packets.isEmpty { return }
            if buffer.isEmpty {
                swap(&buffer, &state.packets)
            } else {
                for index in 0..<state.packets.count { buffer.append(state.packets[index]) }
            }
            state.packets.release()
        }
    }
}

extension SCTPOutbox.State {
    /// Forgets everything and belongs to `owner`.
    mutating func reset(owner: SCTPHandle?, for configuration: SCTPAssociation.Configuration?) {
        self.owner = owner
        maxPacketSize = configuration?.maxPacketSize ?? 0
        prefixesLength = configuration?.prefixesLength ?? false
        announcesZeroChecksum = configuration?.acceptsZeroChecksum ?? false
        zeroChecksum = ZeroChecksum()
        packets.release()
        transmitted.removeAll()
        totalTransmitted = 0
        highestTSN = nil
    }

    /// Cuts a bundle between chunks (RFC 9260 §3, §6.10) into packets that are short enough, counting user data on the
    /// way. A chunk that is too long by itself gets a packet of its own.
    fileprivate mutating func split(_ bundle: UnsafeRawBufferPointer) {
        var start = 12
        repeat {
            var end = start
            while end + 4 <= bundle.count {
                let length = Int(UInt16(bigEndian: bundle.loadUnaligned(fromByteOffset: end + 2, as: UInt16.self)))
                let next = min(end + max(4, (length + 3) & ~3), bundle.count)
                if 12 + next - start > maxPacketSize, end > start { break }
                if bundle[end] == 0, length > 16 { countData(bundle, at: end, length) }
                end = next
            }
            // What is too short for a chunk goes along.
            if bundle.count - end < 4 { end = bundle.count }
            append(
                header: UnsafeRawBufferPointer(rebasing: bundle[..<12]),
                chunks: UnsafeRawBufferPointer(rebasing: bundle[start..<end]))
            start = end
        } while start < bundle.count
    }

    private mutating func append(header: UnsafeRawBufferPointer, chunks: UnsafeRawBufferPointer) {
        // A SACK (type 3) may have more gap blocks than fit; those left out are reported by a later one.
        let isLongSACK = header.count + chunks.count > maxPacketSize && chunks.count >= 16 && chunks[0] == 3
        let blocks = (maxPacketSize - header.count - 16) / 4
        let chunks = isLongSACK ? UnsafeRawBufferPointer(rebasing: chunks[..<(16 + 4 * blocks)]) : chunks
        let announces = announcesZeroChecksum && ZeroChecksum.isAnnouncement(chunks)
        let prefix = prefixesLength ? 2 : 0
        let longest = prefix + header.count + chunks.count + (announces ? ZeroChecksum.announcementLength : 0)
        packets.append(maximumLength: longest) { [zeroChecksum] room in
            let packet = UnsafeMutableRawBufferPointer(rebasing: room[prefix...])
            var count = header.count + chunks.count
            packet.copyMemory(from: header)
            UnsafeMutableRawBufferPointer(rebasing: packet[header.count...]).copyMemory(from: chunks)
            if isLongSACK {
                Self.shortenSACK(UnsafeMutableRawBufferPointer(rebasing: packet[header.count...]), to: blocks)
            }
            if announces {
                let body = UnsafeMutableRawBufferPointer(rebasing: packet[header.count...])
                count = header.count + ZeroChecksum.announce(in: body, count: chunks.count)
            }
            let whole = UnsafeMutableRawBufferPointer(rebasing: packet[..<count])
            if zeroChecksum.omitsChecksum(of: UnsafeRawBufferPointer(whole)) {
                whole.storeBytes(of: 0, toByteOffset: 8, as: UInt32.self)
            } else {
                SCTPChecksum.write(into: whole)
            }
            if prefix > 0 { room.storeBytes(of: UInt16(truncatingIfNeeded: count).bigEndian, as: UInt16.self) }
            return prefix + count
        }
    }

    /// Corrects the length and the counts of a SACK that was cut behind its first `limit` blocks (RFC 9260 §3.3.4: gap
    /// blocks, then duplicate numbers).
    private static func shortenSACK(_ chunk: UnsafeMutableRawBufferPointer, to limit: Int) {
        let gaps = Int(UInt16(bigEndian: chunk.loadUnaligned(fromByteOffset: 12, as: UInt16.self)))
        let duplicates = Int(UInt16(bigEndian: chunk.loadUnaligned(fromByteOffset: 14, as: UInt16.self)))
        let keptGaps = min(gaps, limit)
        chunk.storeBytes(of: UInt16(chunk.count).bigEndian, toByteOffset: 2, as: UInt16.self)
        chunk.storeBytes(of: UInt16(keptGaps).bigEndian, toByteOffset: 12, as: UInt16.self)
        chunk.storeBytes(of: UInt16(min(duplicates, limit - keptGaps)).bigEndian, toByteOffset: 14, as: UInt16.self)
    }

    /// Counts the user data of a DATA chunk (RFC 9260 §3.3.1: TSN at 4, stream at 8, payload protocol at 12) that
    /// leaves for the first time.
    private mutating func countData(_ packet: UnsafeRawBufferPointer, at offset: Int, _ length: Int) {
        guard offset + 16 <= packet.count else { return }
        let tsn = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
        if let highestTSN, Int32(bitPattern: tsn &- highestTSN) <= 0 { return }
        highestTSN = tsn
        let ppid = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self))
        if let known = PayloadProtocol(rawValue: ppid), !known.countsAsBuffered { return }
        let stream = Int(UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 8, as: UInt16.self)))
        if stream >= transmitted.count {
            transmitted.append(contentsOf: repeatElement(0, count: stream + 1 - transmitted.count))
        }
        transmitted[stream] += length - 16
        totalTransmitted += length - 16
    }
}
