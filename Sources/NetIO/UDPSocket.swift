// SPDX-License-Identifier: Apache-2.0
import CNetIO
import Glibc
import Synchronization
public import Wire

// Out: PacketBuffer ─▶ trains of equal packets ─▶ sendmmsg with UDP_SEGMENT ─▶ kernel
//                                 └─ no room (EAGAIN) ─▶ SendBacklog ─▶ EPOLLOUT ─▶ again
// In:  kernel (UDP_GRO) ─▶ recvmmsg into the loop's ring ─▶ one PacketTrain a message ─▶ end of batch

/// A UDP socket of one address family that many peers share.
///
/// Sending works from any thread and never blocks. Receiving starts with ``start(on:onReceive:onBatchEnd:)`` and
/// happens on the loop's thread. Datagrams carry the don't-fragment bit and the path MTU that routers report is not
/// believed (anyone on the Internet can forge such a report); senders keep to sizes that pass everywhere.
public final class UDPSocket: Sendable {
    /// How a socket is set up.
    public struct Options: Sendable, Hashable {
        /// Wanted size of the kernel's receive buffer in bytes; unprivileged processes get at most `net.core.rmem_max`.
        public var receiveBufferBytes = 4 << 20
        /// Wanted size of the kernel's send buffer in bytes; unprivileged processes get at most `net.core.wmem_max`.
        public var sendBufferBytes = 4 << 20
        /// Whether runs of equal packets go to the kernel as one (UDP_SEGMENT, Linux 4.18), as long as it takes them.
        public var segmentation = true
        /// Whether the kernel hands over runs of equal packets as one (UDP_GRO, Linux 5.0).
        public var coalescing = true
        /// How many bytes may wait in this process while the kernel has no room.
        public var backlogBytes = 1 << 20
        /// For a socket that is bound to an IPv4 group: the address of the interface on which it joins and sends. Other
        /// programs may have joined as well, and all of them, this one too, get what is sent.
        public var multicastInterface: IPAddress?
        /// Whether other sockets of this user may be bound to the same address, among which the kernel shares out
        /// senders (SO_REUSEPORT, Linux 3.9).
        public var sharesPort = false
        /// Whether datagrams without payload are handed over as well; to most protocols they mean nothing.
        public var deliversEmpty = false
        /// Whether routers may fragment what is sent, where that is too large for them.
        public var allowsFragments = false
        /// Whether ICMP errors are asked for: see ``UDPSocket/start(on:onReceive:onBatchEnd:onError:)``.
        public var reportsErrors = false

        /// The defaults.
        public init() {}
    }

    /// What a socket has done so far.
    public struct Statistics: Sendable, Hashable {
        /// Datagrams that the kernel took.
        public var packetsSent = 0
        /// Their payload in bytes.
        public var bytesSent = 0
        /// System calls for sending.
        public var sendCalls = 0
        /// Datagrams that had to wait in this process.
        public var packetsDelayed = 0
        /// Datagrams dropped because the backlog was full or the socket closed.
        public var sendDrops = 0
        /// Datagrams that the kernel refused: no route, too large, forbidden.
        public var sendErrors = 0
        /// Datagrams received.
        public var packetsReceived = 0
        /// Their payload in bytes.
        public var bytesReceived = 0
        /// System calls for receiving.
        public var receiveCalls = 0
        /// Datagrams that came but were of no use: cut off or empty.
        public var receiveDrops = 0
        /// Datagrams that the kernel dropped because its receive buffer was full.
        public var kernelDrops = 0
    }

    struct State {
        var isClosed = false
        var segmentation: Bool
        /// Whether calls answer with what ICMP said of earlier datagrams.
        var takesReports = false
        var backlog: SendBacklog
        var statistics = Statistics()
        var loop: EventLoop?
        var registration: Registration?
    }

    /// Where the socket is bound, its port known.
    public let localAddress: SocketAddress
    /// The size of the kernel's receive buffer as granted, bookkeeping included (Linux doubles what is asked for).
    public let receiveBufferBytes: Int
    /// The size of the kernel's send buffer as granted, bookkeeping included.
    public let sendBufferBytes: Int

    /// Open until the loop's thread or `deinit` closes it; never while a call uses it.
    let descriptor: Int32
    let state: Mutex<State>
    let deliversEmpty: Bool
    let reportsErrors: Bool
    private let ownsDescriptor = Atomic<Bool>(true)

