// SPDX-License-Identifier: Apache-2.0
public import SCTP
import Synchronization

/// A data channel of a ``PeerConnection`` (RFC 8831).
///
/// Two ways of use. Tasks call ``send(_:)-(String)`` and iterate over ``messages``; both are bounded, so that a slow reader
/// slows the sender down. Code of this package that moves bulk data sets a ``Handler`` and calls
/// ``trySend(binaryCount:fill:)``: no task is switched and no message is copied in between.
public final class DataChannel: Sendable {
    /// What travels on a channel.
    public enum Message: Hashable, Sendable {
        /// UTF-8 text.
        case text(String)
        /// Bytes.
        case binary([UInt8])

        /// Its length on the wire.
        public var byteCount: Int {
            switch self {
            case .text(let text): text.utf8.count
            case .binary(let bytes): bytes.count
            }
        }
    }

    /// How hard SCTP tries to deliver.
    public typealias Reliability = SCTPAssociation.Reliability

    /// How a channel treats messages, fixed when it is opened.
    public struct Options: Hashable, Sendable {
        /// Whether messages arrive in the order in which they were sent.
        public var isOrdered: Bool
        /// How hard SCTP tries to deliver.
        public var reliability: Reliability
        /// The subprotocol, a name that both sides know.
        public var subprotocol: String
        /// The channel's share of the connection while others have something to send too; the peer is told.
        public var priority: Priority
        /// The stream identifier, where both sides agreed on it and nothing is to be announced.
        public var negotiatedID: UInt16?

        /// Ordered and reliable unless said otherwise.
        public init(
            isOrdered: Bool = true, reliability: Reliability = .reliable, subprotocol: String = "",
            priority: Priority = .low, negotiatedID: UInt16? = nil
        ) {
            self.isOrdered = isOrdered
            self.reliability = reliability
            self.subprotocol = subprotocol
            self.priority = priority
            self.negotiatedID = negotiatedID
        }
    }

    /// W3C's RTCPriorityType with the values of RFC 8831 §6.4, which are weights: each gets twice what the one before
    /// gets.
    public enum Priority: UInt16, Hashable, Comparable, Sendable, CaseIterable {
        /// RFC 8831's "below normal".
        case veryLow = 128
        /// RFC 8831's "normal", and the default.
        case low = 256
        /// RFC 8831's "high".
        case medium = 512
        /// RFC 8831's "extra high".
        case high = 1024

        /// The priority that a peer's number stands for: W3C webrtc-priority's bounds.
        init(value: UInt16) {
            // Firefox has no priorities and sends 0, which means normal there.
            self = value == 0 ? .low : Self.allCases.first { value <= $0.rawValue } ?? .high
        }

        public static func < (lhs: Priority, rhs: Priority) -> Bool { lhs.rawValue < rhs.rawValue }
    }

    /// Where a channel is in its life.
    public enum State: Hashable, Sendable {
        /// Nothing can be sent yet.
        case connecting
        /// Messages can be sent and received.
        case open
        /// Nothing goes through any more.
        case closed
    }

    /// What is called on the event loop's thread, without any lock held, in the order in which things happen.
    package struct Handler: Sendable {
        package var onOpen: @Sendable () -> Void = {}
        /// A message: whether it is text, and its bytes, which last as long as the call.
        package var onMessage: @Sendable (Bool, RawSpan) -> Void = { _, _ in }
        package var onBufferedAmountLow: @Sendable () -> Void = {}
        /// The peer sent a message that is longer than it may be. It was dropped, and `onClose` follows.
        package var onOversizedMessage: @Sendable () -> Void = {}
        package var onClose: @Sendable () -> Void = {}

        package init() {}
    }

    /// The name of the channel; several may bear the same one.
    public let label: String
    /// How the channel treats messages.
    public let options: Options
    let key: PeerCore.ChannelKey
    private let connection: PeerConnection
    private let queue = MessageQueue()
    private let state = Mutex(Guarded())

    private struct Guarded {
        var state = State.connecting
        var handler: Handler?
        /// Tasks that wait for the channel to open, or for room to send.
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    /// Above so many bytes waiting, ``send(_:)-(String)`` waits: as much as SCTP keeps in flight on a fast path.
    public static let highWaterMark = 1_048_576

    init(label: String, options: Options, key: PeerCore.ChannelKey, connection: PeerConnection) {
        self.label = label
        self.options = options
        self.key = key
        self.connection = connection
    }

    /// Where the channel is in its life.
    public var readyState: State { state.withLock { $0.state } }

    /// Bytes that were given to ``send(_:)-(String)`` and have not left yet.
    public var bufferedAmount: Int { connection.bufferedAmount(of: key) }

    /// Messages in the order of arrival. One task at a time may iterate. While nobody does, and as soon as 512 KiB wait,
    /// the whole connection stops reading.
    public var messages: Messages { Messages(channel: self) }

    /// Waits until messages can be sent.
    public func opened() async throws(PeerConnectionError) {
        while true {
            switch readyState {
            case .open: return
            case .closed: throw connection.failure ?? PeerConnectionError(.closed, "channel \(label) is closed")
            case .connecting: await wait { $0.state == .connecting }
            }
            if Task.isCancelled { throw PeerConnectionError(.closed, "waiting for channel \(label) was cancelled") }
        }
    }

