// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

/// Asks the local links for the address of a `….local` name (RFC 6762). Sockets and timer last as long as the question.
final class MulticastResolver: Sendable {
    private struct State: ~Copyable, Sendable {
        var lookup: MDNSLookup
        /// In the order of the lookup's sources.
        var sockets: [(source: SocketAddress, socket: UDPSocket)] = []
        var timer: LoopTimer?
        var done: (@Sendable ([IPAddress]) -> Void)?
    }

    private let loop: EventLoop
    private let state: Mutex<State>

    /// Calls `done` once, on the loop's thread, with what was found: nothing where nobody knows the name. `addresses`
    /// tell the links; those of IPv6 are left out.
    static func resolve(
        _ name: String, from addresses: [IPAddress], loop: EventLoop, done: @escaping @Sendable ([IPAddress]) -> Void
    ) {
        loop.execute {
            MulticastResolver(name, MulticastLink.sockets(from: addresses), loop, done).start()
        }
    }

    private init(
        _ name: String, _ sockets: [(source: SocketAddress, socket: UDPSocket)], _ loop: EventLoop,
        _ done: @escaping @Sendable ([IPAddress]) -> Void
    ) {
        self.loop = loop
        let lookup = MDNSLookup(name: name, sources: sockets.map(\.source), now: loop.now)
        state = Mutex(State(lookup: lookup, sockets: sockets, done: done))
    }

    private func start() {
        // The timer and the sockets' handlers keep the resolver until it is done.
        let timer = loop.makeTimer { [self] in
            state.withLock { $0.lookup.handleTimeout(now: loop.now) }
            process()
        }
        state.withLock { $0.timer = timer }
        for (source, socket) in state.withLock({ $0.sockets }) {
            try? socket.start(on: loop) { [self] train in
                state.withLock { state in
                    for index in 0..<train.count {
                        state.lookup.receive(train[index], from: train.source, to: source, now: loop.now)
                    }
                }
            } onBatchEnd: { [self] in
                process()
            }
        }
        process()
    }

    private func process() {
        while true {
            switch state.withLock({ $0.lookup.nextOutput() }) {
            case .transmit(let datagram):
                let socket = state.withLock { $0.sockets.first { $0.source == datagram.source }?.socket }
                socket?.send(datagram.payload.span.bytes, to: datagram.destination)
            case .event(.found(let addresses)): finish(addresses)
            case .event(.notFound): finish([])
            case .wait(let deadline):
                state.withLock { $0.timer }?.arm(at: deadline)
                return
            }
        }
    }

    private func finish(_ addresses: [IPAddress]) {
        let (sockets, timer, done) = state.withLock { state in
            let taken = (state.sockets, state.timer, state.done)
            state.sockets = []
            state.timer = nil
            state.done = nil
            return taken
        }
        timer?.cancel()
        for (_, socket) in sockets { socket.close() }
        done?(addresses)
    }
}
