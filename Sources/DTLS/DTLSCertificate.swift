// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

/// A certificate with its private key, and the OpenSSL context that its sessions share.
///
/// WebRTC certificates are signed by themselves; their fingerprint in the session description is what counts (RFC 8827
/// §6.5). A fresh one for each use keeps uses unlinkable; sharing one saves about 0.1 ms a session.
public final class DTLSCertificate: Sendable {
    /// The certificate in DER.
    public let der: [UInt8]
    /// Its SHA-256 fingerprint.
    public let fingerprint: DTLSFingerprint
    /// What a session description names: SHA-256, and the hash function of the certificate's signature where that is
    /// another that verifies (RFC 8122 §5.1).
    public let fingerprints: [DTLSFingerprint]
    /// The `SSL_CTX` of this certificate's sessions. OpenSSL counts references to it and locks it.
    nonisolated(unsafe) let context: OpaquePointer

    /// Takes over one reference each of an `X509` and an `EVP_PKEY` that belong together.
    private init(certificate: OpaquePointer, key: OpaquePointer) throws(DTLSError) {
        defer {
            X509_free(certificate)
            EVP_PKEY_free(key)
        }
        guard let der = DTLSCertificate.der(of: certificate) else { throw .library(LibraryError.take().text) }
        self.der = der
        fingerprint = DTLSFingerprint(sha256Of: der)
        let signature = DTLSCertificate.signatureHash(of: certificate)
        fingerprints =
            switch signature {
            case .sha384, .sha512:
                [fingerprint, DTLSFingerprint(algorithm: signature.rawValue, bytes: signature.digest(der))]
            case .sha256: [fingerprint]
            }
        context = try SessionContext.make(certificate: certificate, key: key)
    }

    deinit { SSL_CTX_free(context) }

    /// The keys that certificates are made with.
    public enum KeyKind: Hashable, Sendable {
        /// ECDSA on P-256, which every WebRTC endpoint has (RFC 8827 §6.5); some have nothing else.
        case ecdsaP256
        /// RSA of 2,048 bits: slower to make and to use, and messages are longer.
        case rsa2048
    }