    /// Binds a socket: port 0 lets the system choose one. An IPv6 socket takes no IPv4.
    public init(bind address: SocketAddress, options: Options = Options()) throws(NetIOError) {
        let isV6 = address.ip.family == .v6
        deliversEmpty = options.deliversEmpty
        reportsErrors = options.reportsErrors
        let descriptor = cnetio_udp_socket(isV6 ? 1 : 0)
        guard descriptor >= 0 else { throw .last("socket") }
        do throws(NetIOError) {
            let setup = SocketSetup(descriptor: descriptor)
            if isV6 { try setup.set(.v6Only, 1) }
            // Failure of what follows costs comfort or speed, not correctness.
            setup.setFragments(allowed: options.allowsFragments, isV6: isV6)
            if options.sharesPort { try setup.set(.reusePort, 1) }
            if options.reportsErrors { setup.attempt(isV6 ? .receiveErrorsV6 : .receiveErrorsV4, 1) }
            if address.ip.isUnspecified { setup.attempt(isV6 ? .packetInfoV6 : .packetInfoV4, 1) }
            if options.coalescing { setup.attempt(.coalescing, 1) }
            setup.grow(.receiveBuffer, to: options.receiveBufferBytes)
            setup.grow(.sendBuffer, to: options.sendBufferBytes)
            let segmentation = options.segmentation && setup.attempt(.segmentation, 0)

            if options.multicastInterface != nil { try setup.set(.reuseAddress, 1) }
            var name = cnetio_address(address)
            guard cnetio_bind(descriptor, &name) == 0, cnetio_local_address(descriptor, &name) == 0 else {
                throw .last("bind \(address)")
            }
            if let interface = options.multicastInterface { try setup.join(address.ip, on: interface) }
            localAddress = SocketAddress(name)
            receiveBufferBytes = setup.get(.receiveBuffer)
            sendBufferBytes = setup.get(.sendBuffer)
            self.descriptor = descriptor
            state = Mutex(
                State(
                    segmentation: segmentation, takesReports: options.reportsErrors,
                    backlog: SendBacklog(capacity: options.backlogBytes)))
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    /// Binds a socket to a free port of a range, tried in order from a random one on.
    public static func bound(
        to ip: IPAddress, ports: ClosedRange<UInt16>, options: Options = Options()
    ) throws(NetIOError) -> UDPSocket {
        var entropy = SystemEntropy.make()
        let offset = Int.random(in: 0..<ports.count, using: &entropy)
        var refusal = NetIOError("bind \(ip)", code: EADDRINUSE)
        for step in 0..<ports.count {
            let port = ports.lowerBound + UInt16((offset + step) % ports.count)
            do throws(NetIOError) {
                return try UDPSocket(bind: SocketAddress(ip: ip, port: port), options: options)
            } catch {
                // A port that others hold, or that is not for us, says nothing about the next.
                guard error.code == EADDRINUSE || error.code == EACCES else { throw error }
                refusal = error
            }
        }
        throw refusal
    }

    deinit { closeDescriptor() }

    /// A snapshot of the counters.
    public var statistics: Statistics {
        state.withLock { state in
            var result = state.statistics
            if !state.isClosed { result.kernelDrops = SocketSetup(descriptor: descriptor).kernelDrops }
            return result
        }
    }

    /// Stops receiving and sending. A started socket is closed by its loop a moment later, on its own thread; after
    /// this call no further packet is handed over there. Repeated calls are harmless.
    public func close() {
        let loop: EventLoop?? = state.withLock { state in
            guard !state.isClosed else { return nil }
            state.isClosed = true
            state.statistics.kernelDrops = SocketSetup(descriptor: descriptor).kernelDrops
            state.statistics.sendDrops += state.backlog.removeAll()
            return .some(state.loop)
        }
        guard let loop else { return }
        if loop?.execute({ self.detach() }) != true { detach() }
    }

    private func detach() {
        let registration = state.withLock { state in
            let registration = state.registration
            state.registration = nil
            state.loop = nil
            return registration
        }
        registration?.cancel()
        closeDescriptor()
    }

    private func closeDescriptor() {
        if ownsDescriptor.exchange(false, ordering: .acquiringAndReleasing) { Glibc.close(descriptor) }
    }
}
