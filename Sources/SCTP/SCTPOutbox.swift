// SPDX-License-Identifier: Apache-2.0
internal import Synchronization
internal import Wire

/// Where usrsctp's output callback leaves the packets of one association, and what it learns from them.
///
/// Its lock is a leaf: it is taken inside calls of usrsctp and nothing is called while it is held. Outboxes are pooled and
/// never freed, so a late packet of a closed association finds one with another handle and is dropped.
final class SCTPOutbox: Sendable {
    /// What the lock guards.
    struct State: ~Copyable {
        /// Whose packets these are; `nil` while the outbox lies in the pool.
        var owner: SCTPHandle?
        /// Waiting to be sent.
        var packets = PacketBuffer(capacity: 2048)
        /// Payload bytes of user messages that were put into packets for the first time, counted by stream.
        var transmitted: [Int] = []
        /// The sum of `transmitted`.
        var totalTransmitted = 0
        /// The newest transmission sequence number seen; retransmissions lie at or before it.
        var highestTSN: UInt32?
    }

    let state = Mutex(State())

    /// Takes a finished packet but for its checksum. Answers whether it was the first to wait.
    func append(_ packet: UnsafeMutableRawBufferPointer, from handle: SCTPHandle) -> Bool {
        guard packet.count >= 12 else { return false }
        SCTPChecksum.write(into: packet)
        return state.withLock { state in
            guard state.owner == handle else { return false }
            let wasEmpty = state.packets.isEmpty
            state.packets.append(maximumLength: packet.count) { destination in
                destination.copyMemory(from: UnsafeRawBufferPointer(packet))
                return packet.count
            }
            state.countData(UnsafeRawBufferPointer(packet))
            return wasEmpty
        }
    }

    /// Moves what waits behind the packets of `buffer`.
    func take(into buffer: inout PacketBuffer) {
        state.withLock { state in
            if state.packets.isEmpty { return }
            if buffer.isEmpty, state.packets.byteCount > 4096 {
                swap(&buffer, &state.packets)
            } else {
                for index in 0..<state.packets.count { buffer.append(state.packets[index]) }
                state.packets.removeAll()
            }
        }
    }
}

extension SCTPOutbox.State {
    /// Forgets everything and belongs to `handle`.
    mutating func reset(owner: SCTPHandle?) {
        self.owner = owner
        packets.removeAll()
        transmitted.removeAll()
        totalTransmitted = 0
        highestTSN = nil
    }

    /// Walks the chunks of one of our own packets (RFC 9260 §3.2) and counts user data that leaves for the first time.
    fileprivate mutating func countData(_ packet: UnsafeRawBufferPointer) {
        var offset = 12
        while offset + 16 <= packet.count {
            let length = Int(UInt16(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 2, as: UInt16.self)))
            // DATA (RFC 9260 §3.3.1): type 0, TSN at 4, stream at 8, payload protocol at 12, user data from 16.
            if packet[offset] == 0, length > 16 {
                let tsn = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self))
                let isNew = highestTSN.map { Int32(bitPattern: tsn &- $0) > 0 } ?? true
                if isNew {
                    highestTSN = tsn
                    let ppid = UInt32(bigEndian: packet.loadUnaligned(fromByteOffset: offset + 12, as: UInt32.self))
                    if PayloadProtocol(rawValue: ppid)?.countsAsBuffered ?? true {
                        let stream = packet.loadUnaligned(fromByteOffset: offset + 8, as: UInt16.self)
                        count(length - 16, on: Int(UInt16(bigEndian: stream)))
                    }
                }
            }
            offset += max(4, (length + 3) & ~3)
        }
    }

    private mutating func count(_ bytes: Int, on stream: Int) {
        if stream >= transmitted.count {
            transmitted.append(contentsOf: repeatElement(0, count: stream + 1 - transmitted.count))
        }
        transmitted[stream] += bytes
        totalTransmitted += bytes
    }
}
