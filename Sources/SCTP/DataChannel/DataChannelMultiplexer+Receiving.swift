// SPDX-License-Identifier: Apache-2.0
extension DataChannelMultiplexer {
    /// The next event, `nil` when there is none before the next input. The bytes of a ``Event/message(_:isText:)`` are
    /// in `buffer` then, which is otherwise of no meaning.
    ///
    /// Messages that are not taken stay in usrsctp and close the window that we announce.
    public mutating func nextEvent(into buffer: inout MessageBuffer) -> Event? {
        while true {
            if eventsHead < events.count {
                let event = events[eventsHead]
                eventsHead += 1
                if eventsHead == events.count {
                    events.removeAll(keepingCapacity: true)
                    eventsHead = 0
                }
                return event
            }
            if let event = heldEvent {
                heldEvent = nil
                swap(&buffer, &held)
                return event
            }
            guard isReadable, phase != .down else { return nil }
            if let event = read(into: &buffer) {
                if eventsHead == events.count { return event }
                // The message made an event that comes before it.
                swap(&buffer, &held)
                heldEvent = event
            }
        }
    }

    /// What a read must have room for: our largest message, and the longest DCEP message.
    private var readSize: Int { max(configuration.maxMessageSize, 12 + 2 * 0xFFFF) }

    /// Reads one message or notification, or a part.
    private mutating func read(into buffer: inout MessageBuffer) -> Event? {
        if assemblyPhase == .message || assemblyPhase == .notification {
            swap(&buffer, &assembly)
        } else {
            buffer.byteCount = 0
        }
        buffer.reserve(readSize)
        switch association.read(into: buffer.room) {
        case .nothing:
            isReadable = false
            if assemblyPhase == .message || assemblyPhase == .notification { swap(&buffer, &assembly) }
        case .end:
            handleDown(phase == .up ? .lost : .neverUp)
        case .notification(let length, let isComplete):
            if complete(length, isComplete, .notification, .discardingNotification, &buffer) {
                let notification = buffer.bytes.withUnsafeBytes { SCTPNotification($0) }
                handle(notification)
            }
        case .message(let length, let stream, let ppid, let isComplete):
            if complete(length, isComplete, .message, .discardingMessage, &buffer) {
                return handleMessage(stream: stream, ppid: ppid, &buffer)
            } else if assemblyPhase == .discardingMessage, let channel = channel(stream), channel.phase != .closing {
                count(\.oversizedMessages)
                emit(.oversizedMessage(ChannelID(rawValue: stream)))
                emit(.closing(ChannelID(rawValue: stream)))
                beginClosing(channel, discarding: true)
            }
        }
        return nil
    }

    /// Notes a part. Answers whether `buffer` now holds something whole; otherwise it was kept for the next read.
    private mutating func complete(
        _ length: Int, _ isComplete: Bool, _ assembling: AssemblyPhase, _ discarding: AssemblyPhase,
        _ buffer: inout MessageBuffer
    ) -> Bool {
        if assemblyPhase == discarding {
            if isComplete { assemblyPhase = .none }
            return false
        }
        buffer.byteCount += length
        if isComplete {
            assemblyPhase = .none
            return true
        }
        if buffer.byteCount >= readSize {
            assemblyPhase = discarding
        } else {
            assemblyPhase = assembling
            swap(&buffer, &assembly)
        }
        return false
    }

    private mutating func handle(_ notification: SCTPNotification) {
        switch notification {
        case .up(let outbound, let inbound):
            handleUp(outbound: outbound, inbound: inbound)
            pump()
        case .restarted: handleDown(.restarted)
        case .lost(let cause, let wasAborted): handleDown(wasAborted ? .aborted(cause: cause) : .lost)
        case .shutDown: handleDown(.shutDown)
        case .cannotStart: handleDown(.neverUp)
        case .streamReset(let streams, let isIncoming, let failed):
            handleStreamReset(streams, isIncoming: isIncoming, failed: failed)
            pump()
        case .partialDeliveryAborted:
            assemblyPhase = .none
        case .other:
            break
        }
    }

