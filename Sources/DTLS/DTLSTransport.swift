// SPDX-License-Identifier: Apache-2.0

private import COpenSSL
public import Wire

// Client                                   Server            RFC 6347 §4.2.4, mutual authentication
//
// ClientHello (use_srtp)        ──────▶
//                                          ServerHello, Certificate, ServerKeyExchange,
//                               ◀──────    CertificateRequest, ServerHelloDone
// Certificate, ClientKeyExchange,
// CertificateVerify, [CCS], Finished ──▶
//                               ◀──────    [CCS], Finished

/// A DTLS 1.2 session (RFC 6347) as a value: fed with datagrams and the time, it answers with datagrams, plaintext and
/// events.
///
/// Both sides show a certificate. No application data moves, in either direction, before the peer's certificate has
/// been found to match a fingerprint of its session description; where that description comes late, what has been
/// received waits until ``setExpectedFingerprints(_:now:plaintext:)``. Datagrams go out through ``withOutgoing(_:)``:
/// drain it after every other call, and ``nextEvent()`` as well.
///
/// Not for several threads at once, like any value; the owner's lock is enough.
public struct DTLSTransport: ~Copyable, @unchecked Sendable {
    /// Which side begins.
    public enum Role: Hashable, Sendable {
        /// Sends the ClientHello: `a=setup:active`.
        case client
        /// Waits for it: `a=setup:passive`.
        case server
    }

    /// Where a session stands.
    public enum State: Hashable, Sendable {
        /// Not started.
        case new
        /// Keys are being agreed on.
        case handshaking
        /// Keys are agreed on, but nobody has said yet what the peer's fingerprint is.
        case unverified
        /// Application data moves.
        case connected
        /// Either side has ended the session in order.
        case closed
        /// The session is dead.
        case failed(DTLSError)
    }

    /// What happened.
    public enum Event: Hashable, Sendable {
        /// The handshake is complete and the peer's certificate verified: application data may be sent.
        case connected(peerCertificateDER: [UInt8])
        /// The peer has closed the session.
        case closed
        /// The session is dead.
        case failed(DTLSError)
    }

    /// What a record of AES-GCM adds to its plaintext: 13 bytes of header, 8 of explicit nonce, 16 of tag (RFC 6347
    /// §4.1, RFC 5288 §3). No cipher of ours adds more.
    public static let recordOverhead = 37
    /// The smallest MTU that OpenSSL cuts handshake messages to, with a margin.
    public static let minimumMTU = 256
    /// RFC 5246 §6.2.1: what one record may hold.
    private static let longestRecord = 16_384
    /// How much application data waits for the fingerprint: an initial congestion window of SCTP and then some.
    private static let heldLimit = 64 * 1024
    private static let heldCountLimit = 256

    /// Which side this is.
    public let role: Role
    /// Where the session stands.
    public private(set) var state = State.new
    /// What was seen and what was dropped.
    public private(set) var statistics = Statistics()
    /// The longest plaintext that one ``send(_:)`` takes: what fits the MTU, or what fits 2,048 bytes if that is more.
    public let maximumPlaintextLength: Int

    let ssl: OpaquePointer
    private let port: UnsafeMutablePointer<DatagramPort>
    private let certificate: DTLSCertificate
    private var events: [Event] = []
    /// Records of application data that wait for the end of the handshake, or for the fingerprint.
    private var held = PacketBuffer(capacity: 64)
    /// What protects application data, once keys are agreed on.
    private var protection: RecordProtection?

