// SPDX-License-Identifier: Apache-2.0
import DTLS
import NetIO
import Wire

/// A stream to a TURN server, encrypted or not. All of it happens on its loop's thread.
final class AgentStream: @unchecked Sendable {
    /// What happened.
    enum Event {
        /// Bytes may be sent. The local address.
        case open(SocketAddress)
        case received([UInt8])
        case closed
    }

    private let stream: TCPConnection
    private var tls: TLSSession?
    private var isOpen = false
    private let onEvent: @Sendable (Event) -> Void

    /// Begins to connect.
    init(
        to server: SocketAddress, from local: IPAddress?, isEncrypted: Bool, on loop: EventLoop,
        onEvent: @escaping @Sendable (Event) -> Void
    ) throws {
        self.onEvent = onEvent
        // A laboratory's server has a certificate of its own making.
        if isEncrypted { tls = try TLSSession(TLSContext.client(trust: .anyone)) }
        stream = try TCPConnection(to: server, from: local.map { SocketAddress(ip: $0, port: 0) }, on: loop)
        try stream.start(
            onReceive: { [weak self] in self?.receive($0) }, onEvent: { [weak self] in self?.note($0) })
    }

    /// Sends bytes behind those before.
    func send(_ bytes: RawSpan) {
        guard tls != nil else { return stream.send(bytes) }
        tls?.send(bytes)
        flush()
    }

    func close() {
        tls?.close()
        flush()
        stream.close()
    }

    private func receive(_ bytes: RawSpan) {
        guard tls != nil else { return onEvent(.received([UInt8](copying: bytes))) }
        var plaintext: [UInt8] = []
        tls?.receive(bytes, plaintext: &plaintext)
        flush()
        switch tls?.state {
        case .connected:
            if !isOpen {
                isOpen = true
                onEvent(.open(stream.localAddress))
            }
            if !plaintext.isEmpty { onEvent(.received(plaintext)) }
        case .handshaking: break
        default: stream.close()
        }
    }

    private func note(_ event: TCPConnection.Event) {
        switch event {
        case .connected where tls == nil: onEvent(.open(stream.localAddress))
        case .connected:
            tls?.start()
            flush()
        case .closed: onEvent(.closed)
        }
    }

    private func flush() {
        guard let outgoing = tls?.takeOutgoing(), !outgoing.isEmpty else { return }
        stream.send(outgoing.span.bytes)
    }
}