    /// A fresh key with a self-signed certificate, valid from yesterday (clocks differ) for `days` days.
    ///
    /// The key, the serial number and the date come from OpenSSL: nothing here can be repeated from a seed.
    public static func generate(
        _ kind: KeyKind = .ecdsaP256, commonName: String = "WebRTC", days: Int = 30
    ) throws(DTLSError) -> DTLSCertificate {
        let fresh: OpaquePointer? =
            switch kind {
            case .ecdsaP256: shim_generate_p256()
            case .rsa2048: shim_generate_rsa(2048)
            }
        guard let key = fresh else { throw .library(LibraryError.take().text) }
        guard let certificate = X509_new() else {
            EVP_PKEY_free(key)
            throw .library(LibraryError.take().text)
        }
        let day = 24 * 60 * 60
        var complete = X509_set_version(certificate, 2) == 1  // counted from 0: version 3
        complete = complete && setRandomSerial(certificate)
        complete = complete && X509_gmtime_adj(X509_getm_notBefore(certificate), -day) != nil
        complete = complete && X509_gmtime_adj(X509_getm_notAfter(certificate), max(days, 1) * day) != nil
        if let name = X509_get_subject_name(certificate) {
            let text = Array(commonName.utf8.prefix(64))  // RFC 5280 appendix A.1: ub-common-name
            complete =
                complete
                && X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING, text, Int32(text.count), -1, 0) == 1
                && X509_set_issuer_name(certificate, name) == 1
        }
        complete = complete && X509_set_pubkey(certificate, key) == 1
        complete = complete && X509_sign(certificate, key, EVP_sha256()) > 0
        guard complete else {
            X509_free(certificate)
            EVP_PKEY_free(key)
            throw .library(LibraryError.take().text)
        }
        return try DTLSCertificate(certificate: certificate, key: key)
    }

    /// 128 bits from OpenSSL's generator, so that two certificates of one name never have equal serials (RFC 5280
    /// §4.1.2.2: positive, at most 20 octets).
    private static func setRandomSerial(_ certificate: OpaquePointer) -> Bool {
        guard let number = BN_new() else { return false }
        defer { BN_free(number) }
        // BN_RAND_TOP_ONE (0) makes the top bit 1, BN_RAND_BOTTOM_ANY (0) leaves the lowest to chance.
        return BN_rand(number, 128, 0, 0) == 1
            && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nil
    }

    /// The hash function of a certificate's signature; SHA-256 for those that do not verify.
    private static func signatureHash(of certificate: OpaquePointer) -> DTLSFingerprint.KnownHash {
        var hash: Int32 = 0
        guard OBJ_find_sigid_algs(X509_get_signature_nid(certificate), &hash, nil) == 1 else { return .sha256 }
        switch hash {
        case NID_sha384: return .sha384
        case NID_sha512: return .sha512
        default: return .sha256
        }
    }

    static func der(of certificate: OpaquePointer) -> [UInt8]? {
        var pointer: UnsafeMutablePointer<UInt8>?
        let count = i2d_X509(certificate, &pointer)
        guard count > 0, let pointer else { return nil }
        defer { CRYPTO_free(pointer, #file, #line) }
        return Array(UnsafeBufferPointer(start: pointer, count: Int(count)))
    }
}

// MARK: - PEM

extension DTLSCertificate {
    /// A certificate and its private key from one PEM text (RFC 7468), in either order.
    public convenience init(pem: String) throws(DTLSError) {
        try self.init(certificatePEM: pem, privateKeyPEM: pem)
    }

    /// A certificate and its private key from PEM text (RFC 7468). The key must be unencrypted, on P-256 or P-384, or RSA
    /// of 2,048 bits or more; both may stand in one text.
    public convenience init(certificatePEM: String, privateKeyPEM: String) throws(DTLSError) {
        guard
            let certificate = DTLSCertificate.read(certificatePEM, { PEM_read_bio_X509($0, nil, nil, nil) })
        else { throw .invalidPEM("no certificate: \(LibraryError.take().text)") }
        // Without a callback OpenSSL would ask the terminal for a pass phrase.
        let key = DTLSCertificate.read(privateKeyPEM) { PEM_read_bio_PrivateKey($0, nil, { _, _, _, _ in 0 }, nil) }
        guard let key else {
            X509_free(certificate)
            throw .invalidPEM("no private key: \(LibraryError.take().text)")
        }
        guard X509_check_private_key(certificate, key) == 1 else {
            X509_free(certificate)
            EVP_PKEY_free(key)
            throw .invalidPEM("key and certificate do not belong together: \(LibraryError.take().text)")
        }
        guard DTLSCertificate.isUsable(key) else {
            X509_free(certificate)
            EVP_PKEY_free(key)
            throw .invalidPEM("the key is neither on P-256 or P-384 nor RSA of 2048 bits or more")
        }
        try self.init(certificate: certificate, key: key)
    }

    /// Whether a handshake of ours can be done with a key: what ``SessionContext/groups`` has, and RSA that OpenSSL takes.
    private static func isUsable(_ key: OpaquePointer) -> Bool {
        switch EVP_PKEY_get_base_id(key) {
        case EVP_PKEY_RSA: return EVP_PKEY_get_bits(key) >= 2048
        case EVP_PKEY_EC:
            var name = [CChar](repeating: 0, count: 64)
            var count = 0
            guard EVP_PKEY_get_group_name(key, &name, name.count, &count) == 1 else { return false }
            let group = String(decoding: name.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return group == SN_X9_62_prime256v1 || group == SN_secp384r1
        default: return false
        }
    }

    /// The private key and the certificate as one PEM text, for ``init(pem:)``. Keep it as safe as the key itself.
    public var pem: String { privateKeyPEM + certificatePEM }

    /// The certificate as PEM.
    public var certificatePEM: String {
        DTLSCertificate.write { PEM_write_bio_X509($0, SSL_CTX_get0_certificate(context)) }
    }

    /// The private key as PEM, unencrypted PKCS #8. Keep it as safe as the key itself.
    public var privateKeyPEM: String {
        DTLSCertificate.write {
            PEM_write_bio_PKCS8PrivateKey($0, SSL_CTX_get0_privatekey(context), nil, nil, 0, nil, nil)
        }
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

    private static func write(_ body: (OpaquePointer) -> Int32) -> String {
        guard let bio = BIO_new(BIO_s_mem()) else { return "" }
        defer { BIO_free(bio) }
        guard body(bio) == 1 else { return "" }
        var bytes: UnsafeMutablePointer<CChar>?
        let count = shim_bio_memory(bio, &bytes)
        guard count > 0, let bytes else { return "" }
        return String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
