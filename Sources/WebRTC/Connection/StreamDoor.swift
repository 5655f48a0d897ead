// SPDX-License-Identifier: Apache-2.0
import ICE
import NetIO
import Synchronization
import Wire

//   TCPListener ─▶ a guest, for seconds ─a check that names a fragment of ours─▶ that connection's agent,
//                       └── anything else, or nothing: closed            which closes it, unless the proof is right

/// Where peers connect to that have candidates for TCP (RFC 6544 §7.2): a listener for each address, shared by the
/// connections of an endpoint as its UDP sockets are.
final class StreamDoor: Sendable {
    private struct State {
        var listeners: [TCPListener] = []
        /// Who has not said yet whom it is for, the oldest first.
        var guests: [Guest] = []
        var isClosed = false
    }

    private let configuration: RTCEndpoint.Configuration
    private let loop: EventLoop
    private let state = Mutex(State())
    private let timer = Mutex<LoopTimer?>(nil)

    /// Guests at a time; another one takes the place of the oldest, since a peer says at once what it wants.
    private static let guestLimit = 128
    /// How long a guest may take: two lost segments and their copies (RFC 6298 §2: 1 s, 2 s), and a slow path.
    static let patience = Duration.seconds(10)

    init(_ configuration: RTCEndpoint.Configuration, loop: EventLoop) {
        self.configuration = configuration
        self.loop = loop
        let timer = loop.makeTimer { [weak self] in self?.showOut() }
        self.timer.withLock { $0 = timer }
    }

    /// Where the listeners stand.
    var localAddresses: [SocketAddress] { state.withLock { $0.listeners.map(\.localAddress) } }

    /// Listens at these addresses and at no others. One that cannot be had is left out: candidates for UDP remain.
    func open(_ addresses: [IPAddress], for endpoint: RTCEndpoint) {
        guard configuration.tcpCandidates == .both else { return }
        let known = state.withLock { state in state.listeners.map(\.localAddress.ip) }
        let fresh = addresses.filter { !known.contains($0) }.compactMap { listen($0, for: endpoint) }
        let gone = state.withLock { state in
            let gone = state.listeners.filter { !addresses.contains($0.localAddress.ip) }
            state.listeners.removeAll { !addresses.contains($0.localAddress.ip) }
            guard !state.isClosed else { return gone + fresh }
            state.listeners += fresh
            return gone
        }
        for listener in gone { listener.close() }
    }

    private func listen(_ address: IPAddress, for endpoint: RTCEndpoint) -> TCPListener? {
        for port in configuration.portRange ?? 0...0 {
            let listener = try? TCPListener(bind: SocketAddress(ip: address, port: port), on: loop) {
                [weak self, weak endpoint] connection in
                guard let self, let endpoint else { return }
                admit(connection, endpoint)
            }
            if let listener { return listener }
        }
        return nil
    }

    func close() {
        let (listeners, guests) = state.withLock { state in
            state.isClosed = true
            defer { (state.listeners, state.guests) = ([], []) }
            return (state.listeners, state.guests)
        }
        timer.withLock { $0?.cancel() }
        for listener in listeners { listener.close() }
        for guest in guests { guest.stream.close() }
    }

    // MARK: - Guests

    private func admit(_ connection: TCPConnection, _ endpoint: RTCEndpoint) {
        let guest = Guest(connection, until: loop.now + Self.patience)
        let (isClosed, oldest) = state.withLock { state in
            guard !state.isClosed else { return (true, Guest?.none) }
            let oldest = state.guests.count >= Self.guestLimit ? state.guests.removeFirst() : nil
            state.guests.append(guest)
            return (false, oldest)
        }
        guard !isClosed else { return }
        oldest?.stream.close()
        rearm()
        do {
            try guest.start { [weak self, weak endpoint] ufrag in
                self?.forget(guest)
                return ufrag.flatMap { endpoint?.connection(named: $0) }
            }
        } catch {
            forget(guest)
        }
    }

    private func forget(_ guest: Guest) {
        state.withLock { state in state.guests.removeAll { $0 === guest } }
    }

    private func showOut() {
        let now = loop.now
        let late = state.withLock { state in
            let late = state.guests.filter { $0.deadline <= now }
            state.guests.removeAll { $0.deadline <= now }
            return late
        }
        for guest in late { guest.stream.close() }
        rearm()
    }

    private func rearm() {
        let first = state.withLock { $0.guests.first?.deadline }
        timer.withLock { $0?.arm(at: first) }
    }
}

/// Somebody who has connected. Everything happens on the loop's thread.
private final class Guest: Sendable {
    private struct Host {
        weak var connection: PeerConnection?
        let link: RelayLink
    }

    private struct State {
        var reader = FrameReader()
        var host: Host?
    }

    /// The connection; kept by its loop until it is closed.
    let stream: RelayStream
    let deadline: Timestamp
    private let source: SocketAddress
    private let destination: SocketAddress
    private let state = Mutex(State())

    /// The longest first message: what fits an Ethernet is more than any check has.
    private static let longestCheck = 1500

    init(_ connection: TCPConnection, until deadline: Timestamp) {
        self.deadline = deadline
        source = connection.remoteAddress
        destination = connection.localAddress
        stream = RelayStream(connection, nil)
    }

    /// Reads; `leave` is called with the fragment that the first check names, or without one, and answers whose it is.
    func start(leave: @escaping @Sendable (String?) -> PeerConnection?) throws(NetIOError) {
        try stream.start(
            opened: { _ in },
            received: { [weak self] bytes in self?.received(bytes, leave) },
            closed: { [self] reason in
                guard let host = state.withLock({ $0.host }) else {
                    _ = leave(nil)
                    return
                }
                host.connection?.ended(host.link, reason)
            })
    }

    private func received(_ bytes: RawSpan, _ leave: (String?) -> PeerConnection?) {
        if let host = state.withLock({ $0.host }) {
            host.connection?.received(bytes, over: host.link)
            return
        }
        let (check, isForeign) = state.withLock { state -> ([UInt8]?, Bool) in
            state.reader.append(bytes)
            guard let range = state.reader.next() else {
                return (nil, state.reader.announced ?? 0 > Self.longestCheck)
            }
            return (Array(state.reader.buffer[range]), range.count > Self.longestCheck)
        }
        guard check != nil || isForeign else { return }
        let ufrag = isForeign ? nil : check.flatMap { STUNMessage.recipientUfrag(in: $0.span.bytes) }
        guard let connection = leave(ufrag), let ufrag,
            let link = connection.accept(stream, from: source, to: destination, for: ufrag)
        else {
            stream.close()
            return
        }
        let reader = state.withLock { state in
            state.host = Host(connection: connection, link: link)
            defer { state.reader = FrameReader() }
            return state.reader
        }
        connection.received(reader.buffer.span.bytes, over: link)
    }
}
