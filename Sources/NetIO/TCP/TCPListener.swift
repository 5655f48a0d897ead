// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

/// A port that takes connections, on a loop until ``close()``.
public final class TCPListener: Sendable {
    /// What is done with each connection; called on the loop's thread. One that is not started is closed.
    public typealias AcceptHandler = @Sendable (TCPConnection) -> Void

    /// Where it listens, its port known.
    public let localAddress: SocketAddress
    private let loop: EventLoop
    private let descriptor: Int32
    private let registration = Mutex<Registration?>(nil)
    private let pause = Mutex<LoopTimer?>(nil)
    private let ownsDescriptor = Atomic<Bool>(true)

    /// How many connections wait for being taken (listen(2)).
    private static let backlog: Int32 = 512
    /// How many are taken in one turn, so that others have theirs.
    private static let perTurn = 64
    /// How long nothing is taken where the system has no room for another one: the connection that waits would
    /// otherwise have the loop try without end.
    private static let pauseTime = Duration.milliseconds(100)

    /// Listens at an address; port 0 lets the system choose one. At most `limit` bytes wait in each connection for the
    /// kernel.
    public init(
        bind address: SocketAddress, on loop: EventLoop, limit: Int = 1 << 20, onAccept: @escaping AcceptHandler
    ) throws(NetIOError) {
        let isV6 = address.ip.family == .v6
        let descriptor = cnetio_tcp_socket(isV6 ? 1 : 0)
        guard descriptor >= 0 else { throw .last("socket") }
        do throws(NetIOError) {
            let setup = SocketSetup(descriptor: descriptor)
            if isV6 { try setup.set(.v6Only, 1) }
            // Connections of an earlier process may linger at the port.
            try setup.set(.reuseAddress, 1)
            var name = cnetio_address(address)
            guard cnetio_bind(descriptor, &name) == 0, listen(descriptor, Self.backlog) == 0,
                cnetio_local_address(descriptor, &name) == 0
            else { throw .last("listen \(address)") }
            localAddress = SocketAddress(name)
        } catch {
            Glibc.close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        self.loop = loop
        let timer = loop.makeTimer { [weak self] in self?.registration.withLock { $0 }?.update(.readable) }
        pause.withLock { $0 = timer }
        let made = try loop.register(descriptor, .readable) { [weak self] _ in self?.accept(limit, onAccept) }
        registration.withLock { $0 = made }
    }

    deinit { close() }

    /// Takes no more connections; those that were taken stay. Repeated calls are harmless.
    public func close() {
        guard ownsDescriptor.exchange(false, ordering: .acquiringAndReleasing) else { return }
        let (descriptor, taken) = (descriptor, registration.withLock { $0.take() })
        // On the loop's thread, which may be taking a connection.
        pause.withLock { $0 }?.cancel()
        let end: EventLoop.Work = {
            taken?.cancel()
            Glibc.close(descriptor)
        }
        if !loop.execute(end) { end() }
    }

    private func accept(_ limit: Int, _ onAccept: AcceptHandler) {
        for _ in 0..<Self.perTurn {
            var from = cnetio_address(.anyV4)
            let accepted = cnetio_accept(descriptor, &from)
            guard accepted >= 0 else {
                switch errno {
                case EINTR, ECONNABORTED: continue
                case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                    registration.withLock { $0 }?.update([])
                    pause.withLock { $0 }?.arm(at: loop.now + Self.pauseTime)
                default: break
                }
                return
            }
            guard
                let connection = try? TCPConnection(
                    accepted: accepted, from: SocketAddress(from), on: loop, limit: limit)
            else { continue }
            onAccept(connection)
        }
    }
}
