// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

/// Runs a NAT discovery over this host's sockets.
final class NATProbe: Sendable {
    private struct State: ~Copyable {
        var discovery: NATDiscovery
        var sockets: [Int: UDPSocket] = [:]
        var timer: LoopTimer?
    }

    private let loop: EventLoop
    private let local: IPAddress
    private let state: Mutex<State>
    private let stages: @Sendable (NATDiscovery.Stage) -> Void
    private let (reports, continuation) = AsyncStream<NATReport>.makeStream()

    /// RFC 5780 §4.1 recommends these, chosen at random, so that no port comes again soon.
    private static let ports: ClosedRange<UInt16> = 32_768...65_535
    /// A socket receives a few small packets.
    private static let bufferBytes = 65_536

    /// A discovery that starts with ``run()``. `stages` is called on the loop's thread.
    init(
        server: SocketAddress, from local: IPAddress, configuration: NATDiscovery.Configuration,
        stages: @escaping @Sendable (NATDiscovery.Stage) -> Void
    ) throws {
        loop = try EventLoop(name: "dreamer-probe")
        self.local = local
        self.stages = stages
        state = Mutex(
            State(
                discovery: NATDiscovery(
                    server: server, configuration: configuration, entropy: SystemEntropy.make(), now: MonotonicClock.now
                )))
    }

    /// Runs to the end, or until the task is cancelled; `nil` then.
    func run() async -> NATReport? {
        let timer = loop.makeTimer { [weak self] in
            self?.state.withLock { $0.discovery.handleTimeout(now: MonotonicClock.now) }
            self?.drain()
        }
        state.withLock { $0.timer = timer }
        loop.execute { [self] in drain() }
        var result: NATReport?
        for await report in reports { result = report }
        // On a thread that may wait for the loop's.
        let sockets = state.withLock { state in
            state.timer = nil
            let sockets = state.sockets
            state.sockets = [:]
            return sockets
        }
        timer.cancel()
        for socket in sockets.values { socket.close() }
        loop.stop()
        return result
    }

    /// Does what the core wants, until it waits. Called on the loop's thread alone.
    private func drain() {
        while true {
            switch state.withLock({ $0.discovery.nextOutput() }) {
            case .transmit(let datagram): send(datagram)
            case .event(.openSocket(let id)): open(id)
            case .event(.closeSocket(let id)): state.withLock { $0.sockets.removeValue(forKey: id) }?.close()
            case .event(.stage(let stage)): stages(stage)
            case .event(.finished(let report)):
                continuation.yield(report)
                continuation.finish()
            case .wait(let until):
                state.withLock { $0.timer }?.arm(at: until)
                return
            }
        }
    }

    private func send(_ datagram: Datagram) {
        let socket = state.withLock { state in
            state.sockets.values.first { $0.localAddress == datagram.source }
        }
        socket?.send(datagram.payload.span.bytes, to: datagram.destination)
    }

    private func open(_ id: Int) {
        var options = UDPSocket.Options()
        options.receiveBufferBytes = Self.bufferBytes
        options.sendBufferBytes = Self.bufferBytes
        do throws(NetIOError) {
            let socket = try UDPSocket.bound(to: local, ports: Self.ports, options: options)
            try socket.start(
                on: loop,
                onReceive: { [weak self] train in
                    for index in 0..<train.count {
                        self?.receive(train[index], from: train.source, to: train.destination)
                    }
                }, onBatchEnd: { [weak self] in self?.drain() })
            state.withLock { state in
                state.sockets[id] = socket
                state.discovery.socketOpened(id, at: socket.localAddress, now: MonotonicClock.now)
            }
        } catch {
            state.withLock { $0.discovery.socketFailed(id, now: MonotonicClock.now) }
        }
    }

    private func receive(_ bytes: RawSpan, from source: SocketAddress, to destination: SocketAddress) {
        state.withLock { $0.discovery.receive(bytes, from: source, to: destination, now: MonotonicClock.now) }
    }
}
