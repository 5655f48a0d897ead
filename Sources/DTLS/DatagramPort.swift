// SPDX-License-Identifier: Apache-2.0

private import COpenSSL
internal import Wire

/// What stands where OpenSSL expects a socket: a BIO that reads the one datagram which is being received, appends each
/// write as one packet to a buffer, and takes the retransmission timer's orders.
///
/// It lives at a fixed address, because OpenSSL's callbacks find it through a pointer; ``DTLSTransport`` owns it.
struct DatagramPort: ~Copyable {
    /// The datagram in hand, borrowed for the length of one call; empty when it has been read.
    var incoming = UnsafeRawBufferPointer(start: nil, count: 0)
    /// What is to be sent, one packet a datagram.
    var outgoing = PacketBuffer()
    /// The newest protected record that OpenSSL wrote.
    var lastRecord = LastRecord()
    /// Whether what OpenSSL writes is thrown away, because it does not number records any more.
    var isMuted = false
    /// The time of the current call.
    var now = Timestamp.zero
    /// The retransmission timer.
    var timer: RetransmissionTimer
    /// What the peer's certificate has to match, `nil` while nobody knows.
    var expectedFingerprints: [DTLSFingerprint]?
    /// Why the peer's certificate was refused.
    var rejection: DTLSError?
    /// Where secrets go for those who asked for them.
    var keyLog: (@Sendable (String) -> Void)?

    /// What counts on from record to record.
    struct LastRecord {
        /// The 48-bit sequence number.
        var sequence: UInt64 = 0
        /// What stands behind the header: the explicit nonce of AES-GCM (RFC 5288 §3), in the order of the wire.
        var nonce: UInt64 = 0
    }

    init(timer: RetransmissionTimer) {
        self.timer = timer
    }

    /// Looks for protected records in a datagram that OpenSSL wrote.
    private mutating func note(_ datagram: UnsafeRawBufferPointer) {
        var offset = 0
        while offset + RecordFilter.headerLength + 8 <= datagram.count {
            let number = UInt64(bigEndian: datagram.loadUnaligned(fromByteOffset: offset + 3, as: UInt64.self))
            if number >> 48 == 1 {
                lastRecord.sequence = number & (1 << 48 - 1)
                lastRecord.nonce = datagram.loadUnaligned(
                    fromByteOffset: offset + RecordFilter.headerLength, as: UInt64.self)
            }
            let length = UInt16(bigEndian: datagram.loadUnaligned(fromByteOffset: offset + 11, as: UInt16.self))
            offset += RecordFilter.headerLength + Int(length)
        }
    }

    /// The port of a session, through its BIO.
    static func of(_ ssl: OpaquePointer?) -> UnsafeMutablePointer<DatagramPort>? {
        guard let ssl else { return nil }
        return of(bio: SSL_get_rbio(ssl))
    }

    private static func of(bio: OpaquePointer?) -> UnsafeMutablePointer<DatagramPort>? {
        BIO_get_data(bio)?.assumingMemoryBound(to: DatagramPort.self)
    }

    /// A BIO on a port, to be handed to `SSL_set_bio`, which then owns it. The port has to outlive the session.
    static func makeBIO(on port: UnsafeMutablePointer<DatagramPort>) -> OpaquePointer? {
        guard let bio = BIO_new(method) else { return nil }
        BIO_set_data(bio, port)
        BIO_set_init(bio, 1)
        return bio
    }

    /// Made once and never freed. `nil` only when memory ran out.
    private nonisolated(unsafe) static let method: OpaquePointer? = {
        // 0x400 is BIO_TYPE_SOURCE_SINK.
        let method = BIO_meth_new(BIO_get_new_index() | 0x400, "datagram port")
        BIO_meth_set_write(method) { bio, bytes, count in
            guard let port = DatagramPort.of(bio: bio), let bytes, count > 0 else { return 0 }
            if port.pointee.isMuted { return count }
            port.pointee.note(UnsafeRawBufferPointer(start: bytes, count: Int(count)))
            port.pointee.outgoing.append(maximumLength: Int(count)) { room in
                room.copyMemory(from: UnsafeRawBufferPointer(start: bytes, count: Int(count)))
                return Int(count)
            }
            return count
        }
        BIO_meth_set_read(method) { bio, bytes, room in
            BIO_clear_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
            guard let port = DatagramPort.of(bio: bio), let bytes, !port.pointee.incoming.isEmpty else {
                BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY)
                return -1
            }
            // Like a datagram socket: one read takes the whole datagram, and what has no room is lost.
            let count = min(port.pointee.incoming.count, Int(room))
            UnsafeMutableRawBufferPointer(start: bytes, count: count)
                .copyMemory(from: UnsafeRawBufferPointer(rebasing: port.pointee.incoming[..<count]))
            port.pointee.incoming = UnsafeRawBufferPointer(start: nil, count: 0)
            return Int32(count)
        }
        BIO_meth_set_ctrl(method) { bio, command, _, argument in
            guard let port = DatagramPort.of(bio: bio) else { return 0 }
            switch command {
            case BIO_CTRL_FLUSH: return 1
            case BIO_CTRL_PENDING: return port.pointee.incoming.count
            case BIO_CTRL_DGRAM_SET_NEXT_TIMEOUT:
                if let argument { port.pointee.timer.rescheduled(argument, now: port.pointee.now) }
                return 1
            default: return 0
            }
        }
        BIO_meth_set_create(method) { _ in 1 }
        BIO_meth_set_destroy(method) { _ in 1 }
        return method
    }()
}
