// SPDX-License-Identifier: Apache-2.0
internal import Wire

//  0                   1                   2                   3
//  +---+---------------------------+-------------------------------+
//  |0 0|     Message type (14)     |        Message length         |
//  +---+---------------------------+-------------------------------+
//  |                         Magic cookie                          |   RFC 8489 §5
//  +---------------------------------------------------------------+
//  |                   Transaction ID (96 bits)                    |
//  +---------------------------------------------------------------+
//  |  attributes, each on a multiple of four bytes              ....

/// A STUN message (RFC 8489): a class, a method, a transaction and attributes.
///
/// The attributes held are those that count: what stands behind MESSAGE-INTEGRITY is left out on reading (RFC 8489
/// §14.5), and the integrity attributes and FINGERPRINT are written by ``encoded(integrity:fingerprint:)`` and never
/// held.
public struct STUNMessage: Hashable, Sendable {
    /// What a message is within its transaction.
    public enum Class: UInt16, Sendable, Hashable {
        /// Wants a response.
        case request = 0
        /// Wants none.
        case indication = 1
        /// The request was done.
        case success = 2
        /// The request was refused, ERROR-CODE says why.
        case error = 3
    }

    /// What a message is about, 12 bits.
    public struct Method: RawRepresentable, Hashable, Sendable {
        /// The number on the wire.
        public let rawValue: UInt16
        /// A method from its number, of which 12 bits count.
        public init(rawValue: UInt16) {
            self.rawValue = rawValue & 0xFFF
        }
        /// Asks for the own address, checks a path, keeps a binding alive (RFC 8489 §3).
        public static let binding = Method(rawValue: 1)

        // RFC 8656 §17.
        /// Asks a server for a relayed address.
        public static let allocate = Method(rawValue: 3)
        /// Prolongs or ends an allocation.
        public static let refresh = Method(rawValue: 4)
        /// Data for a peer, as an indication.
        public static let send = Method(rawValue: 6)
        /// Data from a peer, as an indication.
        public static let data = Method(rawValue: 7)
        /// Lets peers' addresses send to the relayed address.
        public static let createPermission = Method(rawValue: 8)
        /// Gives a peer a channel, whose messages have a header of four bytes.
        public static let channelBind = Method(rawValue: 9)
    }

    /// The class.
    public var messageClass: Class
    /// The method.
    public var method: Method
    /// The transaction.
    public var transactionID: STUNTransactionID
    /// The attributes in order. Of several of one kind the first counts.
    public var attributes: [STUNAttribute]
    /// What the FINGERPRINT of a message that was read is worth; ``Fingerprint/absent`` for one that was made here.
    public private(set) var fingerprint: Fingerprint = .absent
    /// Where the integrity attributes of a message that was read stand, counted from its start.
    private(set) var integrityOffsets: (sha1: Int?, sha256: Int?) = (nil, nil)

    /// The fixed value of bytes 4 to 7 (RFC 8489 §5).
    public static let magicCookie: UInt32 = 0x2112_A442
    /// Bytes before the first attribute.
    public static let headerLength = 20

    /// What a FINGERPRINT is worth.
    public enum Fingerprint: Sendable, Hashable {
        /// There was none.
        case absent
        /// There was one, and it is right.
        case valid
        /// There was one, and it is wrong: this is likely no STUN at all.
        case invalid
    }

    /// A message from its parts.
    public init(
        _ messageClass: Class, _ method: Method = .binding, transactionID: STUNTransactionID,
        attributes: [STUNAttribute] = []
    ) {
        self.messageClass = messageClass
        self.method = method
        self.transactionID = transactionID
        self.attributes = attributes
    }

    /// Reads a message that fills `bytes` exactly. Nothing is authenticated by that: see
    /// ``isAuthentic(_:key:algorithm:)``.
    public init(decoding bytes: RawSpan) throws(STUNError) {
        guard bytes.byteCount >= Self.headerLength else { throw .tooShort }
        let header = try Header(bytes)
        self.init(header.messageClass, header.method, transactionID: header.transactionID)
        var offset = Self.headerLength
        while offset < bytes.byteCount {
            guard fingerprint == .absent else { throw .attributeAfterFingerprint(offset: offset) }
            let (kind, value) = try Self.attribute(in: bytes, at: offset)
            try take(kind, value, of: bytes, at: offset)
            offset += 4 + Self.padded(value.count)
        }
    }

    /// The first attribute of a kind.
    public func first(_ kind: STUNAttribute.Kind) -> [UInt8]? {
        attributes.first { $0.kind == kind }?.value
    }