    /// Sends text; waits while more than ``highWaterMark`` bytes are queued.
    public func send(_ text: String) async throws(PeerConnectionError) {
        try await send(isText: true, Array(text.utf8))
    }

    /// Sends bytes; waits while more than ``highWaterMark`` bytes are queued.
    public func send(_ bytes: [UInt8]) async throws(PeerConnectionError) {
        try await send(isText: false, bytes)
    }

    /// Closes the channel: what is queued is still sent, then the stream is reset (RFC 8831 §6.7). Messages that were not
    /// read are lost. Repeated calls are harmless.
    public func close() {
        connection.closeChannel(key)
        // What nobody will read must not keep the connection from reading on.
        queue.abandon()
        connection.resumeReading()
    }

    private func send(isText: Bool, _ bytes: [UInt8]) async throws(PeerConnectionError) {
        try await opened()
        while bufferedAmount > Self.highWaterMark {
            guard readyState == .open else { break }
            await wait { [connection, key] in
                $0.state == .open && connection.bufferedAmount(of: key) > Self.highWaterMark
            }
            if Task.isCancelled { throw PeerConnectionError(.closed, "sending on channel \(label) was cancelled") }
        }
        try connection.send(on: key, isText: isText, count: bytes.count) { room in
            bytes.withUnsafeBytes { room.copyMemory(from: $0) }
        }
    }

    /// Waits for the next change while `condition` holds. It is looked at again after the waiter stands in line, so that
    /// a change in between is not missed.
    private func wait(while condition: (inout Guarded) -> Bool) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.waiters.append(continuation) }
                if Task.isCancelled || !state.withLock({ condition(&$0) }) { wakeAll() }
            }
        } onCancel: {
            wakeAll()
        }
    }

    private func wakeAll() {
        let waiters = state.withLock { state in
            let waiters = state.waiters
            state.waiters = []
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}

// MARK: - The messages as a sequence

extension DataChannel {
    /// The messages of a channel; ends when the channel closes, throws if the connection failed.
    public struct Messages: AsyncSequence, Sendable {
        let channel: DataChannel

        /// An iterator; there should be one at a time.
        public func makeAsyncIterator() -> Iterator { Iterator(channel: channel) }

        /// Takes messages out of the channel.
        public struct Iterator: AsyncIteratorProtocol {
            let channel: DataChannel

            /// The next message, `nil` after the channel closed or when the task is cancelled.
            public mutating func next() async throws(PeerConnectionError) -> Message? {
                guard let (message, wasFull) = try await channel.queue.take() else { return nil }
                if wasFull { channel.connection.resumeReading() }
                return message
            }
        }
    }
}

// MARK: - For bulk data

extension DataChannel {
    /// Has events handed to `handler` instead of ``messages``. What happened before is not told again: set it as soon as
    /// the channel is made, or on the event loop's thread when the channel comes in.
    package func setHandler(_ handler: Handler?) {
        release { $0.handler = handler }
    }

    /// Changes the handler; what the old one holds is released after the lock.
    private func release(_ body: (inout Guarded) -> Void) {
        let old = state.withLock { state in
            defer { body(&state) }
            return state.handler
        }
        _ = consume old
    }

    /// Sends a binary message of `binaryCount` bytes that `fill` writes in place. False when the channel is not open.
    @discardableResult
    package func trySend(binaryCount: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) -> Bool {
        (try? connection.send(on: key, isText: false, count: binaryCount, fill)) != nil
    }

    /// Sends text, however much is queued. False when the channel is not open.
    @discardableResult
    package func trySend(text: String) -> Bool {
        let bytes = Array(text.utf8)
        return
            (try? connection.send(on: key, isText: true, count: bytes.count) { room in
                bytes.withUnsafeBytes { room.copyMemory(from: $0) }
            }) != nil
    }

    /// At or below so many queued bytes `onBufferedAmountLow` is called.
    package func setBufferedAmountLowThreshold(_ bytes: Int) {
        connection.setLowThreshold(bytes, of: key)
    }
}

// MARK: - What the connection calls, on the loop's thread

extension DataChannel {
    /// Whether the connection should stop reading for this channel's sake.
    var isFull: Bool { state.withLock { $0.handler == nil } && queue.isFull }

    func didOpen() {
        let handler = change { $0.state = .open }
        handler?.onOpen()
    }

    func didReceive(isText: Bool, _ bytes: RawSpan) {
        if let handler = state.withLock({ $0.handler }) {
            handler.onMessage(isText, bytes)
        } else {
            let copy = bytes.withUnsafeBytes { [UInt8]($0) }
            // Text that is no UTF-8 is repaired, as browsers do (RFC 8831 leaves it open).
            queue.put(isText ? .text(String(decoding: copy, as: UTF8.self)) : .binary(copy))
        }
    }

    func didReceiveOversizedMessage() {
        state.withLock { $0.handler }?.onOversizedMessage()
    }

    func bufferedAmountDidFall() {
        let handler = change { _ in }
        handler?.onBufferedAmountLow()
    }

    func didClose(_ failure: PeerConnectionError?) {
        guard readyState != .closed else { return }
        let handler = change { $0.state = .closed }
        queue.finish(failure)
        handler?.onClose()
        // The handler often holds whoever holds the channel.
        release { $0.handler = nil }
    }

    private func change(_ body: (inout Guarded) -> Void) -> Handler? {
        let handler = state.withLock { state in
            body(&state)
            return state.handler
        }
        wakeAll()
        return handler
    }
}
