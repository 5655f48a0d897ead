// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

/// How every `SSL_CTX` of ours is set up.
enum SessionContext {
    /// P-256 is mandatory (RFC 8827 §6.5), X25519 faster, and P-384 there for certificates with such keys (RFC 8422
    /// §5.3).
    static let groups = "X25519:P-256:P-384"

    /// A context for a certificate and its key; the caller owns it (`SSL_CTX_new`).
    static func make(certificate: OpaquePointer, key: OpaquePointer) throws(DTLSError) -> OpaquePointer {
        guard let context = SSL_CTX_new(DTLS_method()) else { throw .library(LibraryError.take().text) }
        shim_ctx_configure(context)
        let complete =
            shim_ctx_set_versions(context, DTLS1_2_VERSION, DTLS1_2_VERSION) == 1
            && SSL_CTX_set_cipher_list(context, DTLSCipher.libraryList(DTLSCipher.allCases)) == 1
            && shim_ctx_set_groups(context, groups) == 1
            && SSL_CTX_use_certificate(context, certificate) == 1
            && SSL_CTX_use_PrivateKey(context, key) == 1
        guard complete else {
            SSL_CTX_free(context)
            throw .library(LibraryError.take().text)
        }
        // Both sides show a certificate; its fingerprint is checked in place of a chain.
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        SSL_CTX_set_cert_verify_callback(context, { store, _ in SessionContext.acceptsCertificate(in: store) }, nil)
        SSL_CTX_set_keylog_callback(context) { ssl, line in
            guard let line, let port = DatagramPort.of(ssl), let keyLog = port.pointee.keyLog else { return }
            keyLog(String(cString: line))
        }
        return context
    }

    /// What a session may have otherwise than its context.
    static func configure(_ ssl: OpaquePointer, _ configuration: DTLSTransport.Configuration) -> Bool {
        if configuration.ciphers != DTLSCipher.allCases,
            SSL_set_cipher_list(ssl, DTLSCipher.libraryList(configuration.ciphers)) != 1
        {
            return false
        }
        guard !configuration.srtpProfiles.isEmpty else { return true }
        let profiles = configuration.srtpProfiles.map(\.libraryName).joined(separator: ":")
        return SSL_set_tlsext_use_srtp(ssl, profiles) == 0  // 0 is success in this one
    }

    /// Called when the peer's certificate has come and before anything is derived from it: 1 accepts, 0 makes OpenSSL
    /// end the handshake with an alert. While no fingerprint is known, any certificate passes, for the time being.
    private static func acceptsCertificate(in store: OpaquePointer?) -> Int32 {
        guard let store,
            let ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()),
            let port = DatagramPort.of(OpaquePointer(ssl)),
            let certificate = X509_STORE_CTX_get0_cert(store), let der = DTLSCertificate.der(of: certificate)
        else { return 0 }
        guard let expected = port.pointee.expectedFingerprints else { return 1 }
        do throws(DTLSError) {
            try DTLSFingerprint.verify(certificateDER: der, against: expected)
            return 1
        } catch {
            port.pointee.rejection = error
            X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)  // leads to alert bad_certificate
            return 0
        }
    }
}
