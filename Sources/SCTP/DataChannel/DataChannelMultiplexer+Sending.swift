// SPDX-License-Identifier: Apache-2.0
extension DataChannelMultiplexer {
    /// Sends a message that `fill` writes into `byteCount` bytes of room, without another copy on our side. It is
    /// queued where usrsctp has no room; watch ``bufferedAmount(_:)``.
    public mutating func send(
        _ id: ChannelID, isText: Bool = false, byteCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(SCTPError) {
        guard let channel = channel(id.rawValue), channel.phase != .closing else { throw .channelNotOpen }
        guard byteCount <= maxOutgoingSize else { throw .messageTooLarge(limit: maxOutgoingSize) }
        // An empty message is one byte under an identifier of its own (RFC 8831 §6.6).
        let memory = pool.take(byteCount)
        if byteCount == 0 {
            memory[0] = 0
            enqueue(.init(memory: memory, count: 1, ppid: isText ? .stringEmpty : .binaryEmpty), on: channel)
        } else {
            fill(UnsafeMutableRawBufferPointer(rebasing: memory[..<byteCount]))
            enqueue(.init(memory: memory, count: byteCount, ppid: isText ? .string : .binary), on: channel)
        }
    }

    /// Sends a message.
    public mutating func send(_ id: ChannelID, isText: Bool = false, _ bytes: RawSpan) throws(SCTPError) {
        try bytes.withUnsafeBytes { (source) throws(SCTPError) in
            try send(id, isText: isText, byteCount: source.count) { $0.copyMemory(from: source) }
        }
    }

    /// Sends a text.
    public mutating func send(_ id: ChannelID, text: String) throws(SCTPError) {
        try send(id, isText: true, byteCount: text.utf8.count) { $0.copyBytes(from: text.utf8) }
    }

    /// Bytes of messages that are not in a packet yet: those in our queue and, of reliable channels, those that usrsctp
    /// holds. 0 for an unknown channel.
    public func bufferedAmount(_ id: ChannelID) -> Int {
        channel(id.rawValue).map { bufferedAmount($0) } ?? 0
    }

    /// ``Event/bufferedAmountLow(_:)`` comes when the buffered amount falls from above this to it or below. 0 at first.
    public mutating func setLowThreshold(_ id: ChannelID, _ bytes: Int) {
        guard let channel = channel(id.rawValue) else { return }
        channel.lowThreshold = bytes
        channel.isAboveThreshold = bufferedAmount(channel) > bytes
    }

    /// The longest message that can be sent: what the peer takes, and what fits into usrsctp's send buffer whole.
    public var maxOutgoingSize: Int {
        let room = configuration.association.sendBuffer
        return remoteMaxMessageSize == 0 ? room : min(remoteMaxMessageSize, room)
    }

    private func bufferedAmount(_ channel: DataChannelState) -> Int {
        channel.queue.byteCount + channel.unsent(transmitted: association.transmitted(on: Int(channel.id)))
    }

    mutating func enqueue(_ bytes: [UInt8], _ ppid: PayloadProtocol, on channel: DataChannelState) {
        let memory = pool.take(bytes.count)
        bytes.withUnsafeBytes { memory.copyMemory(from: $0) }
        enqueue(.init(memory: memory, count: bytes.count, ppid: ppid), on: channel)
    }

    private mutating func enqueue(_ message: OutgoingQueue.Message, on channel: DataChannelState) {
        let isFirst = channel.queue.isEmpty
        channel.queue.append(message)
        if isFirst { _ = feed(channel) }
        if !channel.isBusy {
            channel.isBusy = true
            busy.append(channel)
        }
        if !channel.isAboveThreshold { channel.isAboveThreshold = bufferedAmount(channel) > channel.lowThreshold }
    }

    private enum FeedResult {
        case sent
        case noRoom(Int)
        case waits
    }

    /// Gives usrsctp the first message of a channel's queue.
    private mutating func feed(_ channel: DataChannelState) -> FeedResult {
        guard let message = channel.queue.first, association.isConnecting else { return .waits }
        let isUser = message.ppid.countsAsBuffered
        if isUser, channel.unsent(transmitted: association.transmitted(on: Int(channel.id))) >= configuration.maxUnsent
        {
            return .waits
        }
        // RFC 8832 §6: DCEP goes ordered and reliable, and so does, in order, everything before the ACK.
        let isDCEP = message.ppid == .dcep
        let result = association.send(
            UnsafeRawBufferPointer(start: message.memory.baseAddress, count: message.count), stream: channel.id,
            ppid: message.ppid.rawValue, unordered: !isDCEP && !channel.info.ordered && channel.phase != .opening,
            reliability: isDCEP ? .reliable : channel.info.reliability)
        switch result {
        case .accepted:
            if isUser { channel.accept(message.count) }
        case .noRoom:
            // A small DCEP message fails because its stream is still being reset, which says nothing about room.
            return isDCEP ? .waits : .noRoom(message.count)
        case .failed:
            channel.queue.removeFirst()
            pool.give(message.memory)
            if channel.phase != .closing { beginClosing(channel, discarding: true) }
            return .waits
        }
        channel.queue.removeFirst()
        pool.give(message.memory)
        return .sent
    }

    /// Feeds usrsctp with one message of each channel in turn while it takes them, then settles who is done.
    mutating func pump() {
        guard !busy.isEmpty, phase != .down else { return }
        // What is not smaller than a message without room has none either.
        var smallestRefused = Int.max
        var progress = true
        while progress {
            progress = false
            for _ in 0..<busy.count {
                if turn >= busy.count { turn = 0 }
                let channel = busy[turn]
                turn += 1
                guard let message = channel.queue.first, message.count < smallestRefused else { continue }
                switch feed(channel) {
                case .sent: progress = true
                case .noRoom(let size): smallestRefused = min(smallestRefused, size)
                case .waits: break
                }
            }
        }
        settle()
    }

    private mutating func settle() {
        var index = 0
        while index < busy.count {
            let channel = busy[index]
            let amount = bufferedAmount(channel)
            if channel.isAboveThreshold, amount <= channel.lowThreshold {
                channel.isAboveThreshold = false
                if channel.phase != .closing { emit(.bufferedAmountLow(ChannelID(rawValue: channel.id))) }
            }
            if amount == 0, channel.queue.isEmpty {
                channel.isBusy = false
                busy.remove(at: index)
                if turn > index { turn -= 1 }
            } else {
                index += 1
            }
            if channel.phase == .closing, channel.queue.isEmpty, channel.resetRequests == 0 { requestReset(channel) }
        }
    }
}
