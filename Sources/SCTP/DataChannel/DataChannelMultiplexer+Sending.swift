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
        /// usrsctp holds as much as it should.
        case full
        /// usrsctp has no room for a message of so many bytes.
        case noRoom(Int)
        case waits
    }

    /// Gives usrsctp the first message of a channel's queue.
    private mutating func feed(_ channel: DataChannelState) -> FeedResult {
        guard let message = channel.queue.first, association.isConnecting else { return .waits }
        let isUser = message.ppid.countsAsBuffered
        // A channel that has nothing in usrsctp may always give it one message.
        if isUser, unsentTotal >= configuration.maxUnsent,
            channel.unsent(transmitted: association.transmitted(on: Int(channel.id))) > 0
        {
            return .full
        }
        // RFC 8832 §6: DCEP goes ordered and reliable, and so does, in order, everything before the ACK.
        let isDCEP = message.ppid == .dcep
        let result = association.send(
            UnsafeRawBufferPointer(start: message.memory.baseAddress, count: message.count), stream: channel.id,
            ppid: message.ppid.rawValue, unordered: !isDCEP && !channel.info.ordered && channel.phase != .opening,
            reliability: isDCEP ? .reliable : channel.info.reliability)
        switch result {
        case .accepted:
            if isUser {
                channel.accept(message.count)
                if channel.info.reliability == .reliable { unsentTotal += message.count }
            }
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

    /// Feeds usrsctp while it takes messages, then settles who is done.
    ///
    /// Channels have their turns by deficit round robin (Shreedhar and Varghese, 1995): each turn is worth as many
    /// bytes as the channel's priority says. usrsctp itself sends one message of each stream in turn; as it holds
    /// little, what it is given decides how much each channel gets.
    mutating func pump() {
        guard !busy.isEmpty, phase != .down else { return }
        unsentTotal = busy.reduce(0) { $0 + $1.unsent(transmitted: association.transmitted(on: Int($1.id))) }
        // What is not smaller than a message without room has none either.
        var smallestRefused = Int.max
        var idleTurns = 0
        while idleTurns < busy.count {
            if turn >= busy.count { turn = 0 }
            let channel = busy[turn]
            guard takeTurn(channel, &smallestRefused, &idleTurns) else {
                feedIdleStreams(&smallestRefused)
                break
            }
            turn += 1
        }
        settle()
    }

    /// Feeds usrsctp with what a channel's turn is worth. Answers false where usrsctp has enough: then the turn goes on
    /// when there is room again.
    private mutating func takeTurn(
        _ channel: DataChannelState, _ smallestRefused: inout Int, _ idleTurns: inout Int
    ) -> Bool {
        if !channel.isInTurn {
            channel.isInTurn = true
            channel.deficit += channel.quantum
        }
        var isIdle = true
        feeding: while let message = channel.queue.first {
            guard channel.deficit >= message.count else {
                // It saves up for a large message.
                isIdle = false
                break
            }
            guard message.count < smallestRefused else { return false }
            switch feed(channel) {
            case .sent:
                channel.deficit -= message.count
                isIdle = false
            case .full:
                return false
            case .noRoom(let size):
                smallestRefused = size
                return false
            case .waits:
                channel.deficit = 0
                break feeding
            }
        }
        if channel.queue.isEmpty { channel.deficit = 0 }
        channel.isInTurn = false
        idleTurns = isIdle ? idleTurns + 1 : 0
        return true
    }

    /// Gives usrsctp one message of each channel of which it has none, so that none waits for more than one of each
    /// other; but for those that had more than their share already.
    private mutating func feedIdleStreams(_ smallestRefused: inout Int) {
        for channel in busy {
            guard channel.deficit >= 0, let message = channel.queue.first, message.count < smallestRefused,
                channel.unsent(transmitted: association.transmitted(on: Int(channel.id))) == 0
            else { continue }
            switch feed(channel) {
            case .sent: channel.deficit = channel.queue.isEmpty ? 0 : channel.deficit - message.count
            case .noRoom(let size): smallestRefused = size
            case .full, .waits: break
            }
        }
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
