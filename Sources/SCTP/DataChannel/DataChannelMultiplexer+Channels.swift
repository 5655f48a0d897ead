// SPDX-License-Identifier: Apache-2.0

extension DataChannelMultiplexer {
    /// Opens a channel on a free stream of our parity; ``Event/opened(_:)`` tells when the peer took it. Messages may
    /// be sent at once.
    ///
    /// With `negotiatedID` both sides name the same stream themselves and nothing is said on the wire.
    public mutating func open(
        label: String, protocol subprotocol: String = "", ordered: Bool = true,
        reliability: SCTPAssociation.Reliability = .reliable, priority: UInt16 = 256, negotiatedID: UInt16? = nil
    ) throws(SCTPError) -> ChannelID {
        guard phase != .down else { throw .notConnected }
        guard label.utf8.count <= 0xFFFF, subprotocol.utf8.count <= 0xFFFF else { throw .nameTooLong }
        let info = DataChannelInfo(
            label: label, protocol: subprotocol, ordered: ordered, reliability: reliability, priority: priority,
            isNegotiated: negotiatedID != nil)
        if let id = negotiatedID {
            guard Int(id) < streamLimit, channel(id) == nil else { throw .streamUnavailable(id) }
            let channel = insert(id, info, isUp ? .open : .opening)
            if isUp { emit(.opened(ChannelID(rawValue: channel.id))) }
            return ChannelID(rawValue: id)
        }
        let channel = insert(try freeStream(), info, .opening)
        enqueue(DCEPMessage.open(info).encoded, .dcep, on: channel)
        pump()
        return ChannelID(rawValue: channel.id)
    }

    /// Closes a channel: what was sent before is delivered, then the stream is reset (RFC 8831 §6.7), and
    /// ``Event/closed(_:)`` follows once the peer did the same. Closing twice is harmless.
    public mutating func close(_ id: ChannelID) {
        guard let channel = channel(id.rawValue), channel.phase != .closing else { return }
        beginClosing(channel, discarding: false)
    }

    /// The properties of a channel that is there.
    public func info(_ id: ChannelID) -> DataChannelInfo? {
        channel(id.rawValue)?.info
    }

    @discardableResult
    mutating func insert(
        _ id: UInt16, _ info: DataChannelInfo, _ phase: DataChannelState.Phase, isSilent: Bool = false
    ) -> DataChannelState {
        let index = Int(id)
        if index >= channels.count {
            channels.append(contentsOf: repeatElement(nil, count: index + 1 - channels.count))
        }
        let channel = DataChannelState(
            id: id, info: info, phase: phase, transmitted: association.transmitted(on: index), isSilent: isSilent)
        channels[index] = channel
        return channel
    }

    private mutating func freeStream() throws(SCTPError) -> UInt16 {
        // Two rounds at most: from the next identifier to the end, then from the start.
        for _ in 0..<streamLimit {
            if nextID >= streamLimit { nextID &= 1 }
            guard nextID < streamLimit else { break }
            let id = UInt16(nextID)
            nextID += 2
            if channel(id) == nil, !retired.contains(id) { return id }
        }
        throw .noStreamLeft
    }

    /// Stops a channel. With `discarding` the peer would not read what is still queued.
    mutating func beginClosing(_ channel: DataChannelState, discarding: Bool) {
        channel.phase = .closing
        channel.parts = []
        if discarding {
            while let message = channel.queue.first {
                pool.give(message.memory)
                channel.queue.removeFirst()
            }
        }
        if channel.queue.isEmpty { requestReset(channel) }
    }

    /// Resets our outgoing stream; usrsctp does it after what it has for the stream was sent.
    mutating func requestReset(_ channel: DataChannelState) {
        guard isUp, channel.resetRequests == 0 || !channel.isOutgoingReset else { return }
        channel.resetRequests += 1
        let error = channel.resetRequests > 3 ? -1 : association.resetOutgoing(stream: channel.id)
        if error != 0 {
            // The peer knows no stream reset, or refuses: the channel is over, and its stream not used again.
            retired.insert(channel.id)
            channel.isOutgoingReset = true
            channel.isIncomingReset = true
        }
        removeIfReset(channel)
    }

    /// usrsctp ended a reset of these streams.
    mutating func handleStreamReset(_ streams: [UInt16], isIncoming: Bool, failed: Bool) {
        for stream in streams {
            guard let channel = channel(stream) else { continue }
            if isIncoming {
                guard !failed else { continue }
                channel.isIncomingReset = true
                if channel.phase != .closing {
                    if !channel.isSilent { emit(.closing(ChannelID(rawValue: stream))) }
                    beginClosing(channel, discarding: true)
                    continue
                }
            } else {
                // A reset that was asked for before the stream was reused is no news.
                guard channel.resetRequests > 0 else { continue }
                if failed {
                    requestReset(channel)
                    continue
                }
                channel.isOutgoingReset = true
            }
            removeIfReset(channel)
        }
    }

    /// A channel is gone once both its streams are reset.
    func isReset(_ channel: DataChannelState) -> Bool {
        channel.phase == .closing && channel.isOutgoingReset && channel.isIncomingReset
    }

    mutating func removeIfReset(_ channel: DataChannelState) {
        guard isReset(channel), self.channel(channel.id) === channel else { return }
        remove(channel)
    }

    mutating func remove(_ channel: DataChannelState) {
        channels[Int(channel.id)] = nil
        busy.removeAll { $0 === channel }
        if !channel.isSilent { emit(.closed(ChannelID(rawValue: channel.id))) }
    }

    /// The handshake is complete with so many streams each way.
    mutating func handleUp(outbound: Int, inbound: Int) {
        guard phase == .starting else { return }
        phase = .up
        association.beginBundling()
        streamLimit = min(streamLimit, outbound, inbound)
        emit(.associationUp)
        for channel in channels.compactMap({ $0 }) {
            if Int(channel.id) >= streamLimit {
                remove(channel)
            } else if channel.phase == .closing {
                if channel.queue.isEmpty { requestReset(channel) }
            } else if channel.info.isNegotiated {
                channel.phase = .open
                emit(.opened(ChannelID(rawValue: channel.id)))
            }
        }
    }

    /// The association is gone.
    mutating func handleDown(_ reason: DownReason) {
        guard phase != .down else { return }
        phase = .down
        for channel in channels.compactMap({ $0 }) { remove(channel) }
        emit(.associationDown(reason))
        association.abort()
    }
}
