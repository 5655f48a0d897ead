// SPDX-License-Identifier: Apache-2.0
import DTLS
import ICE
import NetIO
import Synchronization
import Wire

//   RelayRequest.open ─▶ UDP: a socket of the connection's own            ─▶ relayOpened
//                     ─▶ TCP: a stream ─ TLS: a session over that stream  ─▶ relayOpened, or relayClosed
//   RelayRequest.send, packets for a relay ─▶ [session] ─▶ stream          stream ─▶ [session] ─▶ receive(over:)

/// The ways to TURN servers, and to the peer over TCP, that a connection's agents have asked for or taken. Links are
/// opened and closed on the loop's thread.
final class RelayLinks: Sendable {
    /// What comes of the links, on the loop's thread.
    struct Handler: Sendable {
        /// A way is open, from this local address.
        var opened: @Sendable (RelayLink, SocketAddress) -> Void
        /// Bytes of a stream.
        var received: @Sendable (RelayLink, RawSpan) -> Void
        /// A way has come to an end, or could not be opened.
        var closed: @Sendable (RelayLink, TURNFailure) -> Void
    }

    private struct State {
        var streams: [RelayLink: RelayStream] = [:]
        var sockets: [RelayLink: EndpointSocket] = [:]
    }

    private let state = Mutex(State())

    /// While more than this waits in a stream packets are dropped, as a router would: their senders then slow down, and
    /// what waits delays no one for long.
    private static let queueLimit = 256 << 10

    /// Keeps a socket that was opened for a link.
    func adopt(_ socket: EndpointSocket, for link: RelayLink) {
        state.withLock { $0.sockets[link] = socket }
    }

    /// Keeps a connection that was taken.
    func adopt(_ stream: RelayStream, for link: RelayLink) {
        state.withLock { $0.streams[link] = stream }
    }

    /// Forgets a stream that is closed; answers whether it was known.
    func forget(_ link: RelayLink) -> Bool {
        state.withLock { $0.streams.removeValue(forKey: link) } != nil
    }

    /// Forgets a link; answers the socket where it had one.
    func close(_ link: RelayLink) -> EndpointSocket? {
        let (stream, socket) = state.withLock { state in
            (state.streams.removeValue(forKey: link), state.sockets.removeValue(forKey: link))
        }
        stream?.close()
        return socket
    }

    /// Ends all streams; sockets are their owner's to close.
    func closeAll() {
        let streams = state.withLock { state in
            defer { state = State() }
            return Array(state.streams.values)
        }
        for stream in streams { stream.close() }
    }

    /// Opens a stream, under TLS where there is a context.
    func openStream(
        _ link: RelayLink, to address: SocketAddress, name: String?, from local: IPAddress?, tls: TLSContext?,
        loop: EventLoop, handler: Handler
    ) {
        do {
            var session: TLSSession?
            if let tls { session = try TLSSession(tls, serverName: name ?? address.ip.withoutScope.description) }
            let connection = try TCPConnection(
                to: address, from: local.map { SocketAddress(ip: $0, port: 0) }, on: loop)
            let stream = RelayStream(connection, session)
            state.withLock { $0.streams[link] = stream }
            try stream.start(
                opened: { handler.opened(link, $0) }, received: { handler.received(link, $0) },
                closed: { [weak self] failure in
                    // One that was closed from here has no more to tell.
                    guard self?.state.withLock({ $0.streams.removeValue(forKey: link) }) != nil else { return }
                    handler.closed(link, failure)
                })
        } catch let error as TLSError {
            handler.closed(link, .tlsFailed("\(error)"))
        } catch {
            state.withLock { $0.streams[link] = nil }
            handler.closed(link, .unreachable)
        }
    }

    /// Sends a message of the agent's.
    func send(_ bytes: [UInt8], over link: RelayLink) {
        state.withLock { $0.streams[link] }?.send(bytes.span.bytes)
    }

    /// Sends packets that are wrapped for the server.
    func send(_ packets: borrowing PacketBuffer, over link: RelayLink) {
        guard let stream = state.withLock({ $0.streams[link] }) else { return }
        guard stream.bufferedBytes <= Self.queueLimit else { return }
        packets.withUnsafeBytes { stream.send($0.bytes) }
    }
}

/// A stream to a TURN server (RFC 8656 §2.1), or to or from the peer (RFC 6544).
final class RelayStream: Sendable {
    private struct State: ~Copyable, Sendable {
        var session: TLSSession?
        var isOpen = false
    }

    private let connection: TCPConnection
    private let state: Mutex<State>

    init(_ connection: TCPConnection, _ session: consuming sending TLSSession?) {
        self.connection = connection
        state = Mutex(State(session: session))
    }

    var bufferedBytes: Int { connection.bufferedBytes }

    func start(
        opened: @escaping @Sendable (SocketAddress) -> Void, received: @escaping @Sendable (RawSpan) -> Void,
        closed: @escaping @Sendable (TURNFailure) -> Void
    ) throws(NetIOError) {
        // The loop keeps the connection and with it these closures until the end; the stream goes with its owner.
        try connection.start { [self] bytes in
            take(bytes, opened, received)
        } onEvent: { [self] event in
            switch event {
            case .connected: take([UInt8]().span.bytes, opened, received)
            case .closed(let error): closed(failure ?? (error == nil ? .streamClosed : .unreachable))
            }
        }
    }

    /// Bytes that came, none where the stream has only just opened.
    private func take(_ bytes: RawSpan, _ opened: (SocketAddress) -> Void, _ received: (RawSpan) -> Void) {
        var plaintext: [UInt8] = []
        let (isPlain, isNew, hasEnded) = state.withLock { state in
            guard var session = state.session.take() else {
                defer { state.isOpen = true }
                return (true, !state.isOpen, false)
            }
            session.start()
            if bytes.byteCount > 0 { session.receive(bytes, plaintext: &plaintext) }
            flush(&session)
            let isConnected = session.state == .connected
            let hasEnded = !isConnected && session.state != .handshaking
            state.session = consume session
            defer { state.isOpen = isConnected || state.isOpen }
            return (false, isConnected && !state.isOpen, hasEnded)
        }
        if isNew { opened(connection.localAddress) }
        if isPlain, bytes.byteCount > 0 { received(bytes) }
        if !plaintext.isEmpty { received(plaintext.span.bytes) }
        // An alert may still be on its way out.
        if hasEnded { connection.finish() }
    }

    /// Why the session is dead, where it is.
    private var failure: TURNFailure? {
        state.withLock { state in
            guard let session = state.session.take() else { return nil }
            let last = session.state
            state.session = consume session
            guard case .failed(let error) = last else { return nil }
            return .tlsFailed("\(error)")
        }
    }

    func send(_ bytes: RawSpan) {
        // The lock is kept while a session's records go to the connection, so that they stay in order.
        state.withLock { state in
            guard var session = state.session.take() else {
                connection.send(bytes)
                return
            }
            session.send(bytes)
            flush(&session)
            state.session = consume session
        }
    }

    func close() {
        state.withLock { state in
            guard var session = state.session.take() else { return }
            session.close()
            flush(&session)
            state.session = consume session
        }
        // The last message gives the allocation back (RFC 8656 §8).
        connection.finish()
    }

    private func flush(_ session: inout TLSSession) {
        let outgoing = session.takeOutgoing()
        if !outgoing.isEmpty { connection.send(outgoing.span.bytes) }
    }
}
