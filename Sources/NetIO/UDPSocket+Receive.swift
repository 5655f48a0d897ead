// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

extension UDPSocket {
    /// Called for each run of datagrams that arrived together.
    public typealias ReceiveHandler = @Sendable (borrowing PacketTrain) -> Void

    /// What ICMP said of a datagram that was sent.
    public struct ErrorReport: Hashable, Sendable {
        /// Where the datagram was sent to.
        public var destination: SocketAddress
        /// The type of the ICMP or ICMPv6 message.
        public var type: UInt8
        /// Its code.
        public var code: UInt8
        /// The next link's MTU where the datagram was too large, else 0.
        public var mtu: UInt32
        /// The beginning of the datagram's payload as the message quotes it, 20 bytes at most; routers may quote
        /// nothing of it (RFC 792). What nobody could guess in there shows that the datagram's way was seen.
        public var quoted: [UInt8]
    }

    /// Called for each ICMP error.
    public typealias ErrorHandler = @Sendable (ErrorReport) -> Void

    /// How many errors are read in a row.
    private static let maximumErrors = 32

    /// How many times a socket reads in a row before its loop looks at its other sockets and timers.
    private static let maximumRounds = 4

    /// Starts to receive. Both handlers are called on the loop's thread with no lock held: `onReceive` for each train,
    /// `onBatchEnd` once after all trains of one system call, which is the moment to answer. The loop keeps a started
    /// socket until ``close()``. A socket is started once. `onError` is called for ICMP errors where the options ask for them, and
    /// `onBatchEnd` after these too.
    public func start(
        on loop: EventLoop, onReceive: @escaping ReceiveHandler, onBatchEnd: @escaping @Sendable () -> Void = {},
        onError: ErrorHandler? = nil
    ) throws(NetIOError) {
        try state.withLock { (state) throws(NetIOError) in
            guard !state.isClosed else { throw NetIOError("start", code: EBADF) }
            guard state.loop == nil else { throw NetIOError("start", code: EALREADY) }
            let interest: EventLoop.Interest = state.backlog.isEmpty ? .readable : [.readable, .writable]
            state.registration = try loop.register(descriptor, interest) { ready in
                if ready.contains(.writable) { self.flushBacklog() }
                // The queue of errors costs no call where there is none.
                if ready.contains(.failed), self.reportsErrors, self.receiveErrors(onError) { onBatchEnd() }
                if ready.contains(.readable) { self.receive(loop, onReceive, onBatchEnd) }
            }
            state.loop = loop
        }
    }

    /// Takes ICMP errors from the kernel's queue; whether there were any.
    private func receiveErrors(_ onError: ErrorHandler?) -> Bool {
        var error = cnetio_error()
        var isAny = false
        for _ in 0..<UDPSocket.maximumErrors {
            let result = cnetio_receive_error(descriptor, &error)
            guard result >= 0 else { break }
            guard result > 0 else { continue }
            isAny = true
            let quoted = withUnsafeBytes(of: error.quoted) { Array($0.prefix(Int(error.quoted_length))) }
            onError?(
                ErrorReport(
                    destination: SocketAddress(error.to), type: error.type, code: error.code, mtu: error.information,
                    quoted: quoted))
        }
        return isAny
    }

    /// Has ICMP errors dropped from now on, where the options asked for them.
    public func ignoreErrors() {
        state.withLock { state in
            guard state.takesReports, !state.isClosed else { return }
            state.takesReports = false
            let isV6 = localAddress.ip.family == .v6
            SocketSetup(descriptor: descriptor).attempt(isV6 ? .receiveErrorsV6 : .receiveErrorsV4, 0)
        }
    }

    private func receive(_ loop: EventLoop, _ onReceive: ReceiveHandler, _ onBatchEnd: @Sendable () -> Void) {
        let ring = loop.receiveRing
        for _ in 0..<UDPSocket.maximumRounds {
            let count = Int(
                cnetio_receive(
                    descriptor, ring.memory.baseAddress, ReceiveRing.stride, ring.received.baseAddress,
                    UInt32(ReceiveRing.slots)))
            guard count > 0 else {
                // Errors that ICMP reported are taken by the call that meets them; there is nothing to do about them.
                if count < 0, errno == EAGAIN { return }
                continue
            }
            guard account(loop, count) else { return }
            for slot in 0..<count { deliver(ring, slot, onReceive) }
            onBatchEnd()
            // Fewer than asked for: the queue is empty, and if not, the loop says so at its next turn.
            if count < ReceiveRing.slots { return }
        }
    }

    /// Counts a batch; answers whether the socket is still open.
    private func account(_ loop: EventLoop, _ count: Int) -> Bool {
        var (packets, bytes, drops) = (0, 0, 0)
        for message in loop.receiveRing.received[..<count] {
            guard message.length > 0 || deliversEmpty && message.length == 0 else {
                drops += 1
                continue
            }
            let segment = max(Int(message.segment), 1)
            packets += max((Int(message.length) + segment - 1) / segment, 1)
            bytes += Int(message.length)
        }
        loop.countTraffic(bytes)
        return state.withLock { state in
            state.statistics.receiveCalls += 1
            state.statistics.packetsReceived += packets
            state.statistics.bytesReceived += bytes
            state.statistics.receiveDrops += drops
            return !state.isClosed
        }
    }

    private func deliver(_ ring: ReceiveRing, _ slot: Int, _ onReceive: ReceiveHandler) {
        let message = ring.received[slot]
        guard message.length > 0 || deliversEmpty && message.length == 0 else { return }
        let local = localAddress.ip.isUnspecified ? message.local.ip : localAddress.ip
        let memory = UnsafeRawBufferPointer(ring.memory)
        let bytes = UnsafeRawBufferPointer(
            rebasing: memory[slot * ReceiveRing.stride..<slot * ReceiveRing.stride + Int(message.length)])
        let train = PacketTrain(
            bytes.bytes, segment: Int(message.segment), source: SocketAddress(message.from),
            destination: SocketAddress(ip: local, port: localAddress.port))
        onReceive(train)
    }
}
