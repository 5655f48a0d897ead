// SPDX-License-Identifier: Apache-2.0
import SCTP
import Wire

extension PeerCore {
    /// Opens a channel as soon as the layers below are up.
    public mutating func openChannel(
        label: String, options: DataChannel.Options
    ) throws(PeerConnectionError) -> ChannelKey {
        guard state != .closed, state != .failed, !closing.isWanted else {
            throw PeerConnectionError(.closed, "no channel can be opened on a connection that is closed")
        }
        lastKey += 1
        let key = ChannelKey(number: lastKey)
        ledger.channels[key] = .init(label: label, subprotocol: options.subprotocol)
        if channels == nil {
            pending.append((key, label, options))
        } else {
            try open(key, label, options)
        }
        return key
    }

    mutating func open(_ key: ChannelKey, _ label: String, _ options: DataChannel.Options) throws(PeerConnectionError) {
        do {
            var carrier = recovered == nil ? .plain : Carrier(for: options)
            if let flow = carrier.flow { try prepare(flow) }
            var id: ChannelID?
            do {
                id = try openStream(carrier, label, options)
            } catch .noStreamLeft where carrier != .plain {
                carrier = .plain
                id = try openStream(carrier, label, options)
            }
            guard let id else { return }
            let place = ChannelPlace(carrier: carrier, id: id)
            keyOf[place] = key
            channelOf[key] = place
            if let bytes = pendingThresholds.removeValue(forKey: key) {
                onCarrier(carrier) { $0.setLowThreshold(id, bytes) }
            }
        } catch {
            throw PeerConnectionError(.invalidState, "channel \(label) cannot be opened: \(error)")
        }
    }

    private mutating func openStream(
        _ carrier: Carrier, _ label: String, _ options: DataChannel.Options
    ) throws(SCTPError) -> ChannelID? {
        try onCarrier(carrier) { (channels) throws(SCTPError) in
            try channels.open(
                label: label, protocol: options.subprotocol, ordered: options.isOrdered,
                reliability: options.reliability, priority: options.priority.rawValue,
                negotiatedID: options.negotiatedID)
        }
    }

    /// Makes the association of a flow if there is none yet.
    mutating func prepare(_ flow: RecoveredChannels.Flow) throws(SCTPError) {
        guard let handle = try recovered?.prepare(flow) else { return }
        events.append(.associationCreated(handle))
    }

    /// Does something with the channels of one association, where there is one.
    @discardableResult
    mutating func onCarrier<Result, Failure: Error>(
        _ carrier: Carrier, _ body: (inout DataChannelMultiplexer) throws(Failure) -> Result
    ) throws(Failure) -> Result? {
        guard let flow = carrier.flow else { return try channels?.apply(body) }
        return try recovered?.on(flow, body)
    }

    /// Sends a message of `count` bytes that `fill` writes in place.
    public mutating func send(
        on key: ChannelKey, isText: Bool, count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(PeerConnectionError) {
        guard let place = channelOf[key], !closing.isWanted else { throw PeerConnectionError(.closed, "the channel is not open") }
        do {
            try onCarrier(place.carrier) { (channels) throws(SCTPError) in
                try channels.send(place.id, isText: isText, byteCount: count, fill: fill)
            }
            ledger.sent(on: key, count)
        } catch .messageTooLarge(let limit) {
            throw PeerConnectionError(
                .messageTooLarge, "a message of \(count) bytes is over the peer's limit of \(limit)")
        } catch {
            throw PeerConnectionError(.closed, "the channel is not open")
        }
    }

    /// Bytes of a channel that were given to ``send(on:isText:count:_:)`` and are in no packet yet.
    public mutating func bufferedAmount(of key: ChannelKey) -> Int {
        // Changes nothing, see ``localDescription``.
        guard let place = channelOf[key] else { return 0 }
        guard let flow = place.carrier.flow else { return channels.peek { $0.bufferedAmount(place.id) } ?? 0 }
        return recovered.peek { $0.bufferedAmount(place.id, flow) } ?? 0
    }

    /// Sets when ``Event/bufferedAmountLow(_:)`` comes.
    public mutating func setLowThreshold(_ bytes: Int, of key: ChannelKey) {
        if let place = channelOf[key] {
            onCarrier(place.carrier) { $0.setLowThreshold(place.id, bytes) }
        } else if pending.contains(where: { $0.key == key }) {
            pendingThresholds[key] = bytes
        }
    }

    /// Closes a channel after what was sent on it.
    public mutating func closeChannel(_ key: ChannelKey) {
        if let place = channelOf[key] {
            onCarrier(place.carrier) { $0.close(place.id) }
        } else if let index = pending.firstIndex(where: { $0.key == key }) {
            pending.remove(at: index)
            events.append(.channelClosed(key))
        }
    }

    /// Translates what a multiplexer reports; answers the channel and kind of a message.
    mutating func handle(
        _ event: DataChannelMultiplexer.Event, of carrier: Carrier
    ) -> (channel: ChannelKey, isText: Bool)? {
        func place(_ id: ChannelID) -> ChannelPlace { ChannelPlace(carrier: carrier, id: id) }
        switch event {
        case .associationUp:
            if carrier == .plain { setState(.connected) }
        case .opened(let id):
            if let key = keyOf[place(id)] { events.append(.channelOpened(key)) }
        case .incoming(let id, let info):
            lastKey += 1
            let key = ChannelKey(number: lastKey)
            keyOf[place(id)] = key
            channelOf[key] = place(id)
            events.append(
                .incomingChannel(
                    key, label: info.label,
                    DataChannel.Options(
                        isOrdered: info.ordered, reliability: info.reliability, subprotocol: info.protocol,
                        priority: .init(value: info.priority))))
        case .message(let id, let isText):
            return keyOf[place(id)].map { ($0, isText) }
        case .bufferedAmountLow(let id):
            if let key = keyOf[place(id)] { events.append(.bufferedAmountLow(key)) }
        case .oversizedMessage(let id):
            if let key = keyOf[place(id)] { events.append(.oversizedMessage(key)) }
        case .closing:
            break
        case .closed(let id):
            if let key = keyOf.removeValue(forKey: place(id)) {
                channelOf[key] = nil
                events.append(.channelClosed(key))
            }
        case .associationDown(let reason):
            switch reason {
            case .shutDown, .aborted(cause: 0), .aborted(cause: 12):
                // RFC 9260 §3.3.10.12: the peer's user closed.
                abort()
            default:
                fail(.sctpFailed, "the SCTP association ended: \(reason)")
            }
        }
        return nil
    }
}
