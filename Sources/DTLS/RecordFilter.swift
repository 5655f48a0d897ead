// SPDX-License-Identifier: Apache-2.0

internal import Wire

//     0      1            3            5                          11         13
//     +------+------------+------------+--------------------------+----------+----------
//     | type |  version   |   epoch    |     sequence number      |  length  | fragment …       RFC 6347 §4.1
//     +------+------------+------------+--------------------------+----------+----------
//
//     Handshake fragment: type (1) · length (3) · message_seq (2) · fragment_offset (3) · fragment_length (3)  §4.2.2

/// Looks at a datagram before OpenSSL does: what cannot be DTLS 1.2, or would make OpenSSL give up a handshake although
/// anybody could have sent it, is dropped (RFC 6347 §4.1.2.7: invalid records are discarded silently).
enum RecordFilter {
    static let headerLength = 13
    private static let handshakeHeaderLength = 12
    /// No message of a handshake is longer; certificates are the largest.
    private static let longestHandshakeMessage = 65_536

    /// Where the whole and plausible records that start at `start` end, those of application data left out; `start`
    /// when there is none.
    static func usableEnd(of datagram: RawSpan, from start: Int) -> Int {
        var offset = start
        while RecordProtection.recordLength(in: datagram, at: offset) == nil,
            let length = recordLength(in: datagram, at: offset)
        {
            offset += length
        }
        return offset
    }

    private static func recordLength(in datagram: RawSpan, at offset: Int) -> Int? {
        guard datagram.byteCount - offset > headerLength else { return nil }
        let header = datagram.extracting(offset..<offset + headerLength)
        var reader = ByteReader(header)
        guard let type = try? reader.readUInt8(), let version = try? reader.readUInt16(),
            let epoch = try? reader.readUInt16(), (try? reader.skip(6)) != nil, let length = try? reader.readUInt16()
        else { return nil }
        // change_cipher_spec 20, alert 21, handshake 22, application_data 23 (RFC 5246 §6.2.1). The first record of a
        // client may say 1.0 (RFC 6347 §4.1).
        guard (20...23).contains(type), version == 0xFEFD || version == 0xFEFF else { return nil }
        let end = headerLength + Int(length)
        guard length > 0, end <= datagram.byteCount - offset else { return nil }
        if epoch == 0 {
            let fragment = datagram.extracting(offset + headerLength..<offset + end)
            guard isPlausiblePlaintext(type: type, fragment) else { return nil }
        }
        return end
    }

    /// Whether an unprotected record is formed like one. Application data never goes unprotected.
    private static func isPlausiblePlaintext(type: UInt8, _ fragment: RawSpan) -> Bool {
        switch type {
        case 20: return fragment.byteCount == 1 && fragment.byte(at: 0) == 1
        case 21: return fragment.byteCount == 2 && (fragment.byte(at: 0) == 1 || fragment.byte(at: 0) == 2)
        case 22: return isHandshake(fragment)
        default: return false
        }
    }

    private static func isHandshake(_ fragment: RawSpan) -> Bool {
        var reader = ByteReader(fragment)
        while reader.remaining > 0 {
            guard let type = try? reader.readUInt8(), let length = readUInt24(&reader),
                (try? reader.readUInt16()) != nil,
                let offset = readUInt24(&reader), let count = readUInt24(&reader), (try? reader.skip(count)) != nil
            else { return false }
            switch type {
            // The messages of RFC 5246 §7.4, hello_verify_request (RFC 6347 §4.3.2), new_session_ticket (RFC 5077 §3.3)
            // and certificate_status (RFC 6066 §8). finished (20) always goes protected.
            case 0...4, 11...16, 22: break
            default: return false
            }
            guard length <= longestHandshakeMessage, offset + count <= length else { return false }
        }
        return true
    }

    private static func readUInt24(_ reader: inout ByteReader) -> Int? {
        guard let high = try? reader.readUInt8(), let low = try? reader.readUInt16() else { return nil }
        return Int(high) << 16 | Int(low)
    }
}
