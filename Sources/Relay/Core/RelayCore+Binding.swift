// SPDX-License-Identifier: Apache-2.0
internal import ICE
internal import Wire

/// Binding requests: the own address for whoever asks (RFC 8489 §12), and a NAT's behaviour (RFC 5780).
extension RelayCore {
    /// What Binding requests may hold that must be understood …
    private static let knownInBinding: Set<STUNAttribute.Kind> = [
        .username, .userhash, .realm, .nonce, .passwordAlgorithm, .messageIntegrity, .messageIntegritySHA256,
    ]
    /// … and what of that only a server with two addresses understands.
    private static let knownInDiscovery = knownInBinding.union([.changeRequest, .padding, .responsePort])

    mutating func answerBinding(_ request: Request, now: Timestamp, into outbox: RelayOutbox) {
        let server = request.client.server
        // On a stream no answer can come from elsewhere.
        let discovery = request.client.isStream ? nil : configuration.discovery
        let other = discovery?.other(server, changesAddress: true, changesPort: true)
        let known = other == nil ? Self.knownInBinding : Self.knownInDiscovery
        let unknown = request.message.unknownRequired(known: known)
        guard unknown.isEmpty else { return refuse(request, unknown: unknown, into: outbox) }
        var answer = success(request)
        answer.append(xorAddress: request.client.address)
        // RFC 5780 §6.1 wants both.
        answer.attributes.append(STUNAttribute(.mappedAddress, PeerAddress.plain(request.client.address)))
        guard let discovery, let other else { return send(answer, to: request, into: outbox) }
        let wanted = DiscoveryRequest(request.message)
        guard wanted.isValid else { return refuse(request, .badRequest, into: outbox) }
        let origin =
            discovery.other(server, changesAddress: wanted.changesAddress, changesPort: wanted.changesPort) ?? server
        answer.attributes.append(STUNAttribute(.responseOrigin, PeerAddress.plain(origin)))
        answer.attributes.append(STUNAttribute(.otherAddress, PeerAddress.plain(other)))
        // RFC 5780 §6.1 has the answer padded to the MTU; here to no more than was asked with.
        if let padding = wanted.padding {
            let length = min(padding, DiscoveryRequest.maximumPadding) & ~3
            answer.attributes.append(STUNAttribute(.padding, [UInt8](repeating: 0, count: length)))
        }
        send(answer, to: request, from: origin, port: wanted.responsePort, into: outbox)
    }

    /// Answers a Binding request from before RFC 5389, which has no cookie (RFC 8489 §11); whether `bytes` are one.
    mutating func answerClassic(
        _ bytes: RawSpan, from client: RelayClient, now: Timestamp, into outbox: RelayOutbox
    ) -> Bool {
        var reader = ByteReader(bytes)
        guard let type = try? reader.readUInt16(), type == 1, let length = try? reader.readUInt16(), length & 3 == 0,
            Int(length) == bytes.byteCount - STUNMessage.headerLength, let cookie = try? reader.readUInt32(),
            cookie != STUNMessage.magicCookie, let rest = try? reader.readBytes(12)
        else { return false }
        guard ledger.takeUnproven(client.address.ip, now: now) else {
            counters.drop(.rate)
            return true
        }
        counters.requests[STUNMessage.Method.binding.rawValue, default: 0] += 1
        counters.successes[STUNMessage.Method.binding.rawValue, default: 0] += 1
        let mapped = PeerAddress.plain(client.address)
        var writer = ByteWriter(capacity: 48)
        writer.write(bigEndian: UInt16(0x0101))
        writer.write(bigEndian: UInt16(4 + mapped.count))
        // What stands for the cookie belongs to the transaction.
        writer.write(bigEndian: cookie)
        writer.write(rest)
        writer.write(bigEndian: STUNAttribute.Kind.mappedAddress.rawValue)
        writer.write(bigEndian: UInt16(mapped.count))
        writer.write(mapped)
        writer.bytes.withUnsafeBytes { outbox.train(.client(client), to: client.address).append($0.bytes) }
        return true
    }
}

/// What a Binding request asks of a server with two addresses (RFC 5780 §7).
private struct DiscoveryRequest {
    /// An Ethernet's MTU.
    static let maximumPadding = 1500

    var changesAddress = false
    var changesPort = false
    var responsePort: UInt16?
    var padding: Int?
    var isValid = true

    init(_ message: STUNMessage) {
        if let value = message.first(.changeRequest) {
            isValid = value.count == 4
            // RFC 5780 §7.2: the flags A and B.
            changesAddress = value.count == 4 && value[3] & 4 != 0
            changesPort = value.count == 4 && value[3] & 2 != 0
        }
        if let value = message.first(.responsePort) {
            // RFC 5780 §7.5: two bytes, and two without meaning that some count as part of the value.
            isValid = isValid && (value.count == 2 || value.count == 4)
            responsePort = value.count >= 2 ? UInt16(value[0]) << 8 | UInt16(value[1]) : nil
            isValid = isValid && responsePort != 0
        }
        padding = message.first(.padding)?.count
        // §7.5: the two together would let a flood be aimed.
        if padding != nil, responsePort != nil { isValid = false }
    }
}