    /// A session that has not begun.
    ///
    /// - Parameters:
    ///   - role: which side begins.
    ///   - certificate: what the peer is shown.
    ///   - expectedFingerprints: what the peer's certificate has to match, `nil` while its description has not come.
    ///   - configuration: the rest.
    public init(
        role: Role, certificate: DTLSCertificate, expectedFingerprints: [DTLSFingerprint]?,
        configuration: Configuration = Configuration()
    ) throws(DTLSError) {
        guard configuration.mtu >= Self.minimumMTU else { throw .mtuTooSmall(minimum: Self.minimumMTU) }
        if let expectedFingerprints, DTLSFingerprint.strongestHash(in: expectedFingerprints) == nil {
            throw .noUsableFingerprint
        }
        guard !configuration.ciphers.isEmpty else { throw .noCipher }
        guard let ssl = SSL_new(certificate.context) else { throw .library(LibraryError.take().text) }
        guard SessionContext.configure(ssl, configuration) else {
            SSL_free(ssl)
            throw .library(LibraryError.take().text)
        }
        let port = UnsafeMutablePointer<DatagramPort>.allocate(capacity: 1)
        port.initialize(
            to: DatagramPort(timer: RetransmissionTimer(initialInterval: configuration.initialRetransmission)))
        port.pointee.expectedFingerprints = expectedFingerprints
        port.pointee.keyLog = configuration.keyLog
        guard let bio = DatagramPort.makeBIO(on: port) else {
            SSL_free(ssl)
            port.deinitialize(count: 1)
            port.deallocate()
            throw .library(LibraryError.take().text)
        }
        let fragment = min(max(configuration.mtu, 2048), Self.longestRecord)

        self.role = role
        self.certificate = certificate
        self.ssl = ssl
        self.port = port
        maximumPlaintextLength = fragment - Self.recordOverhead
        SSL_set_bio(ssl, bio, bio)
        _ = shim_ssl_set_mtu(ssl, configuration.mtu)
        // The size of the write buffer; plaintext is held to it in send().
        _ = shim_ssl_set_max_send_fragment(ssl, fragment)
        RetransmissionTimer.install(on: ssl)
        switch role {
        case .client: SSL_set_connect_state(ssl)
        case .server: SSL_set_accept_state(ssl)
        }
    }

    /// A session with the default configuration but for the MTU.
    public init(
        role: Role, certificate: DTLSCertificate, expectedFingerprints: [DTLSFingerprint]?, mtu: Int
    ) throws(DTLSError) {
        var configuration = Configuration()
        configuration.mtu = mtu
        try self.init(
            role: role, certificate: certificate, expectedFingerprints: expectedFingerprints,
            configuration: configuration)
    }

    deinit {
        SSL_free(ssl)  // frees the BIO, which points at the port
        port.deinitialize(count: 1)
        port.deallocate()
    }
}

// MARK: - Input

extension DTLSTransport {
    /// Begins: a client sends its first flight, a server is ready to receive one. Later calls do nothing.
    ///
    /// Start a server as soon as there is one: a ClientHello that comes before is dropped, and its repetition costs an
    /// interval. With the `roundTripTime` that ICE measured, losses are repaired sooner than with the configured
    /// interval.
    public mutating func start(now: Timestamp, roundTripTime: Duration? = nil) {
        guard state == .new else { return }
        state = .handshaking
        if let roundTripTime {
            port.pointee.timer.initialInterval = Configuration.retransmissionInterval(roundTripTime: roundTripTime)
        }
        guard role == .client else { return }
        port.pointee.now = now
        var nothing = PacketBuffer(capacity: 64)
        proceed(plaintext: &nothing)
    }

    /// Takes a datagram. Application data in it is decrypted straight into `plaintext`, one packet a record.
    ///
    /// A datagram that is no DTLS, damaged, replayed, late or early is dropped and counted; it never ends the session.
    /// (Whoever can write on the path can still forge an alert before keys are agreed on.)
    public mutating func receive(_ datagram: RawSpan, now: Timestamp, plaintext: inout PacketBuffer) {
        statistics.datagramsReceived &+= 1
        var offset = 0
        while offset < datagram.byteCount {
            if let length = RecordProtection.recordLength(in: datagram, at: offset) {
                take(datagram.extracting(offset..<offset + length), plaintext: &plaintext)
                offset += length
                continue
            }
            let end = RecordFilter.usableEnd(of: datagram, from: offset)
            guard end > offset else {
                statistics.datagramsDropped &+= 1
                return
            }
            guard state == .handshaking || state == .unverified || state == .connected else { return }
            port.pointee.now = now
            datagram.extracting(offset..<end).withUnsafeBytes { bytes in
                port.pointee.incoming = bytes
                proceed(plaintext: &plaintext)
                port.pointee.incoming = UnsafeRawBufferPointer(start: nil, count: 0)
            }
            offset = end
        }
    }

    /// Takes a record of application data.
    private mutating func take(_ record: RawSpan, plaintext: inout PacketBuffer) {
        switch state {
        case .connected:
            guard protection?.open(record, into: &plaintext) == true else {
                statistics.datagramsDropped &+= 1
                return
            }
            // The peer sends only after its handshake.
            if !port.pointee.isMuted {
                beginSending()
                releaseLibraryBuffers()
            }
        case .handshaking, .unverified:
            let waiting = held.byteCount - held.count * Self.recordOverhead
            if held.count < Self.heldCountLimit, waiting + record.byteCount - Self.recordOverhead <= Self.heldLimit {
                held.append(record)
            } else {
                statistics.unverifiedRecordsDropped &+= 1
            }
        case .new, .closed, .failed:
            break
        }
    }

