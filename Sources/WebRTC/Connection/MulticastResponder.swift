// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

// names of candidates ─▶ answer ─▶ MDNSResponder, on the links of the host's IPv4 addresses
// the host's addresses change ─▶ follow: new sockets, and the names of what is still there are announced again

/// Answers on the local links for the names that stand for addresses of this host (RFC 6762), as long as its endpoint
/// lives.
final class MulticastResponder: Sendable {
    private struct State: ~Copyable, Sendable {
        var core: MDNSResponder
        /// In the order of the core's sources.
        var sockets: [(source: SocketAddress, socket: UDPSocket)] = []
        var timer: LoopTimer?
        var names: [HostName] = []
    }

    private let loop: EventLoop
    private let state: Mutex<State>

    /// A responder on the links of some addresses, at work a moment later.
    init(on addresses: [IPAddress], loop: EventLoop) {
        self.loop = loop
        state = Mutex(State(core: MDNSResponder(sources: [])))
        let timer = loop.makeTimer { [weak self] in
            guard let self else { return }
            state.withLock { $0.core.handleTimeout(now: loop.now) }
            process()
        }
        state.withLock { $0.timer = timer }
        follow(addresses)
    }

    /// The names that are answered for.
    var names: [HostName] { state.withLock { $0.names } }

    /// Answers for more names.
    func answer(for hosts: [HostName]) {
        let isNew = state.withLock { state in
            let fresh = hosts.filter { !state.names.contains($0) }.prefix(MDNSResponder.mostNames - state.names.count)
            state.names += fresh
            for host in fresh { state.core.add(host, now: loop.now) }
            return !fresh.isEmpty
        }
        if isNew { loop.execute { [weak self] in self?.process() } }
    }

    /// Goes over to the links of these addresses; names of others are forgotten.
    func follow(_ addresses: [IPAddress]) {
        loop.execute { [weak self] in self?.move(to: addresses) }
    }

    /// Says good-bye and ends.
    func close() {
        state.withLock { state in
            state.names = []
            state.core.close()
        }
        loop.execute { [self] in
            process()
            let (timer, sockets) = state.withLock { state in
                defer { (state.timer, state.sockets) = (nil, []) }
                return (state.timer, state.sockets)
            }
            timer?.cancel()
            for (_, socket) in sockets { socket.close() }
        }
    }

    private func move(to addresses: [IPAddress]) {
        guard state.withLock({ $0.timer != nil }) else { return }
        let sockets = MulticastLink.sockets(from: addresses)
        let old = state.withLock { state in
            let old = state.sockets
            let present = Set(addresses)
            if !old.isEmpty { state.names.removeAll { !present.contains($0.address) } }
            state.sockets = sockets
            state.core = MDNSResponder(sources: sockets.map(\.source))
            for host in state.names { state.core.add(host, now: loop.now) }
            return old
        }
        for (_, socket) in old { socket.close() }
        for (source, socket) in sockets {
            try? socket.start(on: loop) { [weak self] train in
                guard let self else { return }
                state.withLock { state in
                    for index in 0..<train.count {
                        state.core.receive(train[index], from: train.source, to: source, now: loop.now)
                    }
                }
            } onBatchEnd: { [weak self] in
                self?.process()
            }
        }
        process()
    }

    private func process() {
        while true {
            switch state.withLock({ $0.core.nextOutput() }) {
            case .transmit(let datagram):
                let socket = state.withLock { $0.sockets.first { $0.source == datagram.source }?.socket }
                socket?.send(datagram.payload.span.bytes, to: datagram.destination)
            case .event: break
            case .wait(let deadline):
                state.withLock { $0.timer }?.arm(at: deadline)
                return
            }
        }
    }
}
