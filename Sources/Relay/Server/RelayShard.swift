// SPDX-License-Identifier: Apache-2.0
internal import DTLS
internal import NetIO
internal import Synchronization
internal import Wire

/// One thread of a server: a core, its sockets, and the clients that the kernel gave to it. After ``start()``
/// everything here happens on the loop's thread, which needs no lock.
final class RelayShard: @unchecked Sendable {
    let loop: EventLoop
    let ledger: RelayLedger
    private(set) var core: RelayCore
    private let outbox = RelayOutbox()
    private let listeners: [UDPSocket]
    private var streamListeners: [TCPListener] = []
    private var relayed: [RelaySocketID: UDPSocket] = [:]
    private var connections: [UInt32: RelayConnection] = [:]
    private var lastConnection: UInt32 = 0
    private var timer: LoopTimer?
    private var armed: Timestamp?
    private var sweeper: LoopTimer?
    private var streamOverflow = 0
    private let isStopped = Atomic<Bool>(false)

    /// The kernel's buffers of a relayed socket.
    private static let relayedBufferBytes = 1 << 20

    init(
        _ core: consuming RelayCore, _ ledger: RelayLedger, listeners: [UDPSocket], index: Int
    ) throws(NetIOError) {
        loop = try EventLoop(name: "relay-\(index)")
        self.core = core
        self.ledger = ledger
        self.listeners = listeners
    }

    /// Starts to receive.
    func start() throws(NetIOError) {
        timer = loop.makeTimer { [weak self] in
            guard let self else { return }
            armed = nil
            core.handleTimeout(now: loop.now)
            flush()
        }
        sweeper = loop.makeTimer { [weak self] in self?.sweep() }
        for listener in listeners {
            try listener.start(
                on: loop, onReceive: { [weak self] in self?.receive($0) }, onBatchEnd: { [weak self] in self?.flush() })
        }
    }

    /// Listens for streams, encrypted ones where there is a context.
    func listen(_ address: SocketAddress, context: TLSContext?) throws(NetIOError) -> SocketAddress {
        let limit = ledger.limits.streamBacklog + (1 << 17)
        let listener = try TCPListener(bind: address, on: loop, limit: limit) { [weak self] in
            self?.accept($0, context)
        }
        streamListeners.append(listener)
        return listener.localAddress
    }

    func stop() {
        guard !isStopped.exchange(true, ordering: .acquiringAndReleasing) else { return }
        loop.execute { [self] in
            for listener in listeners { listener.close() }
            for listener in streamListeners { listener.close() }
            for socket in relayed.values { socket.close() }
            for connection in connections.values { connection.close() }
            relayed = [:]
            connections = [:]
            timer?.cancel()
            sweeper?.cancel()
        }
        loop.stop()
    }

    /// What this thread has done so far and holds now.
    func metrics() async -> RelayMetrics {
        await withCheckedContinuation { continuation in
            let isTaken = loop.execute { [self] in
                var metrics = core.metrics
                metrics.streams = connections.count
                metrics.streamOverflow = streamOverflow
                continuation.resume(returning: metrics)
            }
            if !isTaken { continuation.resume(returning: RelayMetrics()) }
        }
    }

    // MARK: - Datagrams

    private func receive(_ train: borrowing PacketTrain) {
        let client = RelayClient(transport: .udp, address: train.source, server: train.destination)
        core.receive(train.bytes, segment: train.segment, from: client, now: loop.now, into: outbox)
    }

    private func receive(_ train: borrowing PacketTrain, at socket: RelaySocketID) {
        core.receiveFromPeer(
            train.bytes, segment: train.segment, at: socket, from: train.source, now: loop.now, into: outbox)
    }

    /// Does what the core wants done.
    func flush() {
        while let command = core.nextCommand() {
            switch command {
            case .open(let socket, let address): open(socket, address)
            case .close(let socket): relayed.removeValue(forKey: socket)?.close()
            }
        }
        outbox.drain { self.send($0) }
        if core.nextDeadline != armed {
            armed = core.nextDeadline
            timer?.arm(at: armed)
        }
    }

