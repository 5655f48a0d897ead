// SPDX-License-Identifier: Apache-2.0

/// What protects records: always with forward secrecy (ECDHE) and authenticated encryption (RFC 8827 §6.5), with
/// certificates of ECDSA and of RSA alike. There is nothing weaker to choose.
public enum DTLSCipher: CaseIterable, Hashable, Sendable {
    /// AES-128-GCM (RFC 5289): the fastest where the processor has AES.
    case aes128GCM
    /// AES-256-GCM (RFC 5289).
    case aes256GCM
    /// ChaCha20-Poly1305 (RFC 7905): the fastest where it has not.
    case chaCha20Poly1305

    /// OpenSSL's name for a list of ciphers, most preferred first.
    static func libraryList(_ ciphers: [DTLSCipher]) -> String {
        ciphers.map { cipher in
            switch cipher {
            case .aes128GCM: "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
            case .aes256GCM: "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
            case .chaCha20Poly1305: "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
            }
        }.joined(separator: ":")
    }
}
