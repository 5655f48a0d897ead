// SPDX-License-Identifier: Apache-2.0
internal import Hashing
internal import Wire

/// How a message is authenticated: an algorithm and a key.
public struct STUNIntegrity: Hashable, Sendable {
    /// Which attribute carries the proof.
    public enum Algorithm: Sendable, Hashable {
        /// MESSAGE-INTEGRITY (RFC 8489 §14.5).
        case sha1
        /// MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6), whole.
        case sha256

        /// Bytes of the attribute's value.
        var length: Int {
            switch self {
            case .sha1: 20
            case .sha256: 32
            }
        }
        var kind: STUNAttribute.Kind {
            switch self {
            case .sha1: .messageIntegrity
            case .sha256: .messageIntegritySHA256
            }
        }
    }

    /// The algorithm.
    public let algorithm: Algorithm
    /// The key of the HMAC: the password's bytes with short-term credentials (RFC 8489 §9.1.1).
    public let key: [UInt8]

    /// Authentication with a key.
    public init(key: [UInt8], algorithm: Algorithm = .sha1) {
        self.key = key
        self.algorithm = algorithm
    }

    /// The HMAC over `covered`, the message up to where the attribute starts, its length field made to reach that
    /// attribute's end.
    func code(for covered: [UInt8]) -> [UInt8] {
        var message = covered
        let length = message.count - STUNMessage.headerLength + 4 + algorithm.length
        message[2] = UInt8(truncatingIfNeeded: length >> 8)
        message[3] = UInt8(truncatingIfNeeded: length)
        return switch algorithm {
        case .sha1: HMAC.sha1(key: key, message: message)
        case .sha256: HMAC.sha256(key: key, message: message)
        }
    }
}

extension STUNMessage {
    /// The strongest integrity attribute of a message that was read; `nil` where there is none.
    public var integrityAlgorithm: STUNIntegrity.Algorithm? {
        if integrityOffsets.sha256 != nil { return .sha256 }
        return integrityOffsets.sha1 != nil ? .sha1 : nil
    }

    /// Whether `bytes`, those that this message was read from, carry the proof that `key` made them. With both integrity
    /// attributes present RFC 8489 §9.1.3 has the SHA-256 one checked: ``integrityAlgorithm``.
    public func isAuthentic(_ bytes: RawSpan, key: [UInt8], algorithm: STUNIntegrity.Algorithm) -> Bool {
        let position = algorithm == .sha1 ? integrityOffsets.sha1 : integrityOffsets.sha256
        guard let offset = position, offset + 4 + algorithm.length <= bytes.byteCount else { return false }
        let covered = [UInt8](copying: bytes.extracting(0..<offset))
        let expected = STUNIntegrity(key: key, algorithm: algorithm).code(for: covered)
        let claimed = [UInt8](copying: bytes.extracting(offset + 4..<offset + 4 + algorithm.length))
        return HMAC.isEqual(claimed, expected)
    }

    /// The message on the wire: attributes with zero padding, then the integrity attribute, then FINGERPRINT.
    public func encoded(integrity: STUNIntegrity? = nil, fingerprint: Bool = true) -> [UInt8] {
        var writer = ByteWriter(capacity: 160)
        writer.write(bigEndian: wireType)
        writer.write(bigEndian: UInt16(0))
        writer.write(bigEndian: Self.magicCookie)
        writer.write(bigEndian: transactionID.high)
        writer.write(bigEndian: transactionID.low)
        for attribute in attributes { writer.write(attribute.kind, attribute.value) }
        if let integrity { writer.write(integrity.algorithm.kind, integrity.code(for: writer.bytes)) }
        let length = writer.count - Self.headerLength + (fingerprint ? 8 : 0)
        writer.overwrite(bigEndian: UInt16(truncatingIfNeeded: length), at: 2)
        if fingerprint {
            let value = writer.bytes.withUnsafeBytes { Self.fingerprintValue(of: RawSpan(_unsafeBytes: $0)) }
            writer.write(bigEndian: STUNAttribute.Kind.fingerprint.rawValue)
            writer.write(bigEndian: UInt16(4))
            writer.write(bigEndian: value)
        }
        return writer.bytes
    }

    /// The CRC-32 of what stands before FINGERPRINT, masked (RFC 8489 §14.7). The length field already counts FINGERPRINT.
    static func fingerprintValue(of covered: RawSpan) -> UInt32 {
        CRC32.checksum(covered) ^ 0x5354_554E
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ kind: STUNAttribute.Kind, _ value: [UInt8]) {
        // What does not fit the length field cannot come from here: values are made of bounded parts.
        precondition(value.count <= UInt16.max)
        write(bigEndian: kind.rawValue)
        write(bigEndian: UInt16(value.count))
        write(value)
        writeZeros(-value.count & 3)
    }
}
