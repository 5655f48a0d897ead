// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

//   init(to:) ──▶ connecting ──▶ open ──▶ closed            accepted by a TCPListener: open at once
//                     └── refused, unreachable, timed out ──▶ closed(error)

/// A stream of bytes to one address (RFC 9293) on a loop: for TURN and STUN over TCP and TLS, and for ICE-TCP.
///
/// Sending works from any thread, keeps the order and never blocks: what the kernel has no room for waits in this
/// process, up to a bound past which the connection is closed, since a stream must not lose bytes. Events come on the
/// loop's thread with no lock held, none before ``start(_:)``.
public final class TCPConnection: Sendable {
    /// What happened.
    public enum Event: Sendable {
        /// It is open; told for those that this side opened.
        case connected
        /// It is over: by the peer or by ``TCPConnection/close()`` without an error. The last event.
        case closed(NetIOError?)
    }

    /// What is done with bytes as they come; they are gone after the call.
    public typealias ReceiveHandler = @Sendable (RawSpan) -> Void
    /// What is done about events.
    public typealias EventHandler = @Sendable (Event) -> Void

    private struct State {
        enum Phase { case connecting, open, closed }
        var phase: Phase
        var waiting: [UInt8] = []
        var sent = 0
        var isFinishing = false
        var registration: Registration?
        var isStarted = false
        var error: NetIOError?
    }

    /// The address of the other end.
    public let remoteAddress: SocketAddress
    /// The address of this end; its port is known from the start.
    public let localAddress: SocketAddress
    private let loop: EventLoop
    private let descriptor: Int32
    private let limit: Int
    private let state: Mutex<State>
    private let ownsDescriptor = Atomic<Bool>(true)

    /// How long the other end may leave bytes unacknowledged after ``finish()``, in milliseconds.
    private static let finishingTimeout: Int32 = 5000

    /// How much one turn of the loop reads of one connection, so that others have their turn.
    private static let bytesPerTurn = 256 << 10

    /// Begins to connect, from `local` if it is given. At most `limit` bytes wait for the kernel.
    public convenience init(
        to address: SocketAddress, from local: SocketAddress? = nil, on loop: EventLoop, limit: Int = 1 << 20
    ) throws(NetIOError) {
        let descriptor = cnetio_tcp_socket(address.ip.family == .v6 ? 1 : 0)
        guard descriptor >= 0 else { throw .last("socket") }
        if let local {
            var name = cnetio_address(local)
            guard cnetio_bind(descriptor, &name) == 0 else {
                let error = NetIOError.last("bind \(local)")
                Glibc.close(descriptor)
                throw error
            }
        }
        var name = cnetio_address(address)
        guard cnetio_connect(descriptor, &name) == 0 || errno == EINPROGRESS else {
            let error = NetIOError.last("connect \(address)")
            Glibc.close(descriptor)
            throw error
        }
        try self.init(descriptor, address, loop, limit, .connecting)
    }

    /// One that a listener took.
    convenience init(
        accepted descriptor: Int32, from address: SocketAddress, on loop: EventLoop, limit: Int
    ) throws(NetIOError) {
        try self.init(descriptor, address, loop, limit, .open)
    }

    private init(
        _ descriptor: Int32, _ address: SocketAddress, _ loop: EventLoop, _ limit: Int, _ phase: State.Phase
    ) throws(NetIOError) {
        var name = cnetio_address(.anyV4)
        guard cnetio_local_address(descriptor, &name) == 0 else {
            let error = NetIOError.last("getsockname")
            Glibc.close(descriptor)
            throw error
        }
        // A STUN message waits for no other (RFC 9293 §3.7.4).
        SocketSetup(descriptor: descriptor).attempt(.noDelay, 1)
        self.descriptor = descriptor
        self.loop = loop
        self.limit = limit
        remoteAddress = address
        localAddress = SocketAddress(name)
        state = Mutex(State(phase: phase))
    }

    deinit { closeDescriptor() }

    /// Starts to read and to tell; once. The loop keeps the connection until it is closed.
    public func start(onReceive: @escaping ReceiveHandler, onEvent: @escaping EventHandler) throws(NetIOError) {
        try state.withLock { (state) throws(NetIOError) in
            guard !state.isStarted, state.phase != .closed else { throw NetIOError("start", code: EALREADY) }
            state.isStarted = true
            let isIdle = state.phase == .open && state.waiting.isEmpty
            state.registration = try loop.register(descriptor, isIdle ? .readable : [.readable, .writable]) { ready in
                self.proceed(ready, onReceive, onEvent)
            }
        }
    }

    /// Bytes that wait for the kernel.
    public var bufferedBytes: Int { state.withLock { $0.waiting.count - $0.sent } }

