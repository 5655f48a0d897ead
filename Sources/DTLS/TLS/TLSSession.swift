// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

//   bytes of the stream ──receive──▶ plaintext
//   plaintext ──send──▶ takeOutgoing ──▶ bytes of the stream          handshaking ──▶ connected ──▶ closed | failed

/// TLS over any reliable stream (RFC 8446, RFC 5246), as a value: fed with bytes of the stream it answers with
/// plaintext and with bytes for the stream. It has no clock: a stream repairs its own losses.
///
/// After every other call take ``takeOutgoing()``, and look at ``state``.
public struct TLSSession: ~Copyable, @unchecked Sendable {
    /// Where a session stands.
    public enum State: Hashable, Sendable {
        /// Keys are being agreed on.
        case handshaking
        /// Data moves.
        case connected
        /// Either side ended it in order (close_notify).
        case closed
        /// It is dead.
        case failed(TLSError)
    }

    /// Where the session stands.
    public private(set) var state = State.handshaking
    private let context: TLSContext
    private let ssl: OpaquePointer
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    /// Data that was sent before the handshake's end.
    private var early: [UInt8] = []

    /// A session that has sent nothing. A client names the server as its certificate must: a host name, or an IP
    /// address.
    public init(_ context: TLSContext, serverName: String? = nil) throws(TLSError) {
        guard let ssl = SSL_new(context.pointer) else { throw .library(LibraryError.take().text) }
        let (incoming, outgoing) = (BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()))
        SSL_set_bio(ssl, incoming, outgoing)  // owns both from here on
        let isNamed = context.isServer || serverName.map { Self.setName($0, of: ssl) } ?? true
        guard let incoming, let outgoing, isNamed else {
            SSL_free(ssl)
            throw .library(LibraryError.take().text)
        }
        if context.isServer { SSL_set_accept_state(ssl) } else { SSL_set_connect_state(ssl) }
        self.context = context
        self.ssl = ssl
        self.incoming = incoming
        self.outgoing = outgoing
    }

    /// Says whom the server's certificate must be for, and asks for it (RFC 6066 §3: by name, not by address).
    private static func setName(_ name: String, of ssl: OpaquePointer) -> Bool {
        let parameters = SSL_get0_param(ssl)
        let isAddress = X509_VERIFY_PARAM_set1_ip_asc(parameters, name) == 1
        LibraryError.clear()
        return isAddress
            || (X509_VERIFY_PARAM_set1_host(parameters, name, 0) == 1 && shim_ssl_set_server_name(ssl, name) == 1)
    }

    deinit { SSL_free(ssl) }

    /// Begins the handshake; a server waits for the client's first bytes. Later calls do nothing.
    public mutating func start() {
        guard state == .handshaking else { return }
        shake()
    }

    /// Takes bytes of the stream and appends what they decrypt to.
    public mutating func receive(_ bytes: RawSpan, plaintext: inout [UInt8]) {
        guard state == .handshaking || state == .connected else { return }
        bytes.withUnsafeBytes { bytes in
            // A memory BIO takes all, or there is no memory.
            if let base = bytes.baseAddress { _ = BIO_write(incoming, base, Int32(clamping: bytes.count)) }
        }
        if state == .handshaking { shake() }
        if state == .connected { read(&plaintext) }
    }

    /// Encrypts bytes; before the handshake's end they wait for it.
    public mutating func send(_ bytes: RawSpan) {
        guard state != .handshaking else {
            bytes.withUnsafeBytes { early.append(contentsOf: $0) }
            return
        }
        guard state == .connected else { return }
        bytes.withUnsafeBytes { write($0) }
    }

    /// Ends the session in order (close_notify); the stream may be closed once the last bytes are sent.
    public mutating func close() {
        if state == .connected { SSL_shutdown(ssl) }
        if state == .connected || state == .handshaking { state = .closed }
        LibraryError.clear()
    }

    /// Bytes for the stream.
    public mutating func takeOutgoing() -> [UInt8] {
        let count = Int(BIO_ctrl_pending(outgoing))
        guard count > 0 else { return [] }
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, used in
            used = max(0, Int(BIO_read(outgoing, buffer.baseAddress, Int32(clamping: count))))
        }
    }

    private mutating func shake() {
        LibraryError.clear()
        let result = SSL_do_handshake(ssl)
        guard result == 1 else { return note(result) }
        state = .connected
        let waiting = early
        early = []
        if !waiting.isEmpty { waiting.withUnsafeBytes { write($0) } }
    }

    private mutating func read(_ plaintext: inout [UInt8]) {
        var record = [UInt8](repeating: 0, count: 16_384)  // RFC 8446 §5.1: what one record holds
        while state == .connected {
            LibraryError.clear()
            let result = SSL_read(ssl, &record, Int32(record.count))
            guard result > 0 else { return note(result) }
            plaintext += record[..<Int(result)]
        }
    }

    private mutating func write(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        LibraryError.clear()
        // Into memory everything goes at once.
        let result = SSL_write(ssl, base, Int32(clamping: bytes.count))
        if result <= 0 { note(result) }
    }

    /// What a result that is no success means.
    private mutating func note(_ result: Int32) {
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE: break
        case SSL_ERROR_ZERO_RETURN: state = .closed
        default:
            let verdict = SSL_get_verify_result(ssl)
            let error = LibraryError.take()
            if let alert = LibraryError.alert(of: error.code) {
                state = .failed(.peerAlert(alert))
            } else if verdict != X509_V_OK, !context.isServer {
                state = .failed(.untrusted(String(cString: X509_verify_cert_error_string(verdict))))
            } else {
                state = .failed(.failed(error.text))
            }
        }
    }
}
