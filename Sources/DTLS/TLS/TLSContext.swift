// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

/// What TLS sessions (RFC 8446, RFC 5246) of one kind share: whom a client believes, or what a server shows.
public final class TLSContext: Sendable {
    /// Whose certificates a client believes.
    public enum Trust: Hashable, Sendable {
        /// Those that the authorities of this host have signed.
        case system
        /// Those that the authorities in this PEM text have signed, and these themselves.
        case authorities(pem: String)
        /// Anybody's: for laboratories, where no name means anything.
        case anyone
    }

    nonisolated(unsafe) let pointer: OpaquePointer
    let isServer: Bool

    private init(_ pointer: OpaquePointer, isServer: Bool) {
        self.pointer = pointer
        self.isServer = isServer
    }

    deinit { SSL_CTX_free(pointer) }

    /// For clients.
    public static func client(trust: Trust = .system) throws(TLSError) -> TLSContext {
        let context = try make(isServer: false)
        switch trust {
        case .system:
            guard SSL_CTX_set_default_verify_paths(context.pointer) == 1 else {
                throw .library(LibraryError.take().text)
            }
            SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
        case .authorities(let pem):
            let store = SSL_CTX_get_cert_store(context.pointer)
            let certificates = certificates(in: pem)
            guard !certificates.isEmpty else { throw .invalidPEM("it holds no certificate") }
            for certificate in certificates {
                X509_STORE_add_cert(store, certificate)
                X509_free(certificate)
            }
            // An authority of one's own need not be signed by itself to be believed.
            X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.pointer), UInt(X509_V_FLAG_PARTIAL_CHAIN))
            SSL_CTX_set_verify(context.pointer, SSL_VERIFY_PEER, nil)
        case .anyone:
            SSL_CTX_set_verify(context.pointer, SSL_VERIFY_NONE, nil)
        }
        return context
    }

    /// For servers: a certificate, the authorities' certificates between it and a root, and its unencrypted key, as
    /// PEM; all may stand in one text.
    public static func server(certificatesPEM: String, privateKeyPEM: String) throws(TLSError) -> TLSContext {
        let context = try make(isServer: true)
        var chain = certificates(in: certificatesPEM)
        guard !chain.isEmpty else { throw .invalidPEM("it holds no certificate") }
        let own = chain.removeFirst()
        defer { X509_free(own) }
        let key = read(privateKeyPEM) { PEM_read_bio_PrivateKey($0, nil, { _, _, _, _ in 0 }, nil) }
        guard let key else {
            for certificate in chain { X509_free(certificate) }
            throw .invalidPEM("no private key: \(LibraryError.take().text)")
        }
        defer { EVP_PKEY_free(key) }
        for certificate in chain where shim_ctx_add_chain_certificate(context.pointer, certificate) != 1 {
            X509_free(certificate)
        }
        guard SSL_CTX_use_certificate(context.pointer, own) == 1, SSL_CTX_use_PrivateKey(context.pointer, key) == 1,
            SSL_CTX_check_private_key(context.pointer) == 1
        else { throw .invalidPEM("key and certificate do not belong together: \(LibraryError.take().text)") }
        return context
    }

    private static func make(isServer: Bool) throws(TLSError) -> TLSContext {
        guard let pointer = SSL_CTX_new(isServer ? TLS_server_method() : TLS_client_method()) else {
            throw .library(LibraryError.take().text)
        }
        let context = TLSContext(pointer, isServer: isServer)
        shim_ctx_configure(pointer)
        // RFC 8996: nothing before 1.2. 0 is the newest there is.
        guard shim_ctx_set_versions(pointer, TLS1_2_VERSION, 0) == 1 else { throw .library(LibraryError.take().text) }
        return context
    }

    /// All certificates of a PEM text, in order; the caller owns them.
    private static func certificates(in pem: String) -> [OpaquePointer] {
        var found: [OpaquePointer] = []
        _ = read(pem) { bio in
            while let certificate = PEM_read_bio_X509(bio, nil, { _, _, _, _ in 0 }, nil) { found.append(certificate) }
            return nil
        }
        LibraryError.clear()
        return found
    }

    private static func read(_ text: String, _ body: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
        let bytes = Array(text.utf8)
        guard let count = Int32(exactly: bytes.count) else { return nil }
        return bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress, let bio = BIO_new_mem_buf(base, count) else { return nil }
            defer { BIO_free(bio) }
            return body(bio)
        }
    }
}

/// What can go wrong with a TLS session.
public enum TLSError: Error, Hashable, Sendable {
    /// The server's certificate is not believed; OpenSSL's words, among them that it is for another name.
    case untrusted(String)
    /// The handshake or a record was unacceptable; OpenSSL's words.
    case failed(String)
    /// The peer ended the session with this fatal alert (RFC 8446 §6.2).
    case peerAlert(UInt8)
    /// Text is no certificate or no private key, or the two do not belong together.
    case invalidPEM(String)
    /// OpenSSL could not do what needs no peer; its words.
    case library(String)
}

extension TLSError: CustomStringConvertible {
    /// The fault in words.
    public var description: String {
        switch self {
        case .untrusted(let reason): "the server's certificate is not trusted: \(reason)"
        case .failed(let reason): "TLS failed: \(reason)"
        case .peerAlert(let alert): "the other side ended the TLS session with alert \(alert)"
        case .invalidPEM(let reason): "the PEM text is unusable: \(reason)"
        case .library(let reason): "OpenSSL failed: \(reason)"
        }
    }
}