    /// Reads type and length at `offset` and answers where the value lies.
    static func attribute(
        in bytes: RawSpan, at offset: Int
    ) throws(STUNError) -> (kind: STUNAttribute.Kind, value: Range<Int>) {
        guard let kind = bytes.uint16(at: offset), let length = bytes.uint16(at: offset + 2) else {
            throw .attributeOverrun(offset: offset)
        }
        let end = offset + 4 + Int(length)
        guard end <= bytes.byteCount else { throw .attributeOverrun(offset: offset) }
        return (STUNAttribute.Kind(rawValue: kind), offset + 4..<end)
    }

    /// What a value of a length takes up: values start at multiples of four (RFC 8489 §14).
    static func padded(_ length: Int) -> Int { (length + 3) / 4 * 4 }

    private mutating func take(
        _ kind: STUNAttribute.Kind, _ value: Range<Int>, of bytes: RawSpan, at offset: Int
    ) throws(STUNError) {
        let isProtected = integrityOffsets.sha1 == nil && integrityOffsets.sha256 == nil
        switch kind {
        case .messageIntegrity where isProtected:
            guard value.count == STUNIntegrity.Algorithm.sha1.length else {
                throw .wrongAttributeLength(kind, value.count)
            }
            integrityOffsets.sha1 = offset
        case .messageIntegritySHA256 where integrityOffsets.sha256 == nil:
            // RFC 8489 §14.6: truncation only where the usage says so, and neither ICE nor TURN does.
            guard value.count == STUNIntegrity.Algorithm.sha256.length else {
                throw .wrongAttributeLength(kind, value.count)
            }
            integrityOffsets.sha256 = offset
        case .fingerprint:
            guard value.count == 4 else { throw .wrongAttributeLength(kind, value.count) }
            let expected = Self.fingerprintValue(of: bytes.extracting(0..<offset))
            fingerprint = bytes.uint32(at: value.lowerBound) == expected ? .valid : .invalid
        default:
            guard isProtected else { break }
            attributes.append(STUNAttribute(kind, [UInt8](copying: bytes.extracting(value))))
        }
    }

    /// Equal in class, method, transaction and attributes; how a message was proved does not count.
    public static func == (lhs: STUNMessage, rhs: STUNMessage) -> Bool {
        lhs.messageClass == rhs.messageClass && lhs.method == rhs.method && lhs.transactionID == rhs.transactionID
            && lhs.attributes == rhs.attributes
    }

    /// Hashes what makes messages equal.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(transactionID)
        hasher.combine(messageClass)
        hasher.combine(method)
        hasher.combine(attributes)
    }
}

extension STUNMessage {
    /// The first 20 bytes, checked.
    struct Header {
        let messageClass: Class
        let method: Method
        let transactionID: STUNTransactionID

        init(_ bytes: RawSpan) throws(STUNError) {
            guard let type = bytes.uint16(at: 0), let length = bytes.uint16(at: 2), let cookie = bytes.uint32(at: 4),
                let high = bytes.uint32(at: 8), let middle = bytes.uint32(at: 12), let low = bytes.uint32(at: 16)
            else { throw .tooShort }
            // RFC 8489 §6.3: in this order, so that what shares the port is named as such.
            guard type & 0xC000 == 0 else { throw .notSTUN }
            guard cookie == STUNMessage.magicCookie else { throw .wrongCookie }
            guard length & 3 == 0, Int(length) == bytes.byteCount - STUNMessage.headerLength else {
                throw .wrongLength(claimed: Int(length), actual: bytes.byteCount - STUNMessage.headerLength)
            }
            // The class bits stand at positions 4 and 8, between those of the method.
            messageClass = Class(rawValue: type >> 4 & 1 | type >> 7 & 2) ?? .request
            method = Method(rawValue: type & 0xF | type >> 1 & 0x70 | type >> 2 & 0xF80)
            transactionID = STUNTransactionID(high: high, low: UInt64(middle) << 32 | UInt64(low))
        }
    }

    /// The first two bytes of a message.
    var wireType: UInt16 {
        let m = method.rawValue
        let c = messageClass.rawValue
        return m & 0xF | (m & 0x70) << 1 | (m & 0xF80) << 2 | (c & 1) << 4 | (c & 2) << 7
    }
}

extension RawSpan {
    /// Two bytes at `offset` in network order, `nil` past the end.
    func uint16(at offset: Int) -> UInt16? {
        guard let high = byte(at: offset), let low = byte(at: offset + 1) else { return nil }
        return UInt16(high) << 8 | UInt16(low)
    }

    /// Four bytes at `offset` in network order, `nil` past the end.
    func uint32(at offset: Int) -> UInt32? {
        guard let high = uint16(at: offset), let low = uint16(at: offset + 2) else { return nil }
        return UInt32(high) << 16 | UInt32(low)
    }
}
