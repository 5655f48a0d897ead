// SPDX-License-Identifier: Apache-2.0
import SCTP
import Wire

extension PeerCore {
    /// Opens a channel as soon as the layers below are up.
    public mutating func openChannel(
        label: String, options: DataChannel.Options
    ) throws(PeerConnectionError) -> ChannelKey {
        guard state != .closed, state != .failed else {
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
            guard
                let id = try channels?.open(
                    label: label, protocol: options.subprotocol, ordered: options.isOrdered,
                    reliability: options.reliability, negotiatedID: options.negotiatedID)
            else { return }
            keyOf[id] = key
            channelOf[key] = id
            if let bytes = pendingThresholds.removeValue(forKey: key) { channels?.setLowThreshold(id, bytes) }
        } catch {
            throw PeerConnectionError(.invalidState, "channel \(label) cannot be opened: \(error)")
        }
    }

    /// Sends a message of `count` bytes that `fill` writes in place.
    public mutating func send(
        on key: ChannelKey, isText: Bool, count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(PeerConnectionError) {
        guard let id = channelOf[key] else { throw PeerConnectionError(.closed, "the channel is not open") }
        do {
            try channels?.send(id, isText: isText, byteCount: count, fill: fill)
            ledger.sent(on: key, count)
        } catch .messageTooLarge(let limit) {
            throw PeerConnectionError(
                .messageTooLarge, "a message of \(count) bytes is over the peer's limit of \(limit)")
        } catch {
            throw PeerConnectionError(.closed, "the channel is not open")
        }
    }

    /// Bytes of a channel that were given to ``send(on:isText:count:_:)`` and are in no packet yet.
    public func bufferedAmount(of key: ChannelKey) -> Int {
        guard let id = channelOf[key] else { return 0 }
        return channels.peek { $0.bufferedAmount(id) } ?? 0
    }

    /// Sets when ``Event/bufferedAmountLow(_:)`` comes.
    public mutating func setLowThreshold(_ bytes: Int, of key: ChannelKey) {
        if let id = channelOf[key] {
            channels?.setLowThreshold(id, bytes)
        } else if pending.contains(where: { $0.key == key }) {
            pendingThresholds[key] = bytes
        }
    }

    /// Closes a channel after what was sent on it.
    public mutating func closeChannel(_ key: ChannelKey) {
        if let id = channelOf[key] {
            channels?.close(id)
        } else if let index = pending.firstIndex(where: { $0.key == key }) {
            pending.remove(at: index)
            events.append(.channelClosed(key))
        }
    }

    /// Translates what the multiplexer reports; answers the channel and kind of a message.
    mutating func handle(_ event: DataChannelMultiplexer.Event) -> (channel: ChannelKey, isText: Bool)? {
        switch event {
        case .associationUp:
            setState(.connected)
        case .opened(let id):
            if let key = keyOf[id] { events.append(.channelOpened(key)) }
        case .incoming(let id, let info):
            lastKey += 1
            let key = ChannelKey(number: lastKey)
            keyOf[id] = key
            channelOf[key] = id
            events.append(
                .incomingChannel(
                    key, label: info.label,
                    DataChannel.Options(
                        isOrdered: info.ordered, reliability: info.reliability, subprotocol: info.protocol)))
        case .message(let id, let isText):
            return keyOf[id].map { ($0, isText) }
        case .bufferedAmountLow(let id):
            if let key = keyOf[id] { events.append(.bufferedAmountLow(key)) }
        case .oversizedMessage(let id):
            if let key = keyOf[id] { events.append(.oversizedMessage(key)) }
        case .closing:
            break
        case .closed(let id):
            if let key = keyOf.removeValue(forKey: id) {
                channelOf[key] = nil
                events.append(.channelClosed(key))
            }
        case .associationDown(let reason):
            switch reason {
            case .shutDown, .aborted(cause: 0), .aborted(cause: 12):
                // RFC 9260 §3.3.10.12: the peer's user closed.
                close(now: .zero)
            default:
                fail(.sctpFailed, "the SCTP association ended: \(reason)")
            }
        }
        return nil
    }
}