    /// Takes what had to wait.
    private mutating func takeHeld(plaintext: inout PacketBuffer) {
        var waiting = PacketBuffer(capacity: 64)
        swap(&waiting, &held)
        for index in 0..<waiting.count { take(waiting[index], plaintext: &plaintext) }
    }

    /// When ``handleTimeout(now:)`` is due, `nil` while nothing waits.
    public var nextTimeout: Timestamp? {
        switch state {
        case .handshaking, .unverified, .connected: port.pointee.timer.deadline
        case .new, .closed, .failed: nil
        }
    }

    /// Tells that time has passed: repeats the last flight if its answer is overdue. Early and repeated calls are
    /// harmless.
    public mutating func handleTimeout(now: Timestamp) {
        guard let deadline = nextTimeout, now >= deadline else { return }
        port.pointee.now = now
        ERR_clear_error()
        statistics.retransmissions &+= 1
        takeLibraryBuffers()
        if !RetransmissionTimer.fire(port, ssl: ssl) { fail(.timedOut) }
    }

    /// Says what the peer's certificate has to match, for a session that began without. What waited for it is delivered
    /// to `plaintext`, or, if the certificate is another, dropped with the session.
    public mutating func setExpectedFingerprints(
        _ fingerprints: [DTLSFingerprint], now: Timestamp, plaintext: inout PacketBuffer
    ) {
        guard port.pointee.expectedFingerprints == nil else { return }
        port.pointee.expectedFingerprints = fingerprints
        port.pointee.now = now
        guard state == .unverified else { return }
        verifyPeer()
        if state == .connected { takeHeld(plaintext: &plaintext) }
    }
}

// MARK: - Output

extension DTLSTransport {
    /// The datagrams that wait to be sent, one packet each. Send them and call `removeAll()` on the buffer.
    public mutating func withOutgoing<Result, Failure: Error>(
        _ body: (inout PacketBuffer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let port = port
        return try body(&port.pointee.outgoing)
    }

    /// Moves the datagrams that wait to be sent to the end of `buffer`.
    public mutating func takeOutgoing(into buffer: inout PacketBuffer) {
        let port = port
        for index in 0..<port.pointee.outgoing.count { buffer.append(port.pointee.outgoing[index]) }
        port.pointee.outgoing.removeAll()
    }

    /// What happened next, `nil` when there is nothing more.
    public mutating func nextEvent() -> Event? {
        events.isEmpty ? nil : events.removeFirst()
    }

    /// Protects application data as one record in one datagram, encrypted straight into the outgoing buffer. Empty data
    /// sends nothing.
    ///
    /// Throws ``DTLSError/notConnected`` before ``Event/connected(peerCertificateDER:)`` and after the end, and
    /// ``DTLSError/plaintextTooLong(limit:)``. Keep to the MTU less ``recordOverhead`` for datagrams within the MTU.
    public mutating func send(_ plaintext: RawSpan) throws(DTLSError) {
        guard state == .connected else { throw .notConnected }
        guard plaintext.byteCount <= maximumPlaintextLength else {
            throw .plaintextTooLong(limit: maximumPlaintextLength)
        }
        guard plaintext.byteCount > 0 else { return }
        let written = plaintext.withUnsafeBytes { bytes in
            port.pointee.isMuted
                ? seal(bytes, type: RecordProtection.applicationData)
                : Int(SSL_write(ssl, bytes.baseAddress, Int32(bytes.count)))
        }
        // Our BIO takes every write, so this is the end of the record numbers or of memory.
        if written <= 0 {
            let error = DTLSError.library(LibraryError.take().text)
            fail(error)
            throw error
        }
    }

    /// Appends a record of ours to what waits to be sent. Answers its length, 0 on failure.
    private mutating func seal(_ plaintext: UnsafeRawBufferPointer, type: UInt8) -> Int {
        var length = 0
        // A copy of the pointer, here and below: with ThreadSanitizer the compiler takes what is changed through `self.port`
        // for a change of `self`.
        let port = port
        port.pointee.outgoing.append(maximumLength: plaintext.count + Self.recordOverhead) { room in
            length = protection?.seal(plaintext, type: type, into: room) ?? 0
            return length
        }
        return length
    }

    /// Takes the sending of records over from OpenSSL, which is not to write from here on.
    private mutating func beginSending() {
        protection?.beginSending(after: port.pointee.lastRecord)
        port.pointee.isMuted = protection?.isSending ?? false
    }

    /// Tells the peer that this is the end.
    private mutating func sendCloseNotify() {
        ERR_clear_error()
        if port.pointee.isMuted {
            // A warning, close_notify (RFC 5246 §7.2.1).
            let alert: [UInt8] = [1, 0]
            _ = alert.withUnsafeBytes { seal($0, type: RecordProtection.alert) }
        } else if SSL_is_init_finished(ssl) == 1 {
            // During a handshake OpenSSL refuses to send close_notify; the peer then learns it from ICE or a time-out.
            SSL_shutdown(ssl)
        }
        ERR_clear_error()
    }

    /// Protects each packet as one record in one datagram. What cannot be sent is lost like a packet on the way; if the
    /// session has ended, an event says so.
    public mutating func send(batch packets: borrowing PacketBuffer) {
        for index in 0..<packets.count {
            do { try send(packets[index]) } catch { return }
        }
    }

    /// Ends the session and tells the peer (close_notify). Later calls do nothing.
    public mutating func close() {
        switch state {
        case .handshaking, .unverified, .connected:
            sendCloseNotify()
            state = .closed
        case .new: state = .closed
        case .closed, .failed: break
        }
    }
}

// MARK: - Progress

extension DTLSTransport {
    /// Lets OpenSSL do what it can with the datagram at the port.
    private mutating func proceed(plaintext: inout PacketBuffer) {
        // Others may have left errors in the thread's queue, and SSL_get_error would take them for ours.
        LibraryError.clear()
        takeLibraryBuffers()
        defer { releaseLibraryBuffers() }
        if state == .handshaking {
            let result = SSL_do_handshake(ssl)
            guard result == 1 else { return stopped(result) }
            state = .unverified
            if port.pointee.expectedFingerprints != nil { verifyPeer() }
            if state == .connected { takeHeld(plaintext: &plaintext) }
        }
        if state == .unverified || state == .connected { read() }
    }