    private func open(_ socket: RelaySocketID, _ address: SocketAddress) {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = Self.relayedBufferBytes
        options.sendBufferBytes = Self.relayedBufferBytes
        options.backlogBytes = Self.relayedBufferBytes / 4
        options.deliversEmpty = true
        options.reportsErrors = true
        // RFC 8656 §14: what came over a socket does not tell its DF bit, so it counts as 0.
        options.allowsFragments = true
        do throws(NetIOError) {
            let bound = try UDPSocket(bind: address, options: options)
            try bound.start(
                on: loop, onReceive: { [weak self] in self?.receive($0, at: socket) },
                onBatchEnd: { [weak self] in self?.flush() },
                onError: { [weak self] report in
                    guard let self else { return }
                    core.receivePeerError(
                        type: report.type, code: report.code, information: report.mtu, at: socket,
                        about: report.destination, now: loop.now, into: outbox)
                })
            relayed[socket] = bound
            core.socketOpened(socket, now: loop.now, into: outbox)
        } catch {
            core.socketFailed(socket, now: loop.now, into: outbox)
        }
    }

    private func send(_ train: RelayTrain) {
        switch train.route {
        case .relayed(let socket):
            guard let socket = relayed[socket] else { return }
            if train.dontFragment { socket.setFragments(allowed: false) }
            socket.send(train.packets, to: train.destination)
            for _ in 0..<train.emptyPackets { socket.sendEmpty(to: train.destination) }
            if train.dontFragment { socket.setFragments(allowed: true) }
        case .client(let client) where client.isStream:
            guard let connection = connections[client.connection] else { return }
            if !connection.send(train.packets) { streamOverflow += train.packets.byteCount }
        case .client(let client):
            guard let listener = listener(at: client.server) else { return }
            let source = listener.localAddress.ip.isUnspecified ? client.server.ip : nil
            listener.send(train.packets, to: train.destination, from: source)
        }
    }

    /// The socket whose packets leave from an end.
    private func listener(at end: SocketAddress) -> UDPSocket? {
        listeners.first {
            $0.localAddress.port == end.port
                && ($0.localAddress.ip == end.ip
                    || $0.localAddress.ip.isUnspecified && $0.localAddress.ip.family == end.ip.family)
        }
    }

    // MARK: - Streams

    private func accept(_ stream: TCPConnection, _ context: TLSContext?) {
        guard ledger.admitStream(from: stream.remoteAddress.ip) else { return stream.close() }
        lastConnection &+= 1
        let id = lastConnection
        let client = RelayClient(
            transport: context == nil ? .tcp : .tls, address: stream.remoteAddress, server: stream.localAddress,
            connection: id)
        guard
            let connection = RelayConnection(
                stream, client, context, limit: ledger.limits.streamBacklog, channelBytes: core.channelBytes,
                now: loop.now)
        else {
            ledger.releaseStream(from: stream.remoteAddress.ip)
            return stream.close()
        }
        if connections.isEmpty { sweeper?.arm(at: loop.now + sweepInterval) }
        connections[id] = connection
        do throws(NetIOError) {
            try stream.start(
                onReceive: { [weak self] bytes in
                    guard let self, let connection = connections[id] else { return }
                    let isSound = connection.receive(bytes) { message in
                        if RelayCore.isRequest(message) { connection.lastHeard = loop.now }
                        core.receive(
                            message, segment: message.byteCount, from: client, now: loop.now, into: outbox)
                    }
                    if !isSound { connection.close() }
                    flush()
                },
                onEvent: { [weak self] event in
                    if case .closed = event { self?.closed(id) }
                })
        } catch {
            return closed(id)
        }
    }

    private func closed(_ id: UInt32) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        ledger.releaseStream(from: connection.client.address.ip)
        core.streamClosed(connection.client)
        flush()
    }

    /// How often streams are looked at.
    private var sweepInterval: Duration { ledger.limits.streamSilence / 4 }

    /// Closes the streams that carry no allocation and brought nothing that makes sense for a while.
    private func sweep() {
        let now = loop.now
        for connection in connections.values {
            if core.hasAllocation(connection.client) {
                connection.lastHeard = now
            } else if now - connection.lastHeard >= ledger.limits.streamSilence {
                connection.close()
            }
        }
        if !connections.isEmpty { sweeper?.arm(at: now + sweepInterval) }
    }
}
