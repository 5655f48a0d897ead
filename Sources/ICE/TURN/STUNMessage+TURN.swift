// SPDX-License-Identifier: Apache-2.0
internal import Wire

/// Attributes that a TURN client reads.
extension STUNMessage {
    /// The masked addresses of all attributes of a kind, in order; those that cannot be read are left out.
    func xorAddresses(_ kind: STUNAttribute.Kind) -> [SocketAddress] {
        attributes.filter { $0.kind == kind }.compactMap { Self.address($0.value, mask: transactionID) }
    }

    /// The plain addresses of all attributes of a kind, in order (RFC 8489 §14.15).
    func plainAddresses(_ kind: STUNAttribute.Kind) -> [SocketAddress] {
        attributes.filter { $0.kind == kind }.compactMap { Self.address($0.value, mask: nil) }
    }

    /// What LIFETIME grants (RFC 8656 §18.2).
    var grantedLifetime: Duration? {
        guard let value = first(.lifetime), value.count == 4 else { return nil }
        return .seconds(value.reduce(0) { $0 << 8 | Int($1) })
    }

    /// The kinds in UNKNOWN-ATTRIBUTES (RFC 8489 §14.13), a few of them.
    var unknownAttributes: [STUNAttribute.Kind] {
        let value = first(.unknownAttributes) ?? []
        return stride(from: 0, to: min(value.count, 32) - 1, by: 2).map {
            STUNAttribute.Kind(rawValue: UInt16(value[$0]) << 8 | UInt16(value[$0 + 1]))
        }
    }

    /// The features that the nonce of a response tells, where they are none that the response then lacks. RFC 8489
    /// §9.2.5 has a client stop there: somebody took PASSWORD-ALGORITHMS out.
    var lacksToldAlgorithms: Bool {
        guard let nonce = first(.nonce), let features = STUNSecurityFeatures(nonce: nonce) else { return false }
        return features.contains(.passwordAlgorithms) && first(.passwordAlgorithms) == nil
    }
}

/// A Data indication, read in place (RFC 8656 §11.4).
struct TURNDataIndication {
    /// The peer that it tells of.
    let peer: SocketAddress
    /// Where the peer's data lies.
    let data: Range<Int>?
    /// The type and code of an ICMP error that a packet to the peer met.
    let icmp: (type: UInt8, code: UInt8)?

    /// The first two bytes of a Data indication.
    static let wireType = STUNMessage(.indication, .data, transactionID: STUNTransactionID(high: 0, low: 0)).wireType

    /// Reads an indication; `nil` for anything else, for one without a peer or without both data and ICMP, and for one
    /// that has something that must be understood and is not.
    init?(_ bytes: RawSpan) {
        guard bytes.uint16(at: 0) == Self.wireType, let header = try? STUNMessage.Header(bytes) else { return nil }
        var peer: SocketAddress?
        var data: Range<Int>?
        var icmp: (UInt8, UInt8)?
        var offset = STUNMessage.headerLength
        while offset < bytes.byteCount {
            guard let (kind, value) = try? STUNMessage.attribute(in: bytes, at: offset) else { return nil }
            switch kind {
            case .xorPeerAddress where peer == nil:
                peer = STUNMessage.address([UInt8](copying: bytes.extracting(value)), mask: header.transactionID)
            case .data where data == nil:
                data = value
            case .icmp where icmp == nil && value.count == 8:
                // RFC 8656 §18.13: two reserved bytes, then type and code.
                if let type = bytes.byte(at: value.lowerBound + 2), let code = bytes.byte(at: value.lowerBound + 3) {
                    icmp = (type, code)
                }
            case .fingerprint:
                guard value.count == 4, offset + 8 == bytes.byteCount,
                    bytes.uint32(at: value.lowerBound)
                        == STUNMessage.fingerprintValue(of: bytes.extracting(0..<offset))
                else { return nil }
            default:
                guard
                    !kind.isComprehensionRequired || ICEAgent.understood.contains(kind) || kind == .data
                        || kind == .xorPeerAddress
                else { return nil }
            }
            offset += 4 + STUNMessage.padded(value.count)
        }
        guard let peer, data != nil || icmp != nil else { return nil }
        self.peer = peer
        self.data = data
        self.icmp = icmp
    }
}