    /// Takes OpenSSL's record buffers away, 20 kB, when it only waits for an alert or a repetition of the handshake.
    private func releaseLibraryBuffers() {
        if port.pointee.isMuted { SSL_free_buffers(ssl) }
    }

    /// Gives them back before OpenSSL does anything: where it writes, it takes them for granted.
    private func takeLibraryBuffers() {
        if port.pointee.isMuted { SSL_alloc_buffers(ssl) }
    }

    /// Has OpenSSL look at what is no application data: alerts, and repetitions of the handshake.
    private mutating func read() {
        withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { room in
            var result: Int32 = 1
            while result > 0 { result = SSL_read(ssl, room.baseAddress, Int32(room.count)) }
            stopped(result)
        }
    }

    /// OpenSSL stopped with this result: mostly it waits for the next datagram.
    private mutating func stopped(_ result: Int32) {
        switch SSL_get_error(ssl, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE:
            break
        case SSL_ERROR_ZERO_RETURN:
            sendCloseNotify()
            state = .closed
            events.append(.closed)
        case SSL_ERROR_SYSCALL where ERR_peek_error() == 0:
            statistics.datagramsDropped &+= 1  // a message that OpenSSL dropped without a reason
        default:
            let error = LibraryError.take()
            if let rejection = port.pointee.rejection {
                fail(rejection)
            } else if let alert = LibraryError.alert(of: error.code) {
                fail(.peerAlert(alert))
            } else {
                fail(.handshakeFailed(error.text))
            }
        }
    }

    private mutating func verifyPeer() {
        do throws(DTLSError) {
            guard let expected = port.pointee.expectedFingerprints, let certificate = peerCertificateDER else {
                throw .handshakeFailed("the peer showed no certificate")
            }
            try DTLSFingerprint.verify(certificateDER: certificate, against: expected)
            protection = RecordProtection(ssl)
            guard protection != nil else { throw .library("no keys for \(cipherSuite ?? "no cipher")") }
            state = .connected
            // The server's last flight is here, so it has ours.
            if role == .client { beginSending() }
            events.append(.connected(peerCertificateDER: certificate))
        } catch {
            SSL_shutdown(ssl)
            fail(error)
        }
    }

    private mutating func fail(_ error: DTLSError) {
        ERR_clear_error()
        held = PacketBuffer(capacity: 64)
        protection = nil
        state = .failed(error)
        events.append(.failed(error))
    }
}