    /// How many messages of the greatest length may lie here in parts, over all channels: those who still send so send one
    /// message after the other.
    private static let messagesInParts = 4

    /// Bytes of messages in deprecated parts that are not whole, over all channels.
    private var heldParts: Int { channels.reduce(0) { $0 + ($1?.parts.count ?? 0) } }

    private mutating func handleMessage(stream: UInt16, ppid: UInt32, _ buffer: inout MessageBuffer) -> Event? {
        let payload = PayloadProtocol(rawValue: ppid)
        if payload == .dcep {
            handleDCEP(DCEPMessage(buffer.bytes), stream: stream)
            return nil
        }
        guard let channel = channel(stream), let payload else {
            count(\.strayMessages)
            refuse(stream)
            return nil
        }
        guard channel.phase != .closing else { return nil }
        if buffer.byteCount + channel.parts.count > configuration.maxMessageSize {
            count(\.oversizedMessages)
            emit(.oversizedMessage(ChannelID(rawValue: stream)))
            refuse(stream)
            return nil
        }
        let isText: Bool
        switch payload {
        case .stringPartial, .binaryPartial:
            guard heldParts + buffer.byteCount <= Self.messagesInParts * configuration.maxMessageSize else {
                count(\.oversizedMessages)
                emit(.oversizedMessage(ChannelID(rawValue: stream)))
                refuse(stream)
                return nil
            }
            buffer.bytes.withUnsafeBytes { channel.parts.append(contentsOf: $0) }
            return nil
        case .stringEmpty, .binaryEmpty:
            buffer.byteCount = 0
            isText = payload == .stringEmpty
        case .string, .binary, .dcep:
            isText = payload == .string
        }
        if !channel.parts.isEmpty {
            buffer.bytes.withUnsafeBytes { channel.parts.append(contentsOf: $0) }
            buffer.assign(channel.parts)
            channel.parts = []
        }
        // RFC 8832 §6: any message of the peer tells as much as its ACK.
        if channel.phase == .opening { handleOpened(channel) }
        return .message(ChannelID(rawValue: stream), isText: isText)
    }

    private mutating func handleOpened(_ channel: DataChannelState) {
        channel.phase = .open
        emit(.opened(ChannelID(rawValue: channel.id)))
    }

    private mutating func handleDCEP(_ message: DCEPMessage?, stream: UInt16) {
        switch message {
        case .ack:
            if let channel = channel(stream), !channel.info.isNegotiated {
                if channel.phase == .opening { handleOpened(channel) }
                return
            }
        case .open(let info):
            // A peer that reuses a stream has seen both resets, though their answers may still be on their way to us.
            if let old = channel(stream), old.phase == .closing, old.isIncomingReset, old.resetRequests > 0 {
                remove(old)
            }
            let isPeersParity = (stream & 1 == 1) == (configuration.role == .client)
            if isPeersParity, channel(stream) == nil, Int(stream) < streamLimit {
                let channel = insert(stream, info, .open)
                enqueue(DCEPMessage.ack.encoded, .dcep, on: channel)
                emit(.incoming(ChannelID(rawValue: stream), info))
                return
            }
        case nil:
            break
        }
        count(\.badDCEP)
        refuse(stream)
    }

    /// Closes whatever the peer thinks it has on a stream (RFC 8831 §6.6, RFC 8832 §6).
    private mutating func refuse(_ stream: UInt16) {
        if let channel = channel(stream) {
            guard channel.phase != .closing else { return }
            if !channel.isSilent { emit(.closing(ChannelID(rawValue: stream))) }
            beginClosing(channel, discarding: true)
        } else if Int(stream) < streamLimit {
            let channel = insert(stream, DataChannelInfo(label: ""), .open, isSilent: true)
            beginClosing(channel, discarding: true)
        }
    }
}
