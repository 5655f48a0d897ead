// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// One channel as its multiplexer keeps it. A class only so that it is changed in place; it never leaves the
/// multiplexer.
///
///     opening ──ACK or message──▶ open ──close, or the peer's reset──▶ closing ──both directions reset──▶ gone
final class DataChannelState {
    enum Phase: Hashable, Sendable {
        /// DATA_CHANNEL_OPEN is sent, or the association is not up yet; what is sent goes ordered (RFC 8832 §6).
        case opening
        case open
        case closing
    }

    let id: UInt16
    let info: DataChannelInfo
    /// Made only to reset a stream that the peer used wrongly: nobody hears of it.
    let isSilent: Bool
    var phase: Phase

    /// Messages that usrsctp does not have yet.
    var queue = OutgoingQueue()
    /// What the stream had transmitted before this channel, and the bytes of user messages that usrsctp took since.
    private var accepted: Int
    /// Whether it stands in the multiplexer's list of channels with something to send.
    var isBusy = false

    /// How many bytes it may still send in its turns, and how many each turn adds: 16 KiB at the lowest priority that
    /// RFC 8831 §6.4 names, 128, and in proportion above.
    var deficit = 0
    /// Whether its turn was cut short for want of room.
    var isInTurn = false
    var quantum: Int { 16 * 1024 * max(1, Int(info.priority) / 128) }

    /// bufferedAmountLowThreshold of W3C WebRTC.
    var lowThreshold = 0
    /// Whether the buffered amount was above the threshold when last looked at.
    var isAboveThreshold = false

    /// A reset of our outgoing stream was asked for, so often.
    var resetRequests = 0
    /// The peer performed it.
    var isOutgoingReset = false
    /// The peer reset its outgoing stream.
    var isIncomingReset = false

    /// The parts so far of a message that arrives under the deprecated identifiers 52 and 54.
    var parts: [UInt8] = []

    init(id: UInt16, info: DataChannelInfo, phase: Phase, transmitted: Int, isSilent: Bool = false) {
        self.id = id
        self.info = info
        self.phase = phase
        self.isSilent = isSilent
        accepted = transmitted
    }

    deinit {
        while let message = queue.first {
            message.memory.deallocate()
            queue.removeFirst()
        }
    }

    /// usrsctp took so many bytes.
    ///
    /// What it takes for a channel of limited reliability counts as gone: usrsctp drops such messages before they are
    /// in any packet, and does not say how much.
    func accept(_ bytes: Int) {
        if info.reliability == .reliable { accepted += bytes }
    }

    /// Bytes that usrsctp holds and has not put into a packet, when its stream has transmitted `transmitted` in all.
    func unsent(transmitted: Int) -> Int { max(0, accepted - transmitted) }
}

/// Messages in the order in which they were sent.
struct OutgoingQueue {
    /// One message.
    struct Message {
        /// Pooled memory that holds it from its start.
        let memory: UnsafeMutableRawBufferPointer
        let count: Int
        let ppid: PayloadProtocol
    }

    private var messages: [Message] = []
    private var head = 0
    /// Bytes of user messages in the queue.
    private(set) var byteCount = 0

    var isEmpty: Bool { head == messages.count }
    var first: Message? { isEmpty ? nil : messages[head] }

    mutating func append(_ message: Message) {
        messages.append(message)
        if message.ppid.countsAsBuffered { byteCount += message.count }
    }

    mutating func removeFirst() {
        guard let message = first else { return }
        head += 1
        if message.ppid.countsAsBuffered { byteCount -= message.count }
        if head == messages.count {
            messages.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 64, head * 2 > messages.count {
            messages.removeFirst(head)
            head = 0
        }
    }
}

/// Memory for outgoing messages, kept for the next one, whosever it is: a bulk transfer would otherwise map and unmap it
/// each time. One for the process, so that a thousand connections that once sent something do not each keep their own.
final class MessagePool: Sendable {
    /// The only one.
    static let shared = MessagePool()

    private struct State: @unchecked Sendable {
        var free: [UnsafeMutableRawBufferPointer] = []
        var freeBytes = 0
    }

    private let state = Mutex(State())
    /// More than this is given back to the allocator.
    private static let limit = 2 << 20
    /// So many blocks at most, since they are searched one by one.
    private static let countLimit = 64

    /// At least `count` bytes.
    func take(_ count: Int) -> UnsafeMutableRawBufferPointer {
        // Sizes are powers of two from 4 KiB, so that the last freed usually fits.
        let size = max(4096, 1 << (Int.bitWidth - (max(1, count) - 1).leadingZeroBitCount))
        let found: UnsafeMutableRawBufferPointer? = state.withLock { state in
            guard let index = state.free.lastIndex(where: { $0.count == size }) else { return nil }
            state.freeBytes -= size
            state.free.swapAt(index, state.free.count - 1)
            return state.free.removeLast()
        }
        return found ?? .allocate(byteCount: size, alignment: 16)
    }

    /// Takes memory back.
    func give(_ memory: UnsafeMutableRawBufferPointer) {
        let isKept = state.withLock { state in
            guard state.freeBytes + memory.count <= Self.limit, state.free.count < Self.countLimit else { return false }
            state.freeBytes += memory.count
            state.free.append(memory)
            return true
        }
        if !isKept { memory.deallocate() }
    }
}