    /// Sends bytes behind those before. Before the connection is open they wait.
    public func send(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { bytes in
            state.withLock { state in
                guard state.phase != .closed, !state.isFinishing, !bytes.isEmpty else { return }
                var taken = 0
                if state.phase == .open, state.waiting.isEmpty { taken = write(bytes, &state) }
                guard taken < bytes.count, state.phase != .closed else { return }
                guard state.waiting.count - state.sent + bytes.count - taken <= limit else {
                    return fail(NetIOError("send to \(remoteAddress)", code: ENOBUFS), &state)
                }
                state.waiting.append(contentsOf: bytes[taken...])
                state.registration?.update([.readable, .writable])
            }
        }
    }

    /// Ends it at once: what still waits is dropped. `closed` follows on the loop's thread. Repeated calls are
    /// harmless.
    public func close() {
        state.withLock { state in
            guard state.phase != .closed else { return }
            state.phase = .closed
            // Wakes the loop, which tells and lets go.
            shutdown(descriptor, Int32(SHUT_RDWR))
            state.registration?.update([.readable, .writable])
        }
    }

    /// Ends it when what waits is with the kernel; nothing more can be sent. One that is not open yet ends at once, and
    /// one whose other end takes nothing after five seconds. `closed` follows on the loop's thread. Repeated calls are
    /// harmless.
    public func finish() {
        let hasEnded = state.withLock { state in
            guard state.phase == .open, !state.waiting.isEmpty else { return true }
            state.isFinishing = true
            SocketSetup(descriptor: descriptor).attempt(.userTimeout, Self.finishingTimeout)
            return false
        }
        if hasEnded { close() }
    }

    // MARK: - The loop's thread

    private func proceed(_ ready: EventLoop.Interest, _ onReceive: ReceiveHandler, _ onEvent: EventHandler) {
        if ready.contains(.writable) {
            let hasConnected = state.withLock { state in
                guard state.phase == .connecting else {
                    flush(&state)
                    return false
                }
                let code = Int32(truncatingIfNeeded: SocketSetup(descriptor: descriptor).get(.error))
                guard code == 0 else {
                    fail(NetIOError("connect \(remoteAddress)", code: code), &state)
                    return false
                }
                state.phase = .open
                flush(&state)
                return true
            }
            if hasConnected { onEvent(.connected) }
        }
        if ready.contains(.readable) { read(onReceive) }
        let end: NetIOError?? = state.withLock { state in
            guard state.phase == .closed else { return nil }
            state.registration?.cancel()
            state.registration = nil
            state.waiting = []
            return .some(state.error)
        }
        guard let end else { return }
        closeDescriptor()
        onEvent(.closed(end))
    }

    private func read(_ onReceive: ReceiveHandler) {
        let memory = UnsafeMutableRawBufferPointer(loop.receiveRing.memory)
        var total = 0
        while total < Self.bytesPerTurn {
            guard state.withLock({ $0.phase == .open }) else { return }
            let count = recv(descriptor, memory.baseAddress, memory.count, 0)
            if count > 0 {
                total += count
                loop.countTraffic(count)
                onReceive(UnsafeRawBufferPointer(rebasing: memory[..<count]).bytes)
            } else if count < 0, errno == EINTR {
                continue
            } else if count < 0, errno == EAGAIN {
                return
            } else {
                let error = count == 0 ? nil : NetIOError.last("receive from \(remoteAddress)")
                return state.withLock { fail(error, &$0) }
            }
        }
    }

    // MARK: - Under the lock

    private func flush(_ state: inout State) {
        guard state.phase == .open else { return }
        let (waiting, sent) = (state.waiting, state.sent)
        state.sent += waiting.withUnsafeBytes { write(UnsafeRawBufferPointer(rebasing: $0[sent...]), &state) }
        guard state.sent == waiting.count else {
            // One that never catches up must not keep all that it has sent.
            if state.sent > limit {
                state.waiting.removeFirst(state.sent)
                state.sent = 0
            }
            return
        }
        state.waiting.removeAll(keepingCapacity: waiting.count <= 64 << 10)
        state.sent = 0
        guard state.phase == .open else { return }
        if state.isFinishing { fail(nil, &state) } else { state.registration?.update(.readable) }
    }

    /// How many bytes the kernel took.
    private func write(_ bytes: UnsafeRawBufferPointer, _ state: inout State) -> Int {
        var done = 0
        while done < bytes.count, let base = bytes.baseAddress {
            let count = Glibc.send(descriptor, base + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            if count >= 0 {
                done += count
            } else if errno == EAGAIN {
                break
            } else if errno != EINTR {
                fail(.last("send to \(remoteAddress)"), &state)
                break
            }
        }
        return done
    }

    private func fail(_ error: NetIOError?, _ state: inout State) {
        guard state.phase != .closed else { return }
        state.phase = .closed
        state.error = error
        shutdown(descriptor, Int32(SHUT_RDWR))
        state.registration?.update([.readable, .writable])
    }

    private func closeDescriptor() {
        if ownsDescriptor.exchange(false, ordering: .acquiringAndReleasing) { Glibc.close(descriptor) }
    }
}
