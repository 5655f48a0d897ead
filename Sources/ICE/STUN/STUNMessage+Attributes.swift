// SPDX-License-Identifier: Apache-2.0
public import Wire

/// Attributes with their meaning.
extension STUNMessage {
    /// USERNAME as text; `nil` where it is absent or not UTF-8.
    public var username: String? {
        first(.username).flatMap { String(validating: $0, as: UTF8.self) }
    }

    /// The address in XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
    public var xorMappedAddress: SocketAddress? {
        first(.xorMappedAddress).flatMap { Self.address($0, mask: transactionID) }
    }

    /// The address in MAPPED-ADDRESS, as a server from before RFC 5389 answers (RFC 8489 §14.1).
    public var mappedAddress: SocketAddress? {
        first(.mappedAddress).flatMap { Self.address($0, mask: nil) }
    }

    /// What an error response says.
    public var errorCode: STUNErrorCode? {
        first(.errorCode).flatMap { STUNErrorCode(attributeValue: $0) }
    }

    /// PRIORITY (RFC 8445 §7.1.1).
    public var priority: UInt32? {
        first(.priority).flatMap { $0.count == 4 ? UInt32($0) : nil }
    }

    /// Whether USE-CANDIDATE is present (RFC 8445 §7.1.2).
    public var hasUseCandidate: Bool { first(.useCandidate) != nil }

    /// The tie-breaker of a sender that believes to be controlling (RFC 8445 §7.1.3).
    public var iceControlling: UInt64? {
        first(.iceControlling).flatMap { $0.count == 8 ? UInt64($0) : nil }
    }

    /// The tie-breaker of a sender that believes to be controlled (RFC 8445 §7.1.3).
    public var iceControlled: UInt64? {
        first(.iceControlled).flatMap { $0.count == 8 ? UInt64($0) : nil }
    }

    /// The kinds that must be understood and are not among `known`, in order, each once (RFC 8489 §6.3.1).
    public func unknownRequired(known: Set<STUNAttribute.Kind>) -> [STUNAttribute.Kind] {
        var unknown: [STUNAttribute.Kind] = []
        for attribute in attributes where attribute.kind.isComprehensionRequired {
            if !known.contains(attribute.kind), !unknown.contains(attribute.kind) { unknown.append(attribute.kind) }
        }
        return unknown
    }

    /// Appends an address masked with the cookie and the transaction (RFC 8489 §14.2).
    public mutating func append(xorAddress address: SocketAddress, as kind: STUNAttribute.Kind = .xorMappedAddress) {
        var writer = ByteWriter(capacity: 20)
        writer.write(0)
        writer.write(address.ip.family == .v4 ? 1 : 2)
        writer.write(bigEndian: address.port ^ UInt16(truncatingIfNeeded: Self.magicCookie >> 16))
        let ip = Self.masked(address.ip, with: transactionID)
        writer.write(ip.bytes)
        attributes.append(STUNAttribute(kind, writer.bytes))
    }

    /// Appends a number in network order.
    public mutating func append(_ kind: STUNAttribute.Kind, _ number: some FixedWidthInteger) {
        var writer = ByteWriter(capacity: 8)
        writer.write(bigEndian: number)
        attributes.append(STUNAttribute(kind, writer.bytes))
    }

    /// Appends text.
    public mutating func append(_ kind: STUNAttribute.Kind, _ text: String) {
        attributes.append(STUNAttribute(kind, Array(text.utf8)))
    }

    /// Appends an attribute without a value.
    public mutating func append(_ kind: STUNAttribute.Kind) {
        attributes.append(STUNAttribute(kind, []))
    }

    /// Appends ERROR-CODE.
    public mutating func append(_ error: STUNErrorCode) {
        attributes.append(STUNAttribute(.errorCode, error.attributeValue))
    }

    /// Appends UNKNOWN-ATTRIBUTES (RFC 8489 §14.13).
    public mutating func append(unknown kinds: [STUNAttribute.Kind]) {
        var writer = ByteWriter(capacity: 2 * kinds.count)
        for kind in kinds { writer.write(bigEndian: kind.rawValue) }
        attributes.append(STUNAttribute(.unknownAttributes, writer.bytes))
    }

    static func address(_ value: [UInt8], mask: STUNTransactionID?) -> SocketAddress? {
        guard value.count >= 8 else { return nil }
        var port = UInt16(value[2]) << 8 | UInt16(value[3])
        var ip: IPAddress
        switch (value[1], value.count) {
        case (1, 8):
            ip = .v4(UInt32(value[4...]) ?? 0)
        case (2, 20):
            ip = .v6(high: UInt64(value[4..<12]) ?? 0, low: UInt64(value[12...]) ?? 0)
        default:
            return nil
        }
        if let mask {
            port ^= UInt16(truncatingIfNeeded: magicCookie >> 16)
            ip = masked(ip, with: mask)
        }
        return SocketAddress(ip: ip, port: port)
    }

    private static func masked(_ ip: IPAddress, with id: STUNTransactionID) -> IPAddress {
        if let bits = ip.v4Bits { return .v4(bits ^ magicCookie) }
        return .v6(high: ip.high ^ (UInt64(magicCookie) << 32 | UInt64(id.high)), low: ip.low ^ id.low)
    }
}

extension FixedWidthInteger {
    /// A number from exactly as many bytes as it has, in network order.
    fileprivate init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.bitWidth / 8 else { return nil }
        self = bytes.reduce(0) { $0 << 8 | Self(truncatingIfNeeded: $1) }
    }
}
