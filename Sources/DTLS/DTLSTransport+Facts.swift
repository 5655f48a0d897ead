// SPDX-License-Identifier: Apache-2.0

private import COpenSSL

extension DTLSTransport {
    /// The peer's certificate in DER, as soon as the handshake is complete. Not verified before ``State/connected``.
    public var peerCertificateDER: [UInt8]? {
        guard let certificate = SSL_get0_peer_certificate(ssl) else { return nil }
        return DTLSCertificate.der(of: certificate)
    }

    /// The cipher suite under its RFC name, such as `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`; `nil` before there is
    /// one.
    public var cipherSuite: String? {
        guard let cipher = SSL_get_current_cipher(ssl), let name = SSL_CIPHER_standard_name(cipher) else { return nil }
        return String(cString: name)
    }

    /// The library below, such as `OpenSSL 3.0.22 …`.
    public static var libraryVersion: String {
        OpenSSL_version(OPENSSL_VERSION).map { String(cString: $0) } ?? ""
    }

    /// The protocol version, such as `DTLSv1.2`.
    public var version: String { SSL_get_version(ssl).map { String(cString: $0) } ?? "" }

    /// The SRTP protection profile agreed on (RFC 5764 §4.1.2), `nil` without one.
    public var srtpProfile: SRTPProtectionProfile? {
        guard let profile = SSL_get_selected_srtp_profile(ssl) else { return nil }
        return UInt16(exactly: profile.pointee.id).flatMap(SRTPProtectionProfile.init)
    }

    /// The master keys and salts of SRTP as RFC 5764 §4.2 derives them: client key, server key, client salt, server salt,
    /// in the lengths of ``srtpProfile``. `nil` without a profile, and unless connected.
    public var srtpKeyingMaterial: [UInt8]? {
        guard let profile = srtpProfile else { return nil }
        return exportKeyingMaterial(
            label: "EXTRACTOR-dtls_srtp", count: 2 * (profile.masterKeyLength + profile.masterSaltLength))
    }

    /// Keys for another protocol, derived from this session (RFC 5705; RFC 5764 §4.2 for SRTP). `nil` unless connected.
    public func exportKeyingMaterial(label: String, count: Int) -> [UInt8]? {
        guard state == .connected, count > 0 else { return nil }
        var output = [UInt8](repeating: 0, count: count)
        let label = Array(label.utf8CString)
        let result = SSL_export_keying_material(ssl, &output, count, label, label.count - 1, nil, 0, 0)
        return result == 1 ? output : nil
    }
}
