// SPDX-License-Identifier: Apache-2.0
public import Wire

// Peers' data in both directions. Inbound it is told where it lies, outbound a header is written in front of it.
extension TURNClient {
    /// The most bytes by which data grows on its way to the server once a channel is bound: the header, and padding on
    /// streams.
    public static let channelOverhead = ChannelData.headerLength

    // MARK: - Receiving

    /// Takes a message that came from the server.
    public mutating func receive(_ bytes: RawSpan, now: Timestamp) -> Received {
        clock = max(clock, now)
        guard state != .idle, state != .ended else { return .foreign }
        if ChannelData.isChannelData(bytes) { return receiveChannelData(bytes) }
        guard STUNMessage.isSTUN(bytes) else { return .foreign }
        if bytes.uint16(at: 0) == TURNDataIndication.wireType { return receiveIndication(bytes) }
        guard let message = try? STUNMessage(decoding: bytes) else {
            counters.dropped += 1
            return .dropped
        }
        guard message.messageClass == .success || message.messageClass == .error,
            Self.methods.contains(message.method)
        else { return .foreign }
        return handleResponse(message, bytes)
    }

    private static let methods: Set<STUNMessage.Method> = [.allocate, .refresh, .createPermission, .channelBind]

    private mutating func receiveChannelData(_ bytes: RawSpan) -> Received {
        guard let (number, range) = ChannelData.read(bytes) else {
            counters.dropped += 1
            return .dropped
        }
        // RFC 8656 §12: it may come before the answer to ChannelBind does.
        let index = Int(number - ChannelData.numbers.lowerBound)
        guard index < channels.count else {
            counters.notPermitted += 1
            return .dropped
        }
        counters.bytesReceived &+= UInt64(range.count)
        return .data(from: channels[index].peer, range)
    }

    private mutating func receiveIndication(_ bytes: RawSpan) -> Received {
        guard let indication = TURNDataIndication(bytes) else {
            counters.dropped += 1
            return .dropped
        }
        // RFC 8656 §11.4: somebody may have tricked the server into permissions that we did not ask for. An answer to
        // our request may have been overtaken by data.
        guard let index = permission(of: indication.peer.ip), permissions[index].state != .refused else {
            counters.notPermitted += 1
            return .dropped
        }
        if let range = indication.data {
            counters.bytesReceived &+= UInt64(range.count)
            return .data(from: indication.peer, range)
        }
        if let icmp = indication.icmp {
            report(.undelivered(indication.peer, type: icmp.type, code: icmp.code))
        }
        return .handled
    }

    // MARK: - Sending

    /// Sends a message to a peer through the server: on its channel, else in an indication, which waits for the
    /// permission if need be. A peer that is not permitted gets nothing.
    public mutating func send(_ payload: [UInt8], to peer: SocketAddress, now: Timestamp) {
        clock = max(clock, now)
        if let number = channel(to: peer) {
            counters.bytesSent &+= UInt64(payload.count)
            var message = [UInt8](repeating: 0, count: Self.channelMessageLength(payload.count, server.transport))
            message.withUnsafeMutableBytes { Self.write(payload.span.bytes, channel: number, into: $0) }
            transmit(message)
            return
        }
        permit(peer, now: now)
        guard let index = permission(of: peer.ip) else { return }
        switch permissions[index].state {
        case .granted:
            sendIndication(payload.span.bytes, to: peer)
        case .asked:
            // Of what is asked again and again the newest counts.
            if permissions[index].waiting.count >= Self.maximumWaiting { permissions[index].waiting.removeFirst() }
            permissions[index].waiting.append((payload, peer))
        case .refused:
            counters.notPermitted += 1
        }
    }

    /// Writes packets for a peer as the server wants them, one after the other, for a driver that sends them all at
    /// once. Nothing is written for a peer that is not permitted.
    public mutating func wrap(_ packets: borrowing PacketBuffer, to peer: SocketAddress, into out: inout PacketBuffer) {
        if let number = channel(to: peer) {
            counters.bytesSent &+= UInt64(packets.byteCount)
            timing.lastSent = clock
            for index in 0..<packets.count {
                let packet = packets[index]
                let length = Self.channelMessageLength(packet.byteCount, server.transport)
                out.append(maximumLength: length) { room in
                    Self.write(packet, channel: number, into: room)
                    return length
                }
            }
            return
        }
        guard let index = permission(of: peer.ip), permissions[index].state == .granted else {
            counters.notPermitted += packets.count
            return
        }
        timing.lastSent = clock
        for index in 0..<packets.count {
            let message = indication(packets[index], to: peer)
            out.append(message.span.bytes)
        }
    }

    /// Header, data and, where there is room behind them, padding of zeros.
    private static func write(_ packet: RawSpan, channel: UInt16, into room: UnsafeMutableRawBufferPointer) {
        ChannelData.writeHeader(channel: channel, count: packet.byteCount, into: room)
        let end = ChannelData.headerLength + packet.byteCount
        packet.withUnsafeBytes { bytes in
            UnsafeMutableRawBufferPointer(rebasing: room[ChannelData.headerLength..<end]).copyMemory(from: bytes)
        }
        for offset in end..<room.count { room[offset] = 0 }
    }

    /// RFC 8656 §12.5: on streams messages are padded to a multiple of four bytes.
    private static func channelMessageLength(_ count: Int, _ transport: TURNServer.Transport) -> Int {
        let length = ChannelData.headerLength + count
        return transport.isStream ? STUNMessage.padded(length) : length
    }

    mutating func sendIndication(_ payload: RawSpan, to peer: SocketAddress) {
        transmit(indication(payload, to: peer))
    }

    /// A Send indication (RFC 8656 §11.1). It carries no proof and, being all data, no FINGERPRINT.
    private mutating func indication(_ payload: RawSpan, to peer: SocketAddress) -> [UInt8] {
        counters.bytesSent &+= UInt64(payload.byteCount)
        var message = STUNMessage(.indication, .send, transactionID: STUNTransactionID(using: &entropy))
        message.append(xorAddress: peer, as: .xorPeerAddress)
        message.attributes.append(STUNAttribute(.data, [UInt8](copying: payload)))
        return message.encoded(fingerprint: false)
    }
}
