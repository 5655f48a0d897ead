// SPDX-License-Identifier: Apache-2.0

private import COpenSSL
internal import Wire

// OpenSSL does the handshake, and everything but application data afterwards. Application data is protected here, with
// the keys that the handshake agreed on: SSL_write and SSL_read cost a third more than the cipher, and a copy each.
//
//     receiving   from the first record on: OpenSSL never sees one of type application_data
//     sending     by OpenSSL until the peer is known to be done with the handshake, then here: a client knows at once,
//                 a server when the first record of application data opens. Until then OpenSSL may have to repeat its
//                 last flight, in which record numbers go on; from then on it must not write any more, and cannot.

/// Protects and opens application data records of one DTLS 1.2 session (RFC 6347 §4.1, RFC 5288, RFC 7905).
struct RecordProtection: ~Copyable {
    /// The epoch of every protected record: a session has one handshake (RFC 8827 §6.5).
    private static let epoch: UInt64 = 1
    /// RFC 6347 §4.1: sequence numbers have 48 bits.
    private static let lastSequence: UInt64 = 1 << 48 - 1
    /// A record's content types (RFC 5246 §6.2.1).
    static let alert: UInt8 = 21
    static let applicationData: UInt8 = 23

    private let records: UnsafeMutablePointer<shim_records>
    private var window = ReplayWindow()
    /// The sequence number of the next record to send, `nil` while OpenSSL writes.
    private var nextSequence: UInt64?

    /// The protection of a session whose handshake is complete; `nil` for a cipher that is not known here.
    init?(_ ssl: OpaquePointer) {
        guard let records = shim_records_new(ssl) else { return nil }
        self.records = records
    }

    deinit { shim_records_free(records) }

    /// Whether records are sent here and no longer by OpenSSL.
    var isSending: Bool { nextSequence != nil }

    /// Goes on where OpenSSL stopped, so that neither a number nor a nonce is used twice.
    mutating func beginSending(after last: DatagramPort.LastRecord) {
        guard nextSequence == nil, last.sequence < Self.lastSequence else { return }
        let done = withUnsafeBytes(of: last.nonce) {
            shim_records_continue(records, $0.baseAddress?.assumingMemoryBound(to: UInt8.self))
        }
        if done == 1 { nextSequence = last.sequence + 1 }
    }

    /// Writes a record into `room`, which is longer by `DTLSTransport.recordOverhead` at least. Answers its length, 0
    /// where there are no numbers left.
    mutating func seal(
        _ plaintext: UnsafeRawBufferPointer, type: UInt8, into room: UnsafeMutableRawBufferPointer
    ) -> Int {
        guard let sequence = nextSequence, sequence <= Self.lastSequence,
            room.count >= plaintext.count + DTLSTransport.recordOverhead
        else { return 0 }
        nextSequence = sequence + 1
        return shim_records_seal(
            records, room.baseAddress?.assumingMemoryBound(to: UInt8.self), type, Self.epoch << 48 | sequence,
            plaintext.baseAddress, plaintext.count)
    }

    /// Opens a record behind the packets of `plaintext`. Answers false for one that is forged, damaged or a repetition.
    mutating func open(_ record: RawSpan, into plaintext: inout PacketBuffer) -> Bool {
        guard let sequence = Self.sequence(of: record), window.admits(sequence) else { return false }
        var isGood = false
        plaintext.append(maximumLength: record.byteCount - RecordFilter.headerLength) { [records] room in
            let count = record.withUnsafeBytes {
                shim_records_open(
                    records, $0.baseAddress?.assumingMemoryBound(to: UInt8.self), $0.count,
                    room.baseAddress?.assumingMemoryBound(to: UInt8.self))
            }
            isGood = count >= 0
            return max(Int(count), 0)
        }
        if isGood { window.note(sequence) }
        return isGood
    }

    /// The length of a whole record of protected application data that starts at `offset`, `nil` for anything else.
    static func recordLength(in datagram: RawSpan, at offset: Int) -> Int? {
        guard datagram.byteCount - offset > RecordFilter.headerLength else { return nil }
        return datagram.withUnsafeBytes { bytes in
            // Type, version, epoch; OpenSSL agrees on DTLS 1.2 alone.
            let start = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) >> 24
            guard start == UInt64(Self.applicationData) << 32 | 0xFEFD << 16 | Self.epoch else { return nil }
            let length = Int(UInt16(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 11, as: UInt16.self)))
            guard length > 0, length <= bytes.count - offset - RecordFilter.headerLength else { return nil }
            return RecordFilter.headerLength + length
        }
    }

    private static func sequence(of record: RawSpan) -> UInt64? {
        guard record.byteCount > RecordFilter.headerLength else { return nil }
        return record.withUnsafeBytes {
            UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 3, as: UInt64.self)) & Self.lastSequence
        }
    }
}

/// Which records were received, as far as that is remembered (RFC 6347 §4.1.2.6). Trains of packets that overtake each
/// other want more than the 64 that are asked for at least.
struct ReplayWindow {
    /// How far a record may lag behind the newest.
    static let width: UInt64 = 128

    private var highest: UInt64?
    /// Bit n stands for `highest - n`.
    private var seen: UInt128 = 0

    /// Whether a record is new.
    func admits(_ sequence: UInt64) -> Bool {
        guard let highest, sequence <= highest else { return true }
        let lag = highest - sequence
        return lag < Self.width && seen & (1 << UInt128(lag)) == 0
    }

    /// Notes a record whose protection held.
    mutating func note(_ sequence: UInt64) {
        guard let highest else {
            self.highest = sequence
            seen = 1
            return
        }
        if sequence > highest {
            let step = sequence - highest
            seen = step < Self.width ? seen << UInt128(step) | 1 : 1
            self.highest = sequence
        } else if highest - sequence < Self.width {
            seen |= 1 << UInt128(highest - sequence)
        }
    }
}
